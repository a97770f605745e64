"""Workers that are killed, stop, hang, crash or raise: replaced in time, their episodes run again, nothing else."""

import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from data.query import Answer, Query
from data.store import DONE, EMPTY, ERROR, SKIPPED, RolloutStore
from stages.sim.workers.messages import Finished
from stages.sim.workers.pool import Pool, PoolReport, WorkerLostError
from tests.stages.sim.faults import EPISODE
from tests.stages.sim.pools import CHUNK, STARTS, answer, arrays, assert_same, before_workers, decide, gone, new_job

WATCHDOG = 4.0
Breaks = Callable[..., None]


@pytest.fixture
def breaks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Breaks:
    """A function that has episode 3 break its worker's simulator, in one way, so many times."""
    folder = tmp_path / "faults"
    folder.mkdir()
    monkeypatch.setenv("TEST_FAULTS", str(folder))
    before_workers(monkeypatch, "from tests.stages.sim.faults import install; install()")

    def make(kind: str, times: int = 1) -> None:
        for number in range(times):
            (folder / f"{kind}.{number}").touch()

    return make


class Ends(threading.Thread):
    """Watches how long the first broken worker lives on: `seconds`."""

    def __init__(self, folder: Path) -> None:
        super().__init__(daemon=True)
        self.folder, self.seconds = folder, float("nan")
        self.start()

    def run(self) -> None:
        while not (hit := list(self.folder.glob("*.done"))):
            time.sleep(0.02)
        pid, when = hit[0].read_text().split()
        assert gone(int(pid), within=60)
        self.seconds = time.monotonic() - float(when)


def collect(path: Path, pool: Pool, **how: object) -> tuple[PoolReport, list[int]]:
    """The report, and the episodes in the order in which they ended."""
    done: list[Finished] = []
    report = pool.run(new_job(path), STARTS, decide, done.append, **how)
    return report, [one.episode for one in done]


def test_killed_worker_is_replaced(pool: Pool, whole: Path, tmp_path: Path) -> None:
    killed: list[int] = []

    def kill_once(queries: Sequence[Query]) -> list[Answer]:
        if not killed and any(query.number == 1 for query in queries):
            killed.append(pool.pids()[0])
            os.kill(killed[0], signal.SIGKILL)
        return decide(queries)

    report = pool.run(new_job(tmp_path / "a.zarr"), STARTS, kill_once)
    assert report.episodes == 6
    assert report.retries == {"crash": 1}
    assert killed[0] not in pool.pids()
    assert_same(tmp_path / "a.zarr", whole)


@pytest.mark.slow
def test_stopped_worker_is_replaced(whole: Path, tmp_path: Path) -> None:
    stopped: list[int] = []
    with Pool(2, slots=2, watchdog=5.0) as pool:
        collect(tmp_path / "before.zarr", pool)  # has loaded what it needs, which may take longer

        def stop_once(queries: Sequence[Query]) -> list[Answer]:
            if not stopped and any(query.number == 1 for query in queries):
                stopped.append(pool.pids()[1])
                os.kill(stopped[0], signal.SIGSTOP)
            return decide(queries)

        report = pool.run(new_job(tmp_path / "a.zarr"), STARTS, stop_once)
    assert report.episodes == 6
    assert report.retries["hang"] >= 1
    assert not report.retries["crash"]
    assert gone(stopped[0])
    assert_same(tmp_path / "a.zarr", whole)


BROKEN = [("raise", "exception"), ("segfault", "crash"), pytest.param("exit", "crash", marks=pytest.mark.slow)]


@pytest.mark.parametrize(("kind", "cause"), BROKEN)
def test_broken_simulator_costs_one_retry(kind: str, cause: str, whole: Path, tmp_path: Path, breaks: Breaks) -> None:
    breaks(kind)
    with Pool(2, slots=2) as pool:
        report, done = collect(tmp_path / "a.zarr", pool)
    assert sorted(done) == [0, 1, 2, 3, 4, 5]
    assert report.retries == {cause: 1}
    assert_same(tmp_path / "a.zarr", whole)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["busy", "asleep", "loose"])
def test_hung_simulator_is_ended_by_the_watchdog(kind: str, whole: Path, tmp_path: Path, breaks: Breaks) -> None:
    breaks(kind)
    ends = Ends(tmp_path / "faults")
    with Pool(2, slots=2, watchdog=WATCHDOG) as pool:
        report, done = collect(tmp_path / "a.zarr", pool)
    assert sorted(done) == [0, 1, 2, 3, 4, 5]
    assert report.retries["hang"] >= 1
    assert not report.retries["crash"] and not report.retries["exception"]
    assert WATCHDOG - 1 < ends.seconds < WATCHDOG + 2
    assert_same(tmp_path / "a.zarr", whole)


@pytest.mark.slow
def test_loading_may_take_longer_than_the_watchdog_allows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = "import time, stages.sim.workers.idle as idle; make = idle.make_simulator\n"
    slow += "idle.make_simulator = lambda *key: (time.sleep(3), make(*key))[1]\n"
    before_workers(monkeypatch, slow)
    with Pool(1, watchdog=2.0) as pool:
        report = pool.run(new_job(tmp_path / "a.zarr"), STARTS[:1], decide)
    assert report.episodes == 1
    assert not report.retries


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "cause", "says"),
    [
        ("raise", "exception", "^made to raise$"),
        ("segfault", "crash", r"(?s)died 3 times over episode 3 \(signal SIGSEGV; .*Segmentation fault.*faulty_step"),
        ("loose", "hang", r"(?s)hung 3 times over episode 3 \(signal SIGKILL; .*faulty_step"),
    ],
)
def test_third_strike(kind: str, cause: str, says: str, whole: Path, tmp_path: Path, breaks: Breaks) -> None:
    """Ends the run with the real cause; or, if so wished, goes on without the episode."""
    breaks(kind, times=6)
    path, told = tmp_path / "a.zarr", list[tuple[int, Exception]]()

    def mark(episode: int, error: Exception) -> bool:
        told.append((episode, error))
        RolloutStore.open(path, writable=True).mark_error(episode, skip=len(told) == 2)
        return len(told) == 2

    with Pool(2, slots=2, watchdog=WATCHDOG) as pool:
        job = new_job(path)
        with pytest.raises((OSError, WorkerLostError), match=says) as caught:
            pool.run(job, STARTS, decide, on_error=mark)
        assert told == [(EPISODE, caught.value)]
        assert RolloutStore.open(path).status()[EPISODE] == ERROR
        left = [start for start in STARTS if RolloutStore.open(path).status()[start.episode] != DONE]
        report = pool.run(job, left, decide, on_error=mark)
    assert report.episodes == len(left) - 1
    assert report.retries[cause] == 3
    assert list(report.skipped) == [EPISODE]
    got, expected, others = arrays(path), arrays(whole), [0, 1, 2, 4, 5]
    assert got["episode/status"].tolist() == [DONE] * 3 + [SKIPPED] + [DONE] * 2
    for name in expected:
        np.testing.assert_array_equal(got[name][others], expected[name][others], err_msg=name)
    assert not got["episode/success"][EPISODE] and not got["step/action"][EPISODE].any()


def test_third_exception_ends_the_run_with_it(pool: Pool, tmp_path: Path) -> None:
    job, failed = new_job(tmp_path / "a.zarr"), []

    def poison(queries: Sequence[Query]) -> list[Answer]:
        return [Answer(np.full((CHUNK, 7), np.nan)) if q.episode == 3 else answer(q.episode, q.number) for q in queries]

    def mark(episode: int, error: Exception) -> bool:
        failed.append(episode)
        RolloutStore.open(tmp_path / "a.zarr", writable=True).mark_error(episode)
        return False

    with pytest.raises(ValueError, match="seven finite numbers") as caught:
        pool.run(job, STARTS, poison, on_error=mark)
    assert "in step" in str(caught.value.__cause__)
    assert failed == [3]
    status = RolloutStore.open(tmp_path / "a.zarr").status()
    assert status[3] == ERROR
    assert set(status[[0, 1, 2, 4, 5]]) <= {EMPTY, DONE}
    assert pool.pids() == []


def test_worker_that_dies_three_times_over_an_episode(tmp_path: Path) -> None:
    with Pool(1) as pool:

        def kill(queries: Sequence[Query]) -> list[Answer]:
            os.kill(pool.pids()[0], signal.SIGKILL)
            return decide(queries)

        with pytest.raises(WorkerLostError, match=r"died 3 times over episode 0 \(signal SIGKILL"):
            pool.run(new_job(tmp_path / "a.zarr"), STARTS[:1], kill)
