"""What surrounds the episodes: memory, start, threads against processes, frames."""

import sys
from pathlib import Path

import numpy as np
import pytest

from data.errors import UserError
from stages.bench import start
from stages.bench.measure import resident, timed
from stages.bench.memory import bench_memory
from stages.bench.parallel import Steppers, bench_parallel
from stages.bench.render import SIZES, bench_render
from stages.bench.settings import RenderSettings
from stages.sim.tasks import select_tasks, suite_tasks

TASK = suite_tasks("libero_object")[2]


def test_resident_memory_counts_what_is_touched() -> None:
    before = resident()
    held = np.ones(25_000_000)
    assert 150 < resident() - before < 250
    assert held.nbytes == 2e8


def test_memory_of_a_worker() -> None:
    rows = bench_memory(select_tasks("libero_object", "0,2,9"), "lite", lambda note: None)
    assert [row["tasks"] for row in rows] == [1, 3]
    assert 50 < rows[0]["resident_mb"] < rows[1]["resident_mb"] < 1000


def test_imports_are_added_up() -> None:
    header = "import time: self [us] | cumulative | imported package"
    told = f"{header}\nimport time:       120 |        120 |   a\nimport time: 80 | 200 | b\n"
    assert sum(int(us) for us in start.SELF.findall(told)) == 200


def test_first_step_is_seen_before_the_end(tmp_path: Path) -> None:
    program = (
        "import time, pathlib; p = pathlib.Path('s/episode/status/c'); p.mkdir(parents=True)\n"
        "(p / '0').touch(); time.sleep(0.5)"
    )
    first, whole = start._run([sys.executable, "-c", program], tmp_path, tmp_path / "s")
    assert 0 < first < whole - 0.3


def test_a_collect_that_fails_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="out of luck"):
        start._run([sys.executable, "-c", "import sys; sys.exit('out of luck')"], tmp_path, tmp_path / "s")


def test_steps_by_threads() -> None:
    steppers = Steppers()
    steppers.make(TASK, 2, 5)
    alone, both = steppers.run(1), steppers.run(2)
    assert alone > 0 and both > 0
    np.testing.assert_array_equal(steppers._simulators[0].state(), steppers._simulators[1].state())
    steppers._actions = np.full((1, 7), np.nan)
    with pytest.raises(ValueError, match="finite"):
        steppers.run(2)


def test_threads_and_processes_in_turn() -> None:
    told: list[str] = []
    found = bench_parallel(TASK, 2, 5, told.append)
    assert found["width"] == 2 and len(told) == found["threads"]["n"] == found["one"]["n"] == 6
    assert all(found[name]["median"] > 10 for name in ("one", "threads", "processes"))


@pytest.mark.slow
def test_start_of_a_worker_and_of_collect() -> None:
    worker = start.bench_worker_start(TASK, 1)
    command = (sys.executable, "-m", "srpo_cli", "collect")
    found = start.bench_collect_start(command, TASK, 1, lambda note: None)
    assert 0 < worker["median"] < 60
    assert 0 < found["imports_s"] < found["whole_s"]["median"] * 3
    assert found["first_step_s"]["median"] < found["whole_s"]["median"]


@pytest.mark.slow
def test_frames_of_every_look() -> None:
    rows = bench_render(RenderSettings(tasks="2", frames=2))["rows"]
    ms = {(row["look"], row["camera"], row["size"]): row["ms"]["median"] for row in rows}
    assert {size for look, _, size in ms if look == "lite"} == set(SIZES["lite"])
    assert ms["lite", "agentview", 96] < ms["libero", "agentview", 256]
    ratios = {(row["look"], row["size"]): row.get("ratio") for row in rows}
    assert ratios["libero", 256] == 1.0 and ratios["lite", 96] is None and ratios["full", 256] is not None


def test_timed() -> None:
    assert timed(lambda: None) < 0.1
