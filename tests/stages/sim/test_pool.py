"""The pool with real simulators and made-up actions: against a plain loop, with one worker or two, through losses."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from data.errors import UserError
from data.query import Answer, Query
from data.store import DONE, EMPTY, ERROR, Episode, Layout, Plan, RolloutStore
from stages.sim.messages import Job, Start
from stages.sim.pool import Pool, WorkerLostError
from stages.sim.simulator import Simulator
from stages.sim.tasks import suite_tasks

TASKS = {index: suite_tasks("libero_object")[index] for index in (2, 9)}
CAMERAS = {"agentview": 32, "robot0_eye_in_hand": 16}
CHUNK, HORIZON = 8, 20
PLAN = Plan(np.array([2, 2, 9, 9, 2, 2]), np.array([0, 0, 1, 1, 4, 4]), np.arange(6) // 2, np.arange(6))
STARTS = [Start(i, int(task), int(init)) for i, (task, init) in enumerate(zip(PLAN.task, PLAN.init_state, strict=True))]


def decide(queries: Sequence[Query]) -> list[Answer]:
    """Random actions that depend on the episode and the query alone."""
    return [answer(query.episode, query.number) for query in queries]


def answer(episode: int, number: int) -> Answer:
    generator = np.random.default_rng([episode, number])
    record = {"tokens": generator.integers(0, 41, CHUNK * 7), "logprob": -generator.random(CHUNK * 7)}
    return Answer(generator.uniform(-1, 1, (CHUNK, 7)).astype(np.float32), record)


def new_job(path: Path, horizon: int = HORIZON, look: str = "lite") -> Job:
    layout = Layout(horizon, 110, CHUNK, proprio=8, images=CAMERAS, tokens=True)
    RolloutStore.create(path, {"tasks": []}, PLAN, layout)
    return Job(str(path), TASKS, horizon, CAMERAS, look)


def arrays(path: Path) -> dict[str, np.ndarray]:
    members = RolloutStore.open(path).group.members(max_depth=None)
    return {name: item[:] for name, item in members if hasattr(item, "shape")}  # type: ignore[index]


def assert_same(path: Path, other: Path) -> None:
    left, right = arrays(path), arrays(other)
    assert left.keys() == right.keys()
    for name in left:
        np.testing.assert_array_equal(left[name], right[name], err_msg=name)


def gone(pid: int, within: float = 5.0) -> bool:
    end = time.monotonic() + within
    while time.monotonic() < end:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z":
                return True
        except OSError:
            return True
        time.sleep(0.05)
    return False


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    with Pool(2, slots=2) as made:
        yield made


@pytest.fixture(scope="module")
def whole(pool: Pool, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store that an undisturbed pool has filled."""
    path = tmp_path_factory.mktemp("pool") / "whole.zarr"
    report = pool.run(new_job(path), STARTS, decide)
    assert (report.episodes, report.queries, report.steps) == (6, 18, 120)
    assert not report.retries
    return path


def by_hand(start: Start) -> Episode:
    """The same episode in this process, step by step."""
    simulator = Simulator(TASKS[start.task])
    simulator.reset(start.init)
    states, actions = [simulator.state()], []
    images: dict[str, list[np.ndarray]] = {camera: [] for camera in CAMERAS}
    proprio, answers = [], []
    for step in range(HORIZON):
        if step % CHUNK == 0:
            for camera, size in CAMERAS.items():
                images[camera].append(simulator.render(camera, size))
            proprio.append(simulator.proprio())
            answers.append(answer(start.episode, step // CHUNK))
        actions.append(answers[-1].actions[step % CHUNK])
        assert not simulator.step(actions[-1])
        states.append(simulator.state())
    tokens, logprob = (np.stack([a.record[name] for a in answers]) for name in ("tokens", "logprob"))
    shown = {camera: np.stack(rows) for camera, rows in images.items()}
    return Episode(False, np.stack(states), np.stack(actions), shown, np.stack(proprio), tokens, logprob)


@pytest.mark.parametrize("index", [1, 2, 5])
def test_episode_is_the_plain_loop(whole: Path, index: int) -> None:
    stored, expected = RolloutStore.open(whole).read(index).arrays(), by_hand(STARTS[index]).arrays()
    assert stored.keys() == expected.keys()
    for name, values in expected.items():
        wide = stored[name][..., : values.shape[-1]]
        np.testing.assert_array_equal(wide, values.astype(wide.dtype), err_msg=name)


def test_one_worker_fills_the_same_store(whole: Path, tmp_path: Path) -> None:
    with Pool(1, slots=3) as one:
        one.run(new_job(tmp_path / "one.zarr"), STARTS, decide)
    assert_same(tmp_path / "one.zarr", whole)


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


def test_stopped_worker_is_replaced(whole: Path, tmp_path: Path) -> None:
    stopped: list[int] = []
    with Pool(2, slots=2, watchdog=5.0) as pool:

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


def test_users_mistake_is_not_tried_again(tmp_path: Path) -> None:
    with Pool(1) as pool, pytest.raises(UserError, match="look 'lit'; did you mean 'lite'"):
        pool.run(new_job(tmp_path / "a.zarr", look="lit"), STARTS, decide)


@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError])
def test_callers_exception_ends_the_workers(tmp_path: Path, error: type[BaseException]) -> None:
    with Pool(1) as pool:
        pool.start()
        pids = pool.pids()

        def fail(queries: Sequence[Query]) -> list[Answer]:
            raise error

        with pytest.raises(error):
            pool.run(new_job(tmp_path / "a.zarr"), STARTS, fail)
        assert pool.pids() == []
    assert all(gone(pid) for pid in pids)


def test_workers_end_with_their_parent(tmp_path: Path) -> None:
    program = (
        "from stages.sim.pool import Pool\n"
        "import os, signal, time\n"
        "pool = Pool(2); pool.start(); print(*pool.pids(), flush=True); time.sleep(60)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pids = [int(word) for word in parent.stdout.readline().split()]
    parent.kill()
    parent.wait()
    parent.stdout.close()
    assert all(gone(pid) for pid in pids)


@pytest.mark.parametrize("sizes", [{"workers": 0}, {"workers": 1, "slots": 0}, {"workers": 1, "watchdog": 0.0}])
def test_impossible_pools_are_refused(sizes: dict[str, int]) -> None:
    with pytest.raises(UserError, match="above 0"):
        Pool(**sizes)
