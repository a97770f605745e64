"""Evaluation: which episodes, what it tells, and that nothing stays behind."""

import json
import tempfile
from pathlib import Path

import numpy as np
import pytest

from data.errors import UserError
from data.settings import build
from data.store import RolloutStore
from stages.evaluate import EvalSettings, evaluate, plan_evaluation
from stages.policies.mini import MiniConfig, MiniPolicy
from stages.policies.trained import extend_history, repeats
from stages.sim.tasks import suite_tasks

TASKS = suite_tasks("libero_object")
SETTINGS = EvalSettings(tasks="2,9", episodes=3, horizon=10, workers=1)


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("evaluate") / "policy"
    folder.mkdir()
    MiniPolicy(MiniConfig(cameras={"agentview": 32}, channels=(8, 8, 8), hidden=32), seed=1).save(folder)
    return folder


def test_spread_is_even_over_tasks_and_states() -> None:
    plan = plan_evaluation(TASKS[:3], range(40, 50), 13, seed=0)
    assert np.bincount(plan.task).tolist() == [5, 4, 4]
    assert plan.init_state[plan.task == 0].tolist() == [40, 42, 44, 46, 48]
    assert plan.init_state[plan.task == 1].tolist() == [40, 42, 45, 47]
    assert len(set(plan.group)) == 13


def test_spread_repeats_every_state_as_often() -> None:
    plan = plan_evaluation(TASKS[:2], range(40, 50), 60, seed=0)
    assert set(np.bincount(plan.group)) == {3}
    assert len(set(plan.seed)) == 60


def test_evaluation_keeps_nothing(policy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    result, _ = evaluate(policy, SETTINGS)
    assert (result["n"], result["successes"], result["collected"]) == (3, 0, 3)
    assert [task["n"] for task in result["tasks"]] == [2, 1]
    assert result["interval"][0] == 0
    assert result["trained_on"] is None
    assert "mujoco" in result["versions"]
    assert list(tmp_path.iterdir()) == []
    json.dumps(result)


def test_kept_evaluation_is_up_to_date_and_knows_training(policy: Path, tmp_path: Path) -> None:
    first, _ = evaluate(policy, SETTINGS, tmp_path / "eval.zarr")
    store = RolloutStore.open(tmp_path / "eval.zarr")
    assert store.cameras() == []
    record = extend_history({"trained_inits": {"libero_object": {"2": [7]}}}, store)
    assert record == {"trained_inits": {"libero_object": {"2": [7, 40, 45], "9": [40]}}}
    (policy / "srpo.json").write_text(json.dumps(record))
    again, _ = evaluate(policy, SETTINGS, tmp_path / "eval.zarr")
    assert again["up_to_date"]
    assert again["trained_on"] == 3 and again["trained_suites"] == ["libero_object"]
    assert again["rate"] == first["rate"]


def test_repeats_counts_episodes() -> None:
    record = {"trained_inits": {"libero_object": {"2": [0, 1]}}}
    task, init = np.array([2, 2, 2, 3]), np.array([0, 0, 5, 1])
    assert repeats(record, "libero_object", task, init) == 2
    assert repeats(record, "libero_goal", task, init) == 0
    assert repeats({}, "libero_object", task, init) is None


def test_greedy_repetitions_are_refused(policy: Path) -> None:
    with pytest.raises(UserError, match="only 20 greedy episodes differ"):
        evaluate(policy, EvalSettings(tasks="2,9", episodes=21))


@pytest.mark.parametrize(
    "wrong", [{"episodes": 0}, {"horizon": -1}, {"temperature": -1.0}, {"seed": -1}, {"look": "lite2"}, {"engine": ""}]
)
def test_impossible_settings_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(UserError):
        build(EvalSettings, wrong, "eval")
