"""`srpo update --processes`: two real processes against one, and what is told when one of them fails."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from data.errors import UserError
from data.store import RolloutStore
from stages.learning.processes import alone, result_together, run_together
from stages.policies.loading import load_policy

ROOT = Path(__file__).parents[3]
SETTINGS = "--set lr=3e-4 --set minibatch=16 --set microbatch=5 --set max_logprob_gap=1e9 --reward binary"


def update(store: Path, folder: Path, out: Path, *options: str) -> "subprocess.CompletedProcess[str]":
    words = ["update", str(store), "--policy", str(folder), "--out", str(out), *SETTINGS.split(), *options]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-m", "srpo_cli", *words],
        env=environment,
        timeout=180,
        capture_output=True,
        text=True,
        check=False,
    )


def test_two_processes_learn_what_one_does(tiny_policy, tiny_folder, made_up_store, tmp_path: Path) -> None:
    """But for rounding, which AdamW makes a step of where a gradient is all rounding: single weights by 1e-6."""
    store = made_up_store(tiny_policy, tiny_folder)
    one = update(store, tiny_folder, tmp_path / "one", "--label", "one")
    two = update(store, tiny_folder, tmp_path / "two", "--label", "two", "--processes", "2", "--json")
    assert (one.returncode, two.returncode) == (0, 0), two.stderr
    assert two.stdout.count("\n") == 1
    assert set(RolloutStore.open(store).labels("update")) == {"one", "two"}
    start, *ends = (load_policy(folder) for folder in (tiny_folder, tmp_path / "one", tmp_path / "two"))
    for before, a, b in zip(*(policy.module.parameters() for policy in (start, *ends)), strict=True):
        assert (a - before).norm() > 1e-4 * before.norm()
        assert (a - b).norm() <= 1e-5 * a.norm()
        assert (a - b).abs().max() < 1e-5
    again = update(store, tiny_folder, tmp_path / "two", "--label", "two", "--processes", "2")
    assert "up to date" in again.stdout


def test_a_refusal_is_one_line(tiny_policy, tiny_folder, made_up_store, tmp_path: Path) -> None:
    store = made_up_store(tiny_policy, tiny_folder)
    wrong = update(store, tiny_folder, tmp_path / "out", "--processes", "2", "--reward", "binray")
    assert wrong.returncode == 2
    assert wrong.stderr.count("binray") == wrong.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("fails", "told"), [(0, "first"), (1, "second")])
def test_one_that_fails_ends_all(
    fails: int, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A package `srpo_cli` of our own, whose processes sleep but for one, which fails."""
    (tmp_path / "srpo_cli").mkdir()
    (tmp_path / "srpo_cli/__main__.py").write_text(
        "import os, sys, time\n"
        f"if os.environ['RANK'] != '{fails}':\n    time.sleep(60)\n"
        f"print('srpo: the {told} one failed', file=sys.stderr)\n"
        "sys.exit(3)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    began = time.monotonic()
    assert run_together(["update"], 2) == 3
    assert time.monotonic() - began < 30
    assert capfd.readouterr().err.splitlines() == [f"srpo: the {told} one failed"]


@pytest.mark.parametrize(("code", "kind"), [(2, UserError), (1, RuntimeError)])
def test_a_result_or_an_error(
    code: int, kind: type[Exception], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A package `srpo_cli` of our own, which prints what it was told, or fails."""
    (tmp_path / "srpo_cli").mkdir()
    (tmp_path / "srpo_cli/__main__.py").write_text(
        "import json, os, sys\n"
        f"if 'fail' in sys.argv:\n    sys.exit(print('srpo: it is wrong', file=sys.stderr) or {code})\n"
        "print(json.dumps({'words': sys.argv[1:], 'told': os.environ['TOLD'], 'rank': os.environ['RANK']}))\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    found = result_together(["update"], 2, {"TOLD": "this"})
    assert found == {"words": ["update", "--json"], "told": "this", "rank": "0"}
    with pytest.raises(kind, match="^it is wrong$"):
        result_together(["fail"], 2, {})


@pytest.mark.parametrize("command", ["loop", "sft"])
def test_what_one_process_does_is_not_done_by_several(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    alone(command)
    monkeypatch.setenv("WORLD_SIZE", "8")
    with pytest.raises(UserError, match=f"srpo {command} is one process, not 8"):
        alone(command)


def test_threads_are_shared_out(monkeypatch: pytest.MonkeyPatch) -> None:
    from stages.learning.threads import torch_threads

    monkeypatch.setattr("stages.learning.threads.cores", lambda: 5)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    before = torch.get_num_threads()
    with torch_threads(None) as count:
        assert count == torch.get_num_threads() == 2
    assert torch.get_num_threads() == before
