"""An update killed in the middle, by a signal that nobody can catch, ends with the weights of one that was not."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from stages.learning.checkpoints import Checkpoints, Halfway
from stages.learning.settings import UpdateSettings
from stages.policies.loading import weights_digest
from stages.update import update_policy

ROOT = Path(__file__).parents[3]
SETTINGS = UpdateSettings(minibatch=16, microbatch=5, lr=1e-2, lr_half=3, epochs=2)
SCRIPT = """
import os, signal, sys
from pathlib import Path
from tests.stages.learning.test_checkpoints import SETTINGS
from stages.update import update_policy
store, policy, out, steps, every = sys.argv[1:]
def progress(done, total, note):
    if done == int(steps):
        os.kill(os.getpid(), signal.SIGKILL)
update_policy(store, policy, out, "binary", SETTINGS, save_every=int(every), threads=1, progress=progress)
"""


def killed_after(steps: int, store: Path, policy: Path, out: Path, every: int) -> None:
    arguments = [str(store), str(policy), str(out), str(steps), str(every)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", SCRIPT, *arguments]
    assert subprocess.run(command, env=environment, timeout=120, check=False).returncode == -signal.SIGKILL


@pytest.mark.parametrize(("every", "steps", "kept"), [(0, 3, None), (2, 3, 2), (2, 4, 4)])
def test_a_killed_update_ends_as_if_it_had_not_been(
    tiny_policy, tiny_folder, made_up_store, tmp_path: Path, every: int, steps: int, kept: int | None
) -> None:
    store = made_up_store(tiny_policy, tiny_folder)
    straight = update_policy(store, tiny_folder, tmp_path / "straight", "binary", SETTINGS, "straight", threads=1)
    out = tmp_path / "out"
    killed_after(steps, store, tiny_folder, out, every)
    assert not out.exists()
    halfway = out.with_name(".out.halfway")
    assert sorted(p.name for p in halfway.glob("*")) == ([str(kept)] if kept else [])
    told: list[int] = []
    again = update_policy(
        store,
        tiny_folder,
        out,
        "binary",
        SETTINGS,
        threads=1,
        save_every=every,
        progress=lambda done, total, note: told.append(done),
    )
    assert told[0] == (kept or 0) + 1
    assert not halfway.exists()
    assert weights_digest(out) == weights_digest(tmp_path / "straight")
    state = "trainer.safetensors"
    assert (out / state).read_bytes() == (tmp_path / "straight" / state).read_bytes()
    assert again["health"] == straight["health"]


def test_adapters_go_on_as_well(tiny_policy, tiny_folder, made_up_store, tmp_path: Path) -> None:
    pytest.importorskip("peft")
    store, settings = made_up_store(tiny_policy, tiny_folder), replace(SETTINGS, lora_rank=2)
    update_policy(store, tiny_folder, tmp_path / "straight", "binary", settings, "straight", threads=1)

    def stop(done: int, total: int, note: str) -> None:
        if done == 3:
            raise KeyboardInterrupt

    out, told = tmp_path / "out", list[int]()
    with pytest.raises(KeyboardInterrupt):
        update_policy(store, tiny_folder, out, "binary", settings, threads=1, save_every=2, progress=stop)
    update_policy(
        store,
        tiny_folder,
        out,
        "binary",
        settings,
        threads=1,
        save_every=2,
        progress=lambda done, total, note: told.append(done),
    )
    assert told[0] == 3
    assert weights_digest(out) == weights_digest(tmp_path / "straight")


def test_checkpoints_of_another_update_are_passed_over(tmp_path: Path) -> None:
    mine, other = (Checkpoints(tmp_path / "out", inputs, every=2) for inputs in ("a", "b"))
    assert [other.due(Halfway(norms=[1.0] * steps)) for steps in (1, 2, 3)] == [False, True, False]
    assert other.last() is None
    other.save(lambda folder: None, Halfway({"loss": 0.1}, [1.0, 2.0], {"gap": 1e-7}))
    assert mine.last() is None
    found = other.last()
    assert found and json.loads((found[0] / "srpo.json").read_text())["inputs"] == "b"
    assert found[1] == Halfway({"loss": 0.1}, [1.0, 2.0], {"gap": 1e-7})
    mine.remove()
    assert other.last() is None
