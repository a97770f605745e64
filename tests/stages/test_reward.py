"""The reward stage: what it writes, leaves alone and refuses in stores; files are in test_reward_file.py."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from data.errors import UserError
from data.paths import pack
from data.store import Episode, Layout, Plan, RolloutStore
from stages import reward as stage
from stages.progress.curves import progress_curves
from stages.progress.rewards import compute_rewards
from stages.progress.settings import PRESETS, reward_settings
from stages.reward import reward_store
from tests.stages.progress import slow

N, D = 24, 16
VECTORS = [name for name, settings in PRESETS.items() if not settings.needs_paths]
PAPER, SIIRL, BINARY = PRESETS["paper"], PRESETS["siirl"], PRESETS["binary"]
ENCODER = {"settings": {"world_model": "pixels", "frames": 5}, "weights": "abc", "dim": D}


def make_store(path: Path, seed: int = 0, suite: str = "libero_object", losing: tuple[int, ...] = ()) -> RolloutStore:
    """N finished episodes of tasks 0-2 in groups of four; about half succeed, those of `losing` tasks never."""
    rng = np.random.default_rng(seed)
    number = np.arange(N)
    plan = Plan(task=number % 3, init_state=number // 12, group=number % 3 + 3 * (number // 12), seed=number + N * seed)
    attrs = {"suite": suite, "look": "lite", "tasks": [{"index": t, "name": f"task_{t}"} for t in range(3)]}
    store = RolloutStore.create(path, attrs, plan, Layout(horizon=4, state_size=3, chunk=4))
    for i in range(N):
        success = i % 3 not in losing and (i < 3 or rng.random() < 0.5)
        store.write(i, Episode(success, np.ones((3, 3)), np.zeros((2, 7), np.float32)))
    return store


def add_embedding(store: RolloutStore, label: str = "pixels", seed: int = 0, **attrs: Any) -> np.ndarray:
    rows = np.random.default_rng(seed).normal(size=(N, D)).astype(np.float32)
    group = store.group.create_group(f"encode/{label}")
    group.create_array("embedding", data=rows, chunks=(1, D))
    group.update_attributes(ENCODER | attrs)
    return rows


@pytest.fixture
def path(tmp_path: Path) -> Path:
    add_embedding(make_store(tmp_path / "a.zarr"))
    return tmp_path / "a.zarr"


def content(path: Path) -> dict[str, tuple[bytes, int]]:
    files = sorted(file for file in path.rglob("*") if file.is_file())
    return {str(file.relative_to(path)): (file.read_bytes(), file.stat().st_mtime_ns) for file in files}


def written(path: Path, label: str) -> Any:
    return zarr.open_group(path, mode="r")[f"reward/{label}"]


@pytest.mark.parametrize("preset", VECTORS)
def test_a_store_s_rewards_are_those_of_its_arrays(path: Path, preset: str) -> None:
    result = reward_store(path, PRESETS[preset])
    store = RolloutStore.open(path)
    rows, success, task = store.group["encode/pixels/embedding"][:], store.success(), store.plan.task
    group = written(path, preset)
    for t in range(3):
        mine = task == t
        expected = slow.reward(rows[mine], success[mine], preset)
        np.testing.assert_allclose(group["reward"][:][mine], expected, atol=1e-9)
    alone = compute_rewards(rows, success, task, store.plan.group, PRESETS[preset])
    for name in ("distance", "reference", "is_reference"):
        np.testing.assert_array_equal(group[name][:], getattr(alone, name))
    assert group["reward"].dtype == np.float64
    assert (result["label"], result["episodes"], result["successes"]) == (preset, N, success.sum())
    assert [(t["name"], t["successes"]) for t in result["tasks"]] == [
        (f"task_{t}", success[task == t].sum()) for t in range(3)
    ]


def test_stores_of_one_batch_are_measured_against_the_successes_of_all(path: Path, tmp_path: Path) -> None:
    store = RolloutStore.open(path)
    other = make_store(tmp_path / "b.zarr", seed=1, losing=(1,))
    rows = np.concatenate([store.group["encode/pixels/embedding"][:], add_embedding(other, seed=2)])
    reward_store(path, PAPER)
    result = reward_store(path, PAPER, more=[other.path])
    assert (result["label"], result["episodes"], result["stores"]) == ("paper", 2 * N, ["a.zarr", "b.zarr"])
    success, task = (np.concatenate(pair) for pair in ((store.success(), other.success()), [store.plan.task] * 2))
    together = compute_rewards(rows, success, task, None, PAPER)
    for at, group in ((0, written(path, "paper")), (N, written(tmp_path / "b.zarr", "paper"))):
        for name in ("reward", "distance", "reference", "is_reference"):
            np.testing.assert_array_equal(group[name][:], getattr(together, name)[at : at + N])
        np.testing.assert_array_equal(group["centre_task"][:], together.centre_task)
        assert dict(group.attrs)["inputs"] == result["inputs"]
    assert (written(tmp_path / "b.zarr", "paper")["reward"][:][1::3] > 0).all(), (
        "a task solved in the other store alone"
    )
    before = content(tmp_path)
    assert reward_store(path, PAPER, more=[other.path])["up_to_date"]
    assert content(tmp_path) == before
    written_half = RolloutStore.open(other.path, writable=True)
    written_half.group["reward/paper"].attrs.put({})
    assert not reward_store(path, PAPER, more=[other.path])["up_to_date"]
    assert {name: data for name, (data, _) in content(tmp_path).items()} == {
        name: data for name, (data, _) in before.items()
    }


def test_stores_of_another_world_model_are_no_batch(path: Path, tmp_path: Path) -> None:
    other = make_store(tmp_path / "b.zarr", seed=1)
    add_embedding(other, weights="other")
    with pytest.raises(UserError, match=r"b.zarr was encoded with other settings under 'pixels'"):
        reward_store(path, PAPER, more=[other.path])
    assert reward_store(path, BINARY, more=[other.path])["episodes"] == 2 * N


def test_curves_where_the_embedding_has_prefixes(path: Path, tmp_path: Path) -> None:
    other = make_store(tmp_path / "b.zarr", seed=1, losing=(1,))
    add_embedding(other, seed=2)
    prefix = np.random.default_rng(3).normal(size=(2, N, 4, D)).astype(np.float32)
    stores = [RolloutStore.open(path, writable=True), RolloutStore.open(other.path, writable=True)]
    inputs = reward_store(path, PAPER, more=[other.path])["inputs"]
    assert "curve" not in written(path, "paper")
    for store, rows in zip(stores, prefix, strict=True):
        store.group.create_array("encode/pixels/prefix", data=rows)
        store.group.create_array("encode/pixels/prefix_step", data=np.tile(np.arange(4), (N, 1)))
    result = reward_store(path, PAPER, more=[other.path])
    assert not result["up_to_date"] and result["inputs"] != inputs
    assert reward_store(path, PAPER, more=[other.path])["up_to_date"]
    group = written(path, "paper")
    task = np.concatenate([store.plan.task for store in stores])
    expected = progress_curves(np.concatenate(prefix), task, group["centres"][:], group["centre_task"][:], PAPER)
    for at, place in ((0, path), (N, Path(other.path))):
        np.testing.assert_allclose(written(place, "paper")["curve"][:], expected[at : at + N], atol=1e-5)
        assert written(place, "paper")["curve_step"][:].tolist() == [[0, 1, 2, 3]] * N
    assert "curve" not in written(path, reward_store(path, BINARY)["label"])


def test_centres_and_all_choices_are_written(path: Path) -> None:
    reward_store(path, reward_settings("paper", {"centre": "each"}), "pixels", "mine")
    group, store = written(path, "mine"), RolloutStore.open(path)
    np.testing.assert_array_equal(group["centres"][:], store.group["encode/pixels/embedding"][:][_by_task(store)])
    np.testing.assert_array_equal(group["centre_task"][:], store.plan.task[_by_task(store)])
    attrs = dict(group.attrs)
    assert attrs["settings"]["centre"] == "each"
    assert set(attrs["settings"]) >= {"distance", "centre", "radius", "noise", "normalise", "ddof", "scope", "alpha"}
    assert attrs["embedding"] == "pixels"


def _by_task(store: RolloutStore) -> np.ndarray:
    won = np.flatnonzero(store.success())
    return won[np.argsort(store.plan.task[won], kind="stable")]


def test_twice_is_up_to_date_and_changes_no_byte(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = reward_store(path, PAPER)
    before = content(path)
    monkeypatch.setattr(stage, "compute_rewards", lambda *_: pytest.fail("computed again"))
    second = reward_store(path, PAPER)
    assert (first["up_to_date"], second["up_to_date"]) == (False, True)
    assert content(path) == before
    plain = {key: value for key, value in first.items() if key not in ("up_to_date", "tasks")}
    assert plain == {key: second[key] for key in plain}


def test_other_settings_are_written_beside(path: Path) -> None:
    reward_store(path, PAPER)
    before = content(path)
    other = reward_store(path, reward_settings("paper", {"alpha": 0.5}))
    assert other["label"].startswith("paper-")
    assert len(other["label"]) == len("paper-") + 6
    assert reward_store(path, reward_settings("paper", {"alpha": 0.5})) | {"up_to_date": False} == other | {
        "tasks": dict(written(path, other["label"]).attrs)["tasks"]
    }
    after = content(path)
    assert all(after[name] == before[name] for name in before if name != "zarr.json")


def test_another_embedding_is_written_beside(path: Path) -> None:
    reward_store(path, PAPER)
    add_embedding(RolloutStore.open(path, writable=True), "second", seed=1)
    with pytest.raises(UserError, match="several embeddings; choose one with --embedding: pixels, second"):
        reward_store(path, PAPER)
    second = reward_store(path, PAPER, "second")
    assert second["label"].startswith("paper-")
    assert reward_store(path, PAPER, "second")["up_to_date"]
    assert reward_store(path, PAPER, "pixels")["label"] == "paper"


def test_an_explicit_label_is_not_overwritten(path: Path) -> None:
    reward_store(path, PAPER, label="mine")
    before = content(path)
    with pytest.raises(UserError, match="label 'mine' of .* holds other settings; choose another --label"):
        reward_store(path, SIIRL, label="mine")
    for wrong in ("../mine", "a/b", ".hidden", "-x"):
        with pytest.raises(UserError, match="not a plain name"):
            reward_store(path, PAPER, label=wrong)
    assert content(path) == before


def test_new_inputs_are_rewarded_again_under_the_same_label(path: Path) -> None:
    first = reward_store(path, PAPER)
    group: Any = RolloutStore.open(path, writable=True).group
    group["encode/pixels/embedding"][5] = np.arange(D)
    second = reward_store(path, PAPER)
    assert (second["label"], second["up_to_date"]) == ("paper", False)
    assert second["inputs"] != first["inputs"]
    assert reward_store(path, PAPER)["up_to_date"]


def test_a_label_killed_while_being_written_is_written_again(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reward_store(path, PAPER)
    whole = content(path)
    group: Any = RolloutStore.open(path, writable=True).group
    group["reward/paper"].attrs.put({})
    del group["reward/paper/distance"]
    assert RolloutStore.open(path).label_attrs("reward", "paper") is None
    assert not reward_store(path, PAPER)["up_to_date"]
    assert {k: v[0] for k, v in content(path).items()} == {k: v[0] for k, v in whole.items()}


def test_a_kill_while_replacing_a_label_leaves_it_unfinished(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reward_store(path, PAPER)
    group: Any = RolloutStore.open(path, writable=True).group
    group["encode/pixels/embedding"][5] = np.arange(D)

    def killed(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(zarr.Group, "create_group", killed)
        with pytest.raises(KeyboardInterrupt):
            reward_store(path, PAPER)
    assert RolloutStore.open(path).label_attrs("reward", "paper") is None
    assert not reward_store(path, PAPER)["up_to_date"]


def test_binary_needs_no_embedding(tmp_path: Path) -> None:
    store = make_store(tmp_path / "a.zarr")
    result = reward_store(tmp_path / "a.zarr", BINARY)
    assert result["embedding"] is None
    np.testing.assert_array_equal(written(tmp_path / "a.zarr", "binary")["reward"][:], store.success())
    assert reward_store(tmp_path / "a.zarr", BINARY)["up_to_date"]


def test_episodes_that_are_not_done_get_nothing_and_count_for_nothing(path: Path) -> None:
    whole = RolloutStore.open(path, writable=True)
    status: Any = whole.group["episode/status"]
    status[3] = status[7] = 0
    reward_store(path, PAPER)
    group, store = written(path, "paper"), RolloutStore.open(path)
    done = store.done()
    alone = compute_rewards(
        store.group["encode/pixels/embedding"][:][done], store.success()[done], store.plan.task[done], None, PAPER
    )
    np.testing.assert_array_equal(group["reward"][:][done], alone.reward)
    assert np.isnan(group["reward"][:][[3, 7]]).all()
    assert (group["reference"][:][[3, 7]] == -1).all()
    assert not group["is_reference"][:][[3, 7]].any()


def test_a_skipped_error_gets_no_reward_and_moves_no_other(path: Path) -> None:
    group: Any = RolloutStore.open(path, writable=True).group
    group["episode/status"][4], group["episode/success"][4] = 3, 1
    group["encode/pixels/embedding"][4] = np.nan
    reward_store(path, PAPER)
    reward, store = written(path, "paper")["reward"][:], RolloutStore.open(path)
    done = store.done()
    assert np.isnan(reward[4]) and 4 not in done
    alone = compute_rewards(
        store.group["encode/pixels/embedding"][:][done], store.success()[done], store.plan.task[done], None, PAPER
    )
    np.testing.assert_array_equal(reward[done], alone.reward)


def break_store(path: Path, how: str) -> None:
    group: Any = RolloutStore.open(path, writable=True).group
    if how == "error":
        group["episode/status"][4] = 2
    elif how == "empty":
        group["episode/status"][:] = 0
    elif how == "missing":
        group["encode/pixels/embedding"][9] = np.nan
    elif how == "infinite":
        group["encode/pixels/embedding"][9, 3] = np.inf
    elif how == "zeros":
        group["encode/pixels/embedding"][2] = 0
    elif how == "no embedding":
        del group["encode"]
    elif how == "half an embedding":
        group["encode/pixels"].attrs.put({})


BROKEN = {
    "error": "episode 4 of .* ended in an error; run the same `srpo collect` again",
    "empty": "no finished episode",
    "missing": "no finite embedding 'pixels' of episode 9 of .* `srpo encode`",
    "infinite": "no finite embedding 'pixels' of episode 9",
    "zeros": "embedding 'pixels' of episode 2 of .* all zeros",
    "no embedding": "no embedding; run `srpo encode",
    "half an embedding": "no embedding; run `srpo encode",
}


@pytest.mark.parametrize(("how", "message"), BROKEN.items())
def test_a_broken_store_is_refused_and_left_as_it_was(path: Path, how: str, message: str) -> None:
    """Errors never become data: neither a zero vector, nor a missing row, nor an episode that could not be run."""
    break_store(path, how)
    before = content(path)
    with pytest.raises(UserError, match=message):
        reward_store(path, PAPER)
    assert content(path) == before


def test_an_unknown_embedding_is_told_with_the_nearest(path: Path) -> None:
    with pytest.raises(UserError, match="did you mean 'pixels'"):
        reward_store(path, PAPER, "pixel")


def test_a_packed_store_is_refused_unless_up_to_date(path: Path) -> None:
    reward_store(path, PAPER)
    pack(path)
    assert reward_store(path, PAPER)["up_to_date"]
    with pytest.raises(UserError, match="packed and read-only"):
        reward_store(path, SIIRL)


def test_all_fail_tasks_use_the_last_earlier_successes(tmp_path: Path) -> None:
    earlier = [tmp_path / f"{k}.zarr" for k in range(3)]
    memory = [
        add_embedding(make_store(path, seed=k, losing=(1,) if k == 2 else ()), seed=10 + k)
        for k, path in enumerate(earlier)
    ]
    rows = add_embedding(make_store(tmp_path / "now.zarr", losing=(1,)), seed=5)
    without = reward_store(tmp_path / "now.zarr", PAPER, label="without")
    result = reward_store(tmp_path / "now.zarr", PAPER, label="with", earlier=earlier)
    assert [t["source"] for t in without["tasks"]] == ["batch", "none", "batch"]
    assert [t["source"] for t in result["tasks"]] == ["batch", "remembered", "batch"]
    chosen = RolloutStore.open(earlier[1])
    won = memory[1][chosen.success() & (chosen.plan.task == 1)]
    failed = rows[np.arange(N) % 3 == 1]
    both = np.concatenate([won, failed])
    expected = slow.reward(both, np.arange(len(both)) < len(won), "paper")[len(won) :]
    got = written(tmp_path / "now.zarr", "with")["reward"][:]
    np.testing.assert_allclose(got[1::3], expected, atol=1e-9)
    np.testing.assert_array_equal(got[::3], written(tmp_path / "now.zarr", "without")["reward"][:][::3])
    assert reward_store(tmp_path / "now.zarr", PAPER, label="with", earlier=earlier[:2])["up_to_date"]


def test_references_of_another_run_are_refused(tmp_path: Path) -> None:
    now = tmp_path / "now.zarr"
    add_embedding(make_store(now, losing=(1,)))
    add_embedding(make_store(tmp_path / "goal.zarr", suite="libero_goal"))
    add_embedding(make_store(tmp_path / "other.zarr"), weights="def")
    make_store(tmp_path / "bare.zarr")
    for name, message in {
        "goal": "of suite libero_goal",
        "other": "encoded with other settings under 'pixels'",
        "bare": "lacks embedding 'pixels'",
        "none": "no rollout store",
    }.items():
        with pytest.raises(UserError, match=message):
            reward_store(now, PAPER, earlier=[tmp_path / f"{name}.zarr"])


def test_neither_torch_nor_mujoco_is_imported(path: Path) -> None:
    code = (
        "import sys; from srpo_cli.__main__ import run;"
        f"code = run(['reward', {str(path)!r}]);"
        "heavy = {'torch', 'mujoco', 'sklearn', 'libero', 'robosuite', 'transformers'} & set(sys.modules);"
        "sys.exit(f'{code} {heavy}' if heavy or code else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ})
    assert done.returncode == 0, done.stderr
