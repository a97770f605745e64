"""The pool with real simulators and made-up actions: against a plain loop, with one worker or two, and its ends."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from data.errors import UserError
from data.query import Answer, Query
from data.store import Episode, RolloutStore
from stages.sim.simulator import Simulator
from stages.sim.workers.messages import Start
from stages.sim.workers.pool import Pool
from tests.stages.sim.pools import CAMERAS, CHUNK, HORIZON, STARTS, TASKS, answer, assert_same, decide, gone, new_job


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
        report = one.run(new_job(tmp_path / "one.zarr"), STARTS, decide)
    assert_same(tmp_path / "one.zarr", whole)
    cpu = report.summary()["cpu_seconds"]
    assert min(cpu["stepping"], cpu["rendering"], cpu["other"]) > 0
    assert sum(cpu.values()) - cpu["other"] < report.seconds


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
        "from stages.sim.workers.pool import Pool\n"
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
