"""`srpo collect` and `srpo eval` as a person or a script calls them."""

import dataclasses
import inspect
import json
from pathlib import Path

import pytest

from srpo_cli.__main__ import run
from srpo_cli.commands import collect, demo
from srpo_cli.commands import eval as eval_
from srpo_cli.tables.rates import work
from stages.collect import CollectSettings
from stages.demo import DemoSettings
from stages.evaluate import EvalSettings

SMALL = "--tasks 2 --samples 2 --horizon 8 --workers 1"


def srpo(command: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.chdir(folder)
    return run(command.split())


def test_collect_then_up_to_date(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert srpo(f"collect c.zarr --policy policy {SMALL} --json", folder, monkeypatch) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["n"], told["collected"], told["up_to_date"]) == (2, 2, False)
    assert 1 <= told["queries_per_batch"] <= 2
    assert f"on {told['queries_per_batch']:.1f} queries at a time, without any for" in work(told)
    assert srpo(f"collect c.zarr --policy policy {SMALL}", folder, monkeypatch) == 0
    assert "up to date: 2 episodes, success 0.0 %" in capsys.readouterr().out


def test_shards_say_how_far_they_and_the_store_are(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for shard, held in (("1/2", 1), ("0/2", 2), ("0/2", 2)):
        assert srpo(f"collect s.zarr --policy policy {SMALL} --shard {shard}", folder, monkeypatch) == 0
        told = " ".join(capsys.readouterr().out.split())
        assert f"shard {shard}: 1 of its 1 episodes are done; the store holds {held} of 2" in told
    assert "up to date" in told


@pytest.mark.parametrize("shard", ["3/3", "-1/3", "a/b"])
def test_impossible_shard_is_refused_in_one_line(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], shard: str
) -> None:
    assert srpo(f"collect new.zarr --policy policy {SMALL} --shard={shard}", folder, monkeypatch) == 2
    told = capsys.readouterr().err
    assert shard in told and told.count("\n") == 1
    assert not (folder / "new.zarr").exists()


def test_every_option_is_a_setting_or_says_where() -> None:
    """`from_options` takes an option by its name, so a name that no setting has would be passed over."""
    for module, settings, others in (
        (collect, CollectSettings, {"store", "policy", "shard", "earlier"}),
        (eval_, EvalSettings, {"context", "policy", "against", "run", "every", "averages", "image", "store"}),
        (demo, DemoSettings, {"store"}),
    ):
        options = set(inspect.signature(module.command).parameters) - {"assign", "json"}
        assert options - {field.name for field in dataclasses.fields(settings)} == others


def test_eval_says_how_sure_it_is(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = "eval --policy policy --tasks 2 --episodes 2 --horizon 8 --workers 1"
    assert srpo(command, folder, monkeypatch) == 0
    shown = capsys.readouterr().out
    for part in ("0.0-65.8 %", "n=2, greedy, horizon 8", "overlap with training: unknown", "mujoco 3.3."):
        assert part in shown
