"""The cache of task models: what a hit avoids, what makes an entry anew, two processes at once, and broken entries."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from stages.sim.models import entries
from stages.sim.models.build import Built, build
from stages.sim.models.model import forget_models, task_model
from stages.sim.simulator import Simulator
from stages.sim.tasks import suite_tasks

ROOT = Path(__file__).parents[4]
TASK = suite_tasks("libero_object")[4]
FILES = ["full.xml", "lite.mjb", "task.json"]
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
    found = list((cache / "models").iterdir())
    assert len(found) == 1
    names = sorted(path.name for path in found[0].iterdir())
    assert names[:2] + names[3:] == FILES and names[2].startswith("settled-")
    assert (found[0] / "lite.mjb").stat().st_size < 10e6


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """This process's cached entry in a folder of its own, nothing remembered before and after."""
    entry = entries.load_entry(TASK).folder
    monkeypatch.setenv("SRPO_CACHE", str(tmp_path))
    shutil.copytree(entry, tmp_path / "models" / entry.name)
    forget_models()
    yield tmp_path / "models" / entry.name
    forget_models()


@pytest.fixture
def builds(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the tasks that were built; building takes what was cached instead of seconds."""
    kept, made = entries.load_entry(TASK), []
    sources = [Path(name) for name in json.loads((own_cache / "task.json").read_text())["sources"]]

    def counted(task: object) -> Built:
        made.append(TASK.name)
        return Built(kept.xml, kept.physics, kept.numbers, sources)

    monkeypatch.setattr("stages.sim.models.build.build", counted)
    return made


def test_hit_builds_nothing(builds: list[str]) -> None:
    assert task_model(TASK).state_size == 110
    assert builds == []


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", ["gone", "empty", "cut", "flipped"])
def test_damaged_entry_is_made_again(own_cache: Path, builds: list[str], name: str, damage: str) -> None:
    file = own_cache / name
    content = bytearray(file.read_bytes())
    content[len(content) // 3] ^= 0xFF
    kept = {"gone": None, "empty": b"", "cut": file.read_bytes()[: len(content) // 2], "flipped": bytes(content)}[
        damage
    ]
    file.unlink()
    if kept is not None:
        file.write_bytes(kept)
    assert task_model(TASK).state_size == 110
    assert builds == [TASK.name]
    assert list(own_cache.parent.iterdir()) == [own_cache]
    forget_models()
    assert task_model(TASK).state_size == 110 and len(builds) == 1


@pytest.mark.parametrize("change", ["touched", "grown", "gone"])
def test_changed_asset_makes_an_entry_anew(own_cache: Path, builds: list[str], tmp_path: Path, change: str) -> None:
    """A file that the task uses, as recorded; put in a copy here, as the real one is not ours to touch."""
    asset = tmp_path / "milk.png"
    asset.write_bytes(b"picture")
    file = own_cache / "task.json"
    record = json.loads(file.read_text())
    record["sources"] |= entries._stamps([asset])
    file.write_text(json.dumps(record))
    task_model(TASK)
    assert builds == []
    if change == "touched":
        os.utime(asset, ns=(1, 1))
    elif change == "grown":
        stamp = asset.stat().st_mtime_ns
        asset.write_bytes(b"a picture")
        os.utime(asset, ns=(stamp, stamp))
    else:
        asset.unlink()
    forget_models()
    task_model(TASK)
    assert builds == [TASK.name]


def test_sources_are_what_the_task_uses(own_cache: Path) -> None:
    """XML, meshes and textures of its own objects and scene, its initial states, and nothing of other objects."""
    names = list(json.loads((own_cache / "task.json").read_text())["sources"])
    assert all(Path(name).is_file() for name in names)
    for wanted in (
        "/ketchup.xml",
        "ketchup/visual/textured_vis.msh",
        "panda/robot.xml",
        f"{TASK.name}.pruned_init.npz",
        "link0.stl",
    ):
        assert any(name.endswith(wanted) for name in names), wanted
    assert not any("microwave" in name for name in names)


def test_key_follows_versions_places_and_source(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = entries.entry_name(TASK)
    changes = {
        "check_versions": lambda: {"mujoco": "3.3.0"},
        "assets_root": lambda: Path("/elsewhere"),
        "source_digest": lambda names: "another lite.py",
    }
    for what, change in changes.items():
        monkeypatch.setattr(entries, what, change)
        entries._recipe.cache_clear()
        assert entries.entry_name(TASK) != name
        monkeypatch.undo()
        entries._recipe.cache_clear()
    assert entries.entry_name(TASK) == name


def test_another_version_builds_anew(own_cache: Path, builds: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entries, "check_versions", lambda: {"mujoco": "3.3.0"})
    entries._recipe.cache_clear()
    task_model(TASK)
    assert builds == [TASK.name]
    assert len(list(own_cache.parent.iterdir())) == 2
    monkeypatch.undo()
    entries._recipe.cache_clear()


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
