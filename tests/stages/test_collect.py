"""Collection with the real simulator and an untrained mini policy: the same store however it came about."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from data.errors import UserError
from data.settings import build
from data.shards import Shard
from data.store import DONE, RolloutStore
from stages.collect import CollectSettings, collect, plan_rollouts
from stages.policies.base import Observation
from stages.policies.mini import MiniConfig, MiniPolicy
from stages.sim.tasks import suite_tasks
from stages.sim.workers.pool import Pool

SETTINGS = CollectSettings(tasks="2,9", groups=2, samples=2, horizon=20, temperature=0.8, seed=3, workers=1)
CONFIG = MiniConfig(cameras={"agentview": 32, "robot0_eye_in_hand": 16}, channels=(8, 8, 8), hidden=32)
TASKS = suite_tasks("libero_object")


def content(path: Path) -> dict[str, bytes]:
    """Every file of a store."""
    return {str(file.relative_to(path)): file.read_bytes() for file in sorted(path.rglob("*")) if file.is_file()}


def times(path: Path) -> dict[str, int]:
    return {str(file): file.stat().st_mtime_ns for file in path.rglob("*")}


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("collect") / "policy"
    folder.mkdir()
    MiniPolicy(CONFIG, seed=1).save(folder)
    return folder


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    with Pool(2, slots=2) as made:
        yield made


@pytest.fixture(scope="module")
def whole(policy: Path, pool: Pool) -> Path:
    path = policy.parent / "whole.zarr"
    result = collect(path, policy, SETTINGS, pool)
    assert (result["collected"], result["n"], result["up_to_date"]) == (8, 8, False)
    assert result["retries"] == {"crash": 0, "hang": 0, "exception": 0}
    return path


def test_one_worker_writes_the_same_bytes(policy: Path, whole: Path, tmp_path: Path) -> None:
    collect(tmp_path / "one.zarr", policy, SETTINGS)
    assert content(tmp_path / "one.zarr") == content(whole)


def test_episodes_are_complete_and_those_of_a_group_start_alike(whole: Path) -> None:
    store = RolloutStore.open(whole)
    assert set(store.status()) == {DONE}
    first, second, other = (store.read(i) for i in (0, 1, 2))
    np.testing.assert_array_equal(first.state[0], second.state[0])
    assert (first.tokens != second.tokens).any()
    assert (first.state[0] != other.state[0]).any()
    assert first.images["agentview"].shape == (3, 32, 32, 3)
    assert first.tokens is not None
    assert first.tokens.shape == (3, 56)
    assert store.attrs["policy"]["id"] == "srpo_mini"
    assert {"mujoco", "robosuite"} < set(store.attrs["versions"])


def test_recorded_logprob_and_actions_are_the_policys(policy: Path, whole: Path) -> None:
    store, acting = RolloutStore.open(whole), MiniPolicy.load(policy, torch.device("cpu"))
    episode, texts = store.read(5), [TASKS[int(store.plan.task[5])].instruction] * 3
    assert episode.tokens is not None
    assert episode.proprio is not None
    assert episode.logprob is not None
    logprob, _ = acting.logprob(Observation(episode.images, episode.proprio), texts, episode.tokens, 0.8)
    np.testing.assert_allclose(logprob.detach().numpy(), episode.logprob, atol=1e-4)
    actions = acting.decode_tokens(episode.tokens).reshape(-1, 7)
    np.testing.assert_array_equal(actions[:20], episode.action)


def test_up_to_date_changes_no_byte(policy: Path, whole: Path, pool: Pool) -> None:
    before = content(whole), times(whole)
    result = collect(whole, policy, replace(SETTINGS, workers=3, slots=1), pool)
    assert result["up_to_date"]
    assert result["collected"] == 0
    assert (content(whole), times(whole)) == before


def test_only_what_is_missing_is_run(policy: Path, whole: Path, pool: Pool, tmp_path: Path) -> None:
    path, ticks = tmp_path / "part.zarr", []
    collect(path, policy, SETTINGS, pool)
    (path / "episode/status/c/6").unlink()
    RolloutStore.open(path, writable=True).mark_error(4)
    (path / "step/action/c/7").mkdir(exist_ok=True)
    (path / "step/action/c/7/0.abc.partial").write_bytes(b"half")
    result = collect(path, policy, SETTINGS, pool, lambda done, total, note: ticks.append((done, total)))
    assert result["collected"] == 2
    assert ticks == [(7, 8), (8, 8)]
    assert content(path) == content(whole)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"temperature": 1.0}, r"temperature 0\.8 \(asked: 1\.0\)"),
        ({"seed": 4}, r"seed 3 \(asked: 4\)"),
        ({"tasks": "2"}, r"tasks \[2, 9\] \(asked: \[2\]\)"),
        ({"samples": 3}, r"samples 2 \(asked: 3\)"),
        ({"horizon": 24}, r"horizon 20 \(asked: 24\)"),
        ({"keep_images": False}, r"keep_images True \(asked: False\)"),
    ],
)
def test_another_request_is_refused(whole: Path, policy: Path, change: dict[str, object], says: str) -> None:
    before = content(whole)
    with pytest.raises(UserError, match=says):
        collect(whole, policy, replace(SETTINGS, **change))
    assert content(whole) == before


def test_another_policy_is_refused(whole: Path, tmp_path: Path) -> None:
    MiniPolicy(CONFIG, seed=2).save(tmp_path)
    with pytest.raises(UserError, match="policy weights"):
        collect(whole, tmp_path, SETTINGS)


def test_store_made_for_nothing_is_removed(policy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUJOCO_GL", "agl")
    with pytest.raises(UserError, match="MUJOCO_GL 'agl'"):
        collect(tmp_path / "a.zarr", policy, SETTINGS)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("count", [3, 20])
def test_shards_in_any_order_write_the_same_bytes(
    policy: Path, whole: Path, pool: Pool, tmp_path: Path, count: int
) -> None:
    """More shards than episodes leave some of them without any."""
    path, shards = tmp_path / "shards.zarr", [Shard(i, count) for i in range(count)]
    held = 0
    for shard in reversed(shards):
        ticks: list[tuple[int, int]] = []
        own = len(shard.episodes(8))
        result = collect(path, policy, SETTINGS, pool, lambda done, n, _, to=ticks: to.append((done, n)), shard)
        held += own
        assert ticks == [(i + 1, own) for i in range(own)]
        assert (result["collected"], result["shard_n"], result["shard_episodes"]) == (own, own, own)
        assert (result["shard"], result["n"], result["episodes"]) == (str(shard), held, 8)
    assert content(path) == content(whole)
    assert all(collect(path, policy, SETTINGS, pool, shard=shard)["up_to_date"] for shard in shards)


def test_shard_does_only_its_own_again(policy: Path, whole: Path, pool: Pool, tmp_path: Path) -> None:
    path = tmp_path / "again.zarr"
    collect(path, policy, SETTINGS, pool)
    for episode in (1, 6):
        (path / f"episode/status/c/{episode}").unlink()
        (path / f"episode/status/c/{episode}.abc.partial").write_bytes(b"half")
    collect(path, policy, SETTINGS, pool, shard=Shard(1, 2))
    assert RolloutStore.open(path).done().tolist() == [0, 2, 3, 4, 5, 6, 7]
    assert [file.name for file in path.rglob("*.partial")] == ["1.abc.partial"], "another shard may be writing it"
    collect(path, policy, SETTINGS, pool, shard=Shard(0, 2))
    assert content(path) == content(whole)


def test_shard_of_another_request_is_refused(policy: Path, whole: Path) -> None:
    before = content(whole)
    with pytest.raises(UserError, match="samples 2"):
        collect(whole, policy, replace(SETTINGS, samples=4), shard=Shard(1, 2))
    assert content(whole) == before


def test_shard_leaves_the_store_to_the_others(policy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUJOCO_GL", "agl")
    with pytest.raises(UserError, match="MUJOCO_GL 'agl'"):
        collect(tmp_path / "a.zarr", policy, SETTINGS, shard=Shard(0, 2))
    assert len(RolloutStore.open(tmp_path / "a.zarr")) == 8


@pytest.mark.slow
def test_shards_at_once_with_one_killed_write_the_same_bytes(policy: Path, whole: Path, tmp_path: Path) -> None:
    """Three processes begin with nothing at the same moment; one is killed with its workers, and begins again."""
    path = tmp_path / "shards.zarr"

    def start(index: int) -> "subprocess.Popen[bytes]":
        program = (
            "from stages.collect import *\nfrom pathlib import Path\n"
            f"collect(Path({str(path)!r}), Path({str(policy)!r}), {SETTINGS!r}, shard={Shard(index, 3)!r})"
        )
        return subprocess.Popen([sys.executable, "-c", program], start_new_session=True)

    processes = [start(index) for index in range(3)]
    victim = processes[2]
    while victim.poll() is None and not any((path / f"step/state/c/{i}").exists() for i in Shard(2, 3).episodes(8)):
        time.sleep(0.001)
    os.killpg(victim.pid, signal.SIGKILL)
    assert victim.wait() == -signal.SIGKILL
    assert start(2).wait() == 0
    assert [process.wait() for process in processes[:2]] == [0, 0]
    assert content(path) == content(whole)


def test_killed_group_goes_on(policy: Path, whole: Path, tmp_path: Path) -> None:
    path = tmp_path / "killed.zarr"
    program = (
        "from stages.collect import *\nfrom pathlib import Path\n"
        f"collect(Path({str(path)!r}), Path({str(policy)!r}), {SETTINGS!r})"
    )
    process = subprocess.Popen([sys.executable, "-c", program], start_new_session=True)
    end = time.monotonic() + 60
    while time.monotonic() < end and not any((path / "episode/status/c").glob("*[0-9]")):
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    done = len(RolloutStore.open(path).done())
    assert 0 < done < 8
    result = collect(path, policy, SETTINGS)
    assert result["collected"] == 8 - done
    assert content(path) == content(whole)


def test_plan_groups_share_task_and_state() -> None:
    plan = plan_rollouts(TASKS[2:5], CollectSettings(groups=6, samples=4, seed=9))
    assert len(plan) == 3 * 6 * 4
    for group in range(18):
        rows = plan.group == group
        assert rows.sum() == 4
        assert len(set(plan.task[rows])) == len(set(plan.init_state[rows])) == 1
    for task in (2, 3, 4):
        assert len(set(plan.init_state[plan.task == task])) == 6
    assert len(set(plan.seed)) == len(plan)
    assert plan.seed.min() >= 0


def test_plan_of_a_task_does_not_depend_on_the_others() -> None:
    both, alone = (plan_rollouts(tasks, CollectSettings(groups=5, samples=2)) for tasks in (TASKS[:4], TASKS[3:4]))
    np.testing.assert_array_equal(both.init_state[both.task == 3], alone.init_state)
    other = plan_rollouts(TASKS[3:4], CollectSettings(groups=5, samples=2, seed=1))
    assert (other.init_state != alone.init_state).any()


def test_plan_with_more_groups_than_states_repeats_them_evenly() -> None:
    plan = plan_rollouts(TASKS[:1], CollectSettings(inits="3,5,8", groups=7, samples=1))
    counts = np.bincount(plan.init_state)[[3, 5, 8]]
    assert sorted(counts) == [2, 2, 3]


@pytest.mark.parametrize(
    "wrong",
    [
        *({"groups": 0}, {"samples": -1}, {"horizon": 0}, {"temperature": -0.1}, {"temperature": float("nan")}),
        *({"seed": -1}, {"look": "lit"}, {"engine": "slow"}, {"workers": 0}, {"slots": 0}, {"watchdog": 0}),
        {"group": 2},
    ],
)
def test_impossible_settings_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(UserError):
        build(CollectSettings, wrong, "collect")


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_random_kills_lose_and_double_nothing(policy: Path, tmp_path: Path) -> None:
    """Workers, the parent or the whole group, killed at random moments until the collection is through."""
    settings = replace(SETTINGS, groups=5, samples=4, horizon=16, workers=2)
    collect(tmp_path / "whole.zarr", policy, settings)
    path, rng, kills = tmp_path / "killed.zarr", np.random.default_rng(0), 0
    program = (
        "from stages.collect import *\nfrom pathlib import Path\n"
        f"collect(Path({str(path)!r}), Path({str(policy)!r}), {settings!r})"
    )
    code = 1
    while code:
        process = subprocess.Popen([sys.executable, "-c", program], start_new_session=True, stderr=subprocess.DEVNULL)
        while process.poll() is None:
            _wait_for_episodes(process, path, int(rng.integers(0, 6)))
            time.sleep(float(rng.uniform(0, 0.5)))
            kills += _kill_something(process, rng)
        code = process.wait()
    assert kills > 2
    assert content(path) == content(tmp_path / "whole.zarr")


def _wait_for_episodes(process: "subprocess.Popen[bytes]", path: Path, count: int) -> None:
    """Until so many more episodes are done, or the process has ended."""
    folder = path / "episode/status/c"
    goal = len(list(folder.glob("*[0-9]"))) + count
    while process.poll() is None and len(list(folder.glob("*[0-9]"))) < goal:
        time.sleep(0.01)


def _kill_something(process: "subprocess.Popen[bytes]", rng: np.random.Generator) -> bool:
    """Kill a worker, the parent or the group; whether there still was one."""
    if process.poll() is not None:
        return False
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    victim = rng.choice(["worker", "parent", "group"], p=[0.6, 0.2, 0.2])
    if victim == "worker" and children:
        os.kill(int(rng.choice(children)), signal.SIGKILL)
    elif victim == "group":
        os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
    return True
