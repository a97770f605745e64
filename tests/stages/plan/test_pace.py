from typing import Any

import pytest

from stages.plan.pace import pace


def record(iteration: int, stage: str, seconds: float) -> dict[str, Any]:
    return {"iteration": iteration, "stage": stage, "seconds": seconds, "pause": 1.0}


def test_nothing_is_known_before_the_first_iteration() -> None:
    assert pace([record(0, "sft", 9), record(0, "eval", 5)], 0, 10, 5) is None


def test_the_last_iterations_tell() -> None:
    metrics = [record(0, "eval", 4)]
    for n in range(1, 8):
        metrics += [record(n, "collect", 100 if n < 3 else 10), record(n, "update", 5)]
    metrics += [record(7, "refill", 3), record(8, "collect", 99)]
    found = pace(metrics, 7, 12, 5)
    assert found is not None
    assert found["stages"] == {"collect": 11, "refill": 4, "update": 6} and found["iteration"] == 21
    assert found["left"] == pytest.approx(5 * 21 + 2 * 5)
