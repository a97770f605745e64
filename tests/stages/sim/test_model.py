"""The cache of compiled models: what a hit avoids, two processes at once, and a half-removed entry."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from stages.sim import model
from stages.sim.build import build
from stages.sim.simulator import Simulator
from stages.sim.tasks import suite_tasks

ROOT = Path(__file__).parents[3]
TASK = suite_tasks("libero_object")[4]
ROLL = """
import sys
from stages.sim.replay import replay, smooth_actions
from stages.sim.tasks import suite_tasks
from data.lineage import digest
states = replay(suite_tasks("libero_object")[4], 0, smooth_actions(0, 5)).states
print(digest(states), "robosuite" in sys.modules, "libero" in sys.modules, "torch" in sys.modules)
"""


def _start(cache: Path) -> subprocess.Popen[str]:
    environment = {**os.environ, "SRPO_CACHE": str(cache), "NUMBA_CACHE_DIR": str(cache.parent / "numba")}
    return subprocess.Popen(
        [sys.executable, "-c", ROLL],
        env=environment,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _finish(process: subprocess.Popen[str]) -> list[str]:
    said, errors = process.communicate()
    assert process.returncode == 0, errors
    return said.split()


@pytest.mark.slow
def test_two_at_once_then_a_hit(tmp_path: Path) -> None:
    """Both build, one entry stays; a later process imports neither robosuite nor LIBERO nor torch."""
    cache = tmp_path / "cache"
    both = [_finish(process) for process in [_start(cache), _start(cache)]]
    later = _finish(_start(cache))
    assert both[0][0] == both[1][0] == later[0]
    assert later[1:] == ["False", "False", "False"]
    entries = list((cache / "models").iterdir())
    assert len(entries) == 1
    assert sorted(path.name for path in entries[0].iterdir()) == ["full.xml", "lite.mjb", "task.json"]
    assert (entries[0] / "lite.mjb").stat().st_size < 10e6


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """This process's cached entry in a folder of its own, nothing remembered before and after."""
    entry = Simulator(TASK).model._folder
    monkeypatch.setenv("SRPO_CACHE", str(tmp_path))
    shutil.copytree(entry, tmp_path / "models" / entry.name)
    model.task_model.cache_clear()
    yield tmp_path / "models" / entry.name
    model.task_model.cache_clear()


def test_half_removed_entry_is_made_again(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = json.loads((own_cache / "task.json").read_text())
    (own_cache / "task.json").unlink()
    made = model.task_model(TASK)
    assert made.numbers == numbers


def test_hit_builds_nothing(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stages.sim.build.build", lambda task: pytest.fail("built although cached"))
    assert model.task_model(TASK).state_size == 110


def test_key_follows_versions_and_assets(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = model._key(TASK)
    monkeypatch.setattr(model, "check_versions", lambda: {"mujoco": "3.3.0"})
    assert model._key(TASK) != key
    monkeypatch.undo()
    assert model._key(TASK) == key
    monkeypatch.setattr(model, "assets_root", lambda: Path("/elsewhere"))
    assert model._key(TASK) != key


def test_build_leaves_the_global_generator_alone() -> None:
    np.random.seed(3)  # noqa: NPY002
    expected = np.random.random()  # noqa: NPY002
    np.random.seed(3)  # noqa: NPY002
    built = build(TASK)
    assert np.random.random() == expected  # noqa: NPY002
    assert built.lite.nq == Simulator(TASK).model.physics.nq
    assert built.lite.ntex == 0


@pytest.mark.slow
def test_same_fixtures_every_time() -> None:
    """A task with a cabinet and a stove, placed by LIBERO's reset: two builds agree."""
    task = suite_tasks("libero_goal")[0]
    first, second = build(task), build(task)
    assert first.numbers == second.numbers
    assert first.xml == second.xml
