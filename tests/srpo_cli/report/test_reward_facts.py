"""The facts of a reward label against values worked by hand (the store of `measured`)."""

import json
from pathlib import Path

import numpy as np
import pytest

from data.store import RolloutStore
from srpo_cli.report.reward_facts import (
    Facts,
    curve_episodes,
    extremes,
    reward_facts,
    typical_reference,
    with_views,
)
from srpo_cli.report.rewarded import read_reward
from stages.progress.settings import PRESETS, RewardSettings
from stages.reward import reward_store
from tests.srpo_cli.report.measured import ROWS, add_embedding, make, write


def facts_of(store: RolloutStore, label: str = "paper") -> Facts:
    return reward_facts(read_reward(RolloutStore.open(store.path), label))


def column(rows: list[Facts], name: str) -> list[object]:
    return [row[name] for row in rows]


def test_totals(measured: RolloutStore) -> None:
    facts = facts_of(measured)
    counts = ("episodes", "successes", "failures", "unrewarded")
    assert [facts[name] for name in counts] == [8, 3, 5, 0]
    assert (facts["path"], facts["label"], facts["embedding"]) == (measured.path, "paper", "pixels")
    assert column(facts["tasks"], "task") == [2, 9]
    json.dumps(with_views(measured, read_reward(measured, "paper")), allow_nan=False)


def test_references_and_what_was_left_out(measured: RolloutStore) -> None:
    task = facts_of(measured)["tasks"][0]
    assert (task["successes"], task["centres"], task["clustered"], task["source"]) == (3, 1, 1, "batch")
    assert task["left_out"] == [2]
    references = task["reference_episodes"]
    assert column(references, "episode") == [0, 1]
    assert column(references, "init_state") == [10, 11]
    assert column(references, "centre") == [0, 0]
    assert column(references, "distance") == pytest.approx([np.hypot(0.05, 0.05)] * 2)


def test_failures_are_ranked_by_distance(measured: RolloutStore) -> None:
    ranked = facts_of(measured)["tasks"][0]["ranked"]
    assert column(ranked, "episode") == [4, 3, 5]
    assert column(ranked, "distance") == pytest.approx([2, 5, 10], abs=1e-5)
    mean, std = 17 / 3, np.sqrt((2 - 17 / 3) ** 2 / 3 + (5 - 17 / 3) ** 2 / 3 + (10 - 17 / 3) ** 2 / 3)
    rewards = [0.8 / (1 + np.exp((distance - mean) / std)) for distance in (2, 5, 10)]
    assert column(ranked, "reward") == pytest.approx(rewards, abs=1e-5)
    assert column(ranked, "nearest_reference") == [0, 1, 1]
    far = [np.hypot(1.15, 1.55), np.hypot(2.95, 3.95), np.hypot(5.95, 7.95)]
    assert column(ranked, "reference_distance") == pytest.approx(far, abs=1e-5)


def test_spreads(measured: RolloutStore) -> None:
    task, lost = facts_of(measured)["tasks"]
    assert task["distance_spread"] == pytest.approx({"min": 2, "median": 5, "max": 10}, abs=1e-5)
    assert lost["distance_spread"] is None
    assert lost["reward_spread"] == {"min": 0, "median": 0, "max": 0}


def test_a_task_that_never_succeeded(measured: RolloutStore) -> None:
    task = facts_of(measured)["tasks"][1]
    assert (task["all_fail"], task["source"], task["reference_episodes"], task["left_out"]) == (True, "none", [], [])
    assert column(task["ranked"], "episode") == [6, 7]
    for name in ("distance", "nearest_reference", "reference_distance"):
        assert column(task["ranked"], name) == [None, None]
    assert typical_reference(task) is None
    assert curve_episodes(task) == {"best failure": 6, "worst failure": 7}


def test_a_task_measured_against_remembered_successes(measured: RolloutStore, states: dict[int, np.ndarray]) -> None:
    """Episode 7 of the earlier store is at (3, 4, 0): 6 at (1, 0, 0) is sqrt 20 from it, 7 at (0, 1, 0) sqrt 18."""
    earlier = make(Path(measured.path).with_name("earlier.zarr"), states, (7,))
    rows = ROWS.copy()
    rows[7] = 3, 4, 0
    add_embedding(earlier, "pixels", rows, prefixes=True)
    reward_store(measured.path, PRESETS["paper"], label="remembered", earlier=[earlier.path])
    task = facts_of(measured, "remembered")["tasks"][1]
    assert (task["source"], task["references"], task["successes"], task["centres"]) == ("remembered", 1, 0, 1)
    assert (task["reference_episodes"], task["left_out"]) == ([], [])
    assert column(task["ranked"], "episode") == [7, 6]
    assert column(task["ranked"], "distance") == pytest.approx([np.sqrt(18), np.sqrt(20)])
    assert column(task["ranked"], "nearest_reference") == [None, None]


def test_a_label_without_an_embedding(measured: RolloutStore) -> None:
    facts = facts_of(measured, "binary")
    assert facts["embedding"] is None
    assert [len(task["reference_episodes"]) for task in facts["tasks"]] == [0, 0]
    assert [task["left_out"] for task in facts["tasks"]] == [[], []]
    assert {row["reward"] for task in facts["tasks"] for row in task["ranked"]} == {0.0}
    assert with_views(measured, read_reward(measured, "binary"))["tasks"][0]["map"] is None


def test_episodes_done_after_the_reward_are_counted(measured: RolloutStore, states: dict[int, np.ndarray]) -> None:
    write(RolloutStore.open(measured.path, writable=True), 8, states[2], True)
    facts = facts_of(measured)
    assert (facts["unrewarded"], facts["episodes"], facts["successes"]) == (1, 8, 3)


def test_every_success_for_itself(measured: RolloutStore) -> None:
    reward_store(measured.path, RewardSettings(centre="each"), label="each")
    task = facts_of(measured, "each")["tasks"][0]
    assert column(task["reference_episodes"], "centre") == [0, 1, 2]
    assert task["left_out"] == []
    ranked = {row["episode"]: row for row in task["ranked"]}
    for episode in (3, 4, 5):
        assert ranked[episode]["distance"] == pytest.approx(ranked[episode]["reference_distance"])
    assert ranked[5]["nearest_reference"] == 2


def test_a_lone_success_is_not_typical(measured: RolloutStore) -> None:
    """With noise=keep success 2 is its own centre, at distance 0, but two are of the cluster's."""
    reward_store(measured.path, RewardSettings(noise="keep"), label="keep")
    task = facts_of(measured, "keep")["tasks"][0]
    assert column(task["reference_episodes"], "episode") == [2, 0, 1]
    typical = typical_reference(task)
    assert typical is not None
    assert typical["episode"] == 0
    references = [{"episode": episode, "centre": centre} for episode, centre in [(4, 0), (5, 3), (6, 3), (7, 1)]]
    assert typical_reference({"reference_episodes": references}) == references[1]


def failures(*rewards: float) -> list[Facts]:
    return [{"episode": i, "reward": reward} for i, reward in enumerate(rewards)]


@pytest.mark.parametrize(
    ("rewards", "count", "best", "worst"),
    [
        ((0.5, 0.4, 0.3, 0.2), 1, [0], [3]),
        ((0.5, 0.4, 0.3), 2, [0, 1], [2]),
        ((0.5, 0.4), 5, [0, 1], []),
        ((), 2, [], []),
    ],
)
def test_extremes(rewards: tuple[float, ...], count: int, best: list[int], worst: list[int]) -> None:
    found = extremes(failures(*rewards), count)
    assert [row["episode"] for kind, row in found if kind == "best failure"] == best
    assert [row["episode"] for kind, row in found if kind == "worst failure"] == worst
    assert len(found) == len(best) + len(worst)


def test_equal_failures_are_neither_best_nor_worst() -> None:
    assert [(kind, row["episode"]) for kind, row in extremes(failures(0.4, 0.4, 0.4), 2)] == [
        ("failure", 0),
        ("failure", 1),
    ]


def test_curves_are_of_five_episodes_each_once(measured: RolloutStore) -> None:
    task = facts_of(measured)["tasks"][0]
    assert curve_episodes(task) == {
        "typical success": 0,
        "success furthest from its centre": 1,
        "best failure": 4,
        "median failure": 3,
        "worst failure": 5,
    }
    one = {"reference_episodes": task["reference_episodes"][:1], "ranked": task["ranked"][:1]}
    assert curve_episodes(one) == {"typical success": 0, "best failure": 4}
