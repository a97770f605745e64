"""Every way in which arrays can be wrong ends in one line that names the row."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from data.errors import UserError
from stages.progress.rewards import compute_rewards
from stages.progress.settings import PRESETS, RewardSettings, nearest_preset, reward_settings

ROWS = np.random.default_rng(0).normal(size=(6, 3))
SUCCESS = np.array([1, 0, 1, 0, 0, 0])
TASK = np.zeros(6, int)


def with_value(row: int, value: float) -> np.ndarray:
    changed = ROWS.copy()
    changed[row, 1] = value
    return changed


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "NaN": ({"embedding": with_value(4, np.nan)}, "row 4: embedding is NaN or infinite"),
    "infinite": ({"embedding": with_value(2, -np.inf)}, "row 2: embedding is NaN or infinite"),
    "beyond squaring": ({"embedding": with_value(2, 1e200)}, "row 2: embedding is NaN or infinite"),
    "one dimension": ({"embedding": ROWS[0]}, r"embedding must be \(N, D\)"),
    "three dimensions": ({"embedding": ROWS[None]}, r"embedding must be \(N, D\)"),
    "no dimensions": ({"embedding": ROWS[:, :0]}, "D >= 1"),
    "fewer rows": ({"embedding": ROWS[:4]}, "embedding has 4 rows, success has 6"),
    "text embedding": ({"embedding": ROWS.astype(str)}, "real numbers"),
    "complex embedding": ({"embedding": ROWS * 1j}, "real numbers"),
    "success of 2": ({"success": np.array([1, 0, 2, 0, 0, 3])}, r"row 2 \(and 1 more\): success is neither 0 nor 1"),
    "success of a half": ({"success": np.array([1, 0, 0.5, 0, 0, 0])}, "row 2: success is neither 0 nor 1"),
    "success of NaN": ({"success": np.array([1, 0, 0, 0, 0, np.nan])}, "row 5: success is neither 0 nor 1"),
    "success as text": ({"success": np.array(["yes"] * 6)}, "success must hold 0 and 1"),
    "success as a table": ({"success": SUCCESS[None]}, r"success must be \(N,\)"),
    "success empty": ({"success": SUCCESS[:0]}, "success is empty"),
    "fewer tasks": ({"task": TASK[:3]}, r"task must be \(6,\)"),
    "half a task": ({"task": TASK + np.array([0, 0, 0, 0.5, 0, 0])}, "task must be whole numbers or text, row 3"),
    "fewer groups": ({"group": TASK[:3]}, r"group must be \(6,\)"),
    "nothing to measure": ({"embedding": None}, "no embedding"),
    "no group": ({"settings": RewardSettings(scope="group")}, "scope=group"),
    "zero row, cosine": ({"embedding": np.eye(6, 3), "settings": PRESETS["cosine"]}, "row 3 .and 2 more.*no cosine"),
    "cancelling successes": (
        {"embedding": np.array([[1.0, 0], [1, 1], [-1, 0], [2, 1], [1, 3], [1, 2]]), "settings": PRESETS["cosine"]},
        "zero vector",
    ),
    "memory of another encoder": ({"success": 0 * SUCCESS, "remembered": {0: ROWS[:, :2]}}, "2 dimensions"),
    "memory with NaN": ({"success": 0 * SUCCESS, "remembered": {0: with_value(1, np.nan)}}, "row 1: remembered"),
}


@pytest.mark.parametrize(("changes", "message"), WRONG.values(), ids=WRONG)
def test_wrong_arrays_are_refused(changes: dict[str, Any], message: str) -> None:
    arguments = {"embedding": ROWS, "success": SUCCESS, "task": TASK, "group": None, "settings": PRESETS["paper"]}
    with pytest.raises(UserError, match=message) as caught:
        compute_rewards(**(arguments | changes))
    assert "\n" not in str(caught.value)


SETTINGS: dict[str, Callable[[], RewardSettings]] = {
    "did you mean 'siirl'": lambda: reward_settings("sirl"),
    "did you mean 'alpha'": lambda: reward_settings("paper", {"alhpa": "1"}),
    "'l2' | 'l2_squared' | 'cosine'": lambda: reward_settings("paper", {"distance": "l1"}),
    "alpha takes float": lambda: reward_settings("paper", {"alpha": "much"}),
    "alpha must be in": lambda: reward_settings("paper", {"alpha": "1.5"}),
    "ddof must be 0 or 1": lambda: RewardSettings(ddof=2),
    "eps must be above 0": lambda: RewardSettings(eps=0),
    "gap must be at least 1": lambda: RewardSettings(gap=0.5),
    "slope must be above 0": lambda: RewardSettings(slope=-1),
    "min_samples must be at least 1": lambda: RewardSettings(min_samples=0),
    "eps must be above 0, not nan": lambda: RewardSettings(eps=float("nan")),
}


@pytest.mark.parametrize(("message", "make"), SETTINGS.items(), ids=SETTINGS)
def test_impossible_settings_are_refused(message: str, make: Callable[[], RewardSettings]) -> None:
    with pytest.raises(UserError) as caught:
        make()
    assert message in str(caught.value)


def test_the_preset_that_settings_come_from() -> None:
    for name, settings in PRESETS.items():
        assert nearest_preset(settings) == (name, True)
    assert nearest_preset(reward_settings("siirl", {"alpha": 0.5})) == ("siirl", False)
    assert nearest_preset(reward_settings("paper", {"noise": "keep"})) == ("paper", False)
