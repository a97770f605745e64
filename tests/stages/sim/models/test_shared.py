"""Shared values: made once while in use, the last few kept, the rest dropped."""

from stages.sim.models.shared import Shared


class Value:
    def __init__(self, key: str) -> None:
        self.key = key


def test_made_once_kept_by_use_then_by_recency() -> None:
    made: list[str] = []

    def make(key: str) -> Value:
        made.append(key)
        assert len(shared._recent) < 2
        return Value(key)

    shared = Shared(make, keep=2)
    held = shared.get("a")
    for key in "bcb":
        shared.get(key)
    assert shared.get("a") is held
    assert made == ["a", "b", "c"]
    shared.get("c")  # dropped by now, as nobody used it; "b" is the one used longest ago but for "a"
    assert made == ["a", "b", "c", "c"]
    del held
    for key in "bca":
        shared.get(key)
    assert made == ["a", "b", "c", "c", "b", "a"]


def test_cleared() -> None:
    shared = Shared(Value, keep=3)
    first = shared.get("a")
    shared.clear()
    assert shared.get("a") is not first
