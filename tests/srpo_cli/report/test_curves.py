"""Progress over time against curves worked by hand (the store of `measured`)."""

from pathlib import Path

import numpy as np
import pytest

from data.store import RolloutStore
from srpo_cli.report.curves import Curve, progress, task_curves
from srpo_cli.report.reward_facts import reward_facts
from srpo_cli.report.rewarded import read_reward
from stages.progress.settings import PRESETS, RewardSettings
from stages.reward import reward_store
from tests.srpo_cli.report.measured import CENTRE, EARLIER, ENCODER, ROWS, STEPS, add_embedding, make

SHOWN = {"typical success": 0, "best failure": 4, "worst failure": 5}


def curves(store: RolloutStore, task: int = 2, label: str = "paper") -> list[Curve]:
    fresh = RolloutStore.open(store.path)
    return task_curves(fresh, read_reward(fresh, label), task, SHOWN)


def test_curves_by_hand(measured: RolloutStore) -> None:
    """Distances are scaled from the nearest of all cuts, the cluster's members at the end, to the farthest, 21."""
    found = curves(measured)
    assert [(curve["kind"], curve["episode"]) for curve in found] == list(SHOWN.items())
    low, high = np.hypot(0.05, 0.05), 21.0
    for curve, (first, last) in zip(found, [(7, low), (4, 2), (21, 10)], strict=True):
        assert curve["progress"] == pytest.approx([(high - first) / (high - low), (high - last) / (high - low)])
        steps = int(STEPS[curve["episode"]])
        assert curve["steps"] == [steps // 2, steps]
    assert found[0]["progress"][1] == 1
    assert found[2]["progress"][0] == 0
    assert found[0]["reward"] == 1
    assert 0 < found[2]["reward"] < found[1]["reward"] < 0.8


def test_progress_of_equal_distances() -> None:
    assert progress(np.full((2, 3), 4.0)).tolist() == [[0.5] * 3] * 2
    assert progress(np.array([[3.0, 1.0], [2.0, 1.5]])).tolist() == [[0, 1], [0.5, 0.75]]


def test_no_centres_or_no_embedding_no_curves(measured: RolloutStore) -> None:
    assert curves(measured, task=9) == []
    assert curves(measured, label="binary") == []


def test_no_prefixes_no_curves(measured: RolloutStore) -> None:
    store = RolloutStore.open(measured.path, writable=True)
    del store.group["encode/pixels/prefix"]
    assert curves(store) == []


def test_prefixes_of_another_label_made_alike_count(measured: RolloutStore) -> None:
    before, store = curves(measured), RolloutStore.open(measured.path, writable=True)
    add_embedding(store, "longer", ROWS, prefixes=True, settings=ENCODER["settings"] | {"moments": 16})
    del store.group["encode/pixels/prefix"]
    assert curves(store) == before


def test_prefixes_of_other_states_do_not_count(measured: RolloutStore) -> None:
    """Episode 5, the farthest, was encoded anew since its prefixes were: it is out, and the scale without it."""
    store = RolloutStore.open(measured.path, writable=True)
    add_embedding(store, "longer", ROWS, prefixes=True, settings=ENCODER["settings"] | {"moments": 16})
    del store.group["encode/pixels/prefix"]
    inputs = store.group["encode/pixels/inputs"]
    inputs[5] = 78
    found = curves(store)
    assert [curve["episode"] for curve in found] == [0, 4]
    low, high = np.hypot(0.05, 0.05), EARLIER[[0, 1, 2, 3, 4]].max()
    assert found[1]["progress"] == pytest.approx([(high - 4) / (high - low), (high - 2) / (high - low)])
    inputs[:] = store.group["encode/longer/inputs"][:] = 0
    assert curves(store) == []


def test_distances_are_the_settings_own(measured: RolloutStore) -> None:
    """Cosine, two prefixes of two episodes, worked out one by one."""
    reward_store(measured.path, RewardSettings(distance="cosine"), label="cosine")
    rewarded = read_reward(RolloutStore.open(measured.path), "cosine")
    (centre,) = rewarded.centres_of(2)
    first = CENTRE + EARLIER[:6, None] * [0, 0.6, 0.8]
    pairs = np.stack([first, ROWS[:6]], axis=1)
    table = np.array([[1 - v @ centre / np.linalg.norm(v) / np.linalg.norm(centre) for v in pair] for pair in pairs])
    expected = (table.max() - table) / (table.max() - table.min())
    for curve in curves(measured, label="cosine"):
        assert curve["progress"] == pytest.approx(expected[curve["episode"]], abs=1e-5)


def test_curves_of_paths(measured: RolloutStore) -> None:
    """Three moments on a line: episode 0 goes from 0 to 2, failure 4 gets to 1, failure 5 goes the other way."""
    line = np.zeros((9, 3, 1), np.float32)
    line[:, :, 0] = (0, 1, 2)
    line[4, :, 0], line[5, :, 0] = (0, 1, 1), (0, -1, -1)
    store = RolloutStore.open(measured.path, writable=True)
    store.group["encode/pixels"].create_array("moments", data=line, chunks=(1, 3, 1))
    reward_store(store.path, PRESETS["path"])
    won, better, worse = curves(store, label="path")
    steps = int(STEPS[0])
    assert won["steps"] == [round(steps / 2), steps]
    # in units of the way's length, 2: (0 + 0 + 1) / 3 / 2 after the first step, then as it ends; worst (0 + 1 + 2) / 6
    assert won["progress"] == pytest.approx([1 - (1 / 6) / 0.5, 1])
    assert better["progress"] == pytest.approx([1 - (1 / 6) / 0.5] * 2)
    assert worse["progress"] == pytest.approx([0, 0])


def line_of_paths(store: RolloutStore, offset: float = 0.0) -> Path:
    """Moments of episode i at i + offset on a line."""
    line = offset + np.arange(9)[:, None, None] + np.array([0.0, 10, 20], np.float32)[None, :, None]
    group = RolloutStore.open(store.path, writable=True).group
    group["encode/pixels"].create_array("moments", data=line.astype(np.float32), chunks=(1, 3, 1))
    return store.path


def test_facts_of_paths_name_the_nearest_success(measured: RolloutStore) -> None:
    reward_store(line_of_paths(measured), PRESETS["path"])
    task = reward_facts(read_reward(RolloutStore.open(measured.path), "path"))["tasks"][0]
    assert [(row["episode"], row["nearest_reference"]) for row in task["ranked"]] == [(3, 2), (4, 2), (5, 2)]
    assert [row["reference_distance"] for row in task["ranked"]] == pytest.approx([1 / 20, 2 / 20, 3 / 20])
    assert [row["episode"] for row in task["reference_episodes"]] == [0, 1, 2]


def test_a_nearest_success_of_another_store_is_not_named(
    measured: RolloutStore, tmp_path: Path, states: dict[int, np.ndarray]
) -> None:
    """The other store's successes lie at 2.9, 3.9 and 4.9, its failures at 5.9, 6.9 and 7.9."""
    other = make(tmp_path / "other.zarr", states, seed=100)
    add_embedding(other, "pixels", ROWS)
    reward_store(line_of_paths(measured), PRESETS["path"], more=[line_of_paths(other, 2.9)])
    own, others = (
        reward_facts(read_reward(RolloutStore.open(path), "path"))["tasks"][0] for path in (measured.path, other.path)
    )
    assert [(row["episode"], row["nearest_reference"]) for row in own["ranked"]] == [(3, None), (4, None), (5, None)]
    assert [row["reference_distance"] for row in own["ranked"]] == [None] * 3
    assert [row["distance"] for row in own["ranked"]] == pytest.approx([0.1 / 20] * 3, abs=1e-6)
    assert [(row["episode"], row["nearest_reference"]) for row in others["ranked"]] == [(3, 2), (4, 2), (5, 2)]
