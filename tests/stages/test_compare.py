"""Two policies on the same episodes: what is paired, what is said of it, and what is kept."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from data.errors import UserError
from data.paired import paired
from data.store import RolloutStore
from stages.compare import compare, compared, p_cell, p_words, verdict
from stages.evaluate import EvalSettings, Outcomes
from stages.policies.mini import MiniConfig, MiniPolicy
from stages.sim.tasks import suite_tasks
from tests.srpo_cli.conftest import fingerprint

TASKS = [suite_tasks("libero_object")[i] for i in (2, 9)]
SETTINGS = EvalSettings(tasks="2,9", episodes=3, horizon=10, workers=1)


@contextmanager
def unseen(_: str, __: str) -> Iterator[Callable[..., None]]:
    yield lambda *_: None


@pytest.fixture(scope="module")
def policies(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two that differ in their weights."""
    folders = [tmp_path_factory.mktemp("compare") / name for name in ("old", "new")]
    for seed, folder in enumerate(folders):
        folder.mkdir()
        MiniPolicy(MiniConfig(cameras={"agentview": 32}, channels=(8, 8, 8), hidden=32), seed=seed).save(folder)
    return folders


def outcomes(success: str, task: str = "2222299999") -> Outcomes:
    """`1` success, `0` failure, `x` done without."""
    letters = np.array(list(success))
    return Outcomes(np.array([int(number) for number in task]), letters != "x", letters == "1")


def test_pairs_by_task_without_the_skipped() -> None:
    told = compared(outcomes("11100x1110"), outcomes("1001011x00"), TASKS)
    assert (told["n"], told["skipped"]) == (8, 2)
    assert [told[key] for key in ("both", "only_a", "only_b", "neither")] == [2, 3, 1, 2]
    assert [(task["index"], task["n"], task["only_a"], task["only_b"]) for task in told["tasks"]] == [
        (2, 5, 2, 1),
        (9, 3, 1, 0),
    ]
    assert told["tasks"][0]["instruction"].startswith("pick up the salad")


def pairs(only_a: int, only_b: int, both: int = 0, neither: int = 0) -> dict[str, object]:
    a = [1] * only_a + [0] * only_b + [1] * both + [0] * neither
    b = [0] * only_a + [1] * only_b + [1] * both + [0] * neither
    return paired(np.array(a, bool), np.array(b, bool))


def test_verdict_claims_what_the_test_does() -> None:
    assert verdict(pairs(9, 1, 10, 10), "A", "B").startswith(
        "A succeeds more often than B: p = 0.0215, n = 30; A - B is"
    )
    assert verdict(pairs(0, 20), "A", "B").startswith(
        "B succeeds more often than A: p < 0.0001, n = 20; A - B is -100.0"
    )
    assert verdict(pairs(5, 3, 46, 46), "A", "B") == (
        "no difference can be told: p = 0.727, n = 100; A - B is +2.0 points (95 %: -3.8 to +7.7)"
    )
    assert verdict(pairs(0, 0, 4, 0), "A", "B").startswith("no difference can be told: p = 1, n = 4")
    assert verdict(pairs(0, 0), "A", "B") == "nothing can be told: no pair of episodes was finished"


def test_verdict_says_where_test_and_interval_part() -> None:
    """The published (1, 1, 7, 12): p = 0.0703, while the interval leaves 0 out."""
    assert verdict(pairs(1, 7, 1, 12), "A", "B").endswith("borderline, for the interval leaves 0 out")
    assert verdict(pairs(1, 7, 1, 12), "A", "B").startswith("no difference can be told: p = 0.0703, n = 21")


def test_p_in_words() -> None:
    assert [p_cell(p) for p in (1.0, 0.34375, 0.0498, 0.000977, 0.00009)] == [
        "1",
        "0.344",
        "0.0498",
        "0.000977",
        "< 0.0001",
    ]
    assert (p_words(0.5), p_words(1e-9)) == ("p = 0.5", "p < 0.0001")


def test_stores_are_named_by_weights_and_gone_on_with(policies: list[Path], tmp_path: Path) -> None:
    old, new = policies
    told = compare(new, old, SETTINGS, unseen, tmp_path / "pair")
    assert (told["n"], told["neither"], told["same"], told["p"]) == (3, 3, False, 1.0)
    assert (told["a"]["folder"], told["b"]["folder"]) == (str(new), str(old))
    stores = [RolloutStore.open(told[side]["store"]) for side in "ab"]
    assert [Path(store.path).stem for store in stores] == [store.attrs["policy"]["weights"] for store in stores]
    assert stores[0].plan.same(stores[1].plan)
    json.dumps(told)

    before = fingerprint(tmp_path)
    again = compare(old, new, SETTINGS, unseen, tmp_path / "pair")
    assert again["a"]["up_to_date"] and again["b"]["up_to_date"]
    assert fingerprint(tmp_path) == before

    itself = compare(new, new, SETTINGS, unseen, tmp_path / "pair")
    assert itself["same"] and itself["only_a"] == itself["only_b"] == 0
    with pytest.raises(UserError, match="name a folder"):
        compare(new, old, SETTINGS, unseen, told["a"]["store"])
    with pytest.raises(UserError, match="holds other rollouts: horizon 10"):
        compare(new, old, EvalSettings(tasks="2,9", episodes=3, horizon=11, workers=1), unseen, tmp_path / "pair")
