"""Settled states on disk: equal to settling bit for bit, whole or not there, and in the way of nothing."""

from pathlib import Path

import numpy as np
import pytest

from stages.sim.models import settled
from stages.sim.models.settled import SettledStates
from stages.sim.simulator import Simulator
from stages.sim.tasks import suite_tasks

SIZES = (7, 3)


def example(seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=SIZES[0]), rng.normal(size=SIZES[1])


def same(one: tuple[np.ndarray, np.ndarray] | None, other: tuple[np.ndarray, np.ndarray]) -> bool:
    return one is not None and all(a.tobytes() == b.tobytes() for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("suite", ["libero_object", "libero_goal"])
def test_an_episode_from_disk_equals_a_settled_one(suite: str, tmp_path: Path) -> None:
    """Settled now, read back by another object as another process would, and both continued."""
    simulator = Simulator(suite_tasks(suite)[0])
    sizes = tuple(len(part) for part in simulator._settle(3))
    simulator.model.settled = SettledStates(tmp_path, sizes)
    rows = []
    for _ in range(2):
        simulator.reset(3)
        for _ in range(3):
            simulator.step(np.array([0.3, -0.2, 0.4, 0.1, 0, 0.2, 1]))
        rows.append(simulator.state().tobytes())
        simulator.model.settled = SettledStates(tmp_path, sizes)
        assert same(simulator.model.settled.get(3), simulator._settle(3))
    assert rows[0] == rows[1]


def test_rows_in_any_order(tmp_path: Path) -> None:
    states = SettledStates(tmp_path, SIZES)
    for init in (40, 2, 0):
        states[init] = example(init)
    again = SettledStates(tmp_path, SIZES)
    assert all(same(again.get(init), example(init)) for init in (0, 2, 40))
    assert [again.get(init) for init in (-1, 1, 39, 41)] == [None] * 4


def test_a_row_half_written_is_none(tmp_path: Path) -> None:
    states = SettledStates(tmp_path, SIZES)
    for init in range(3):
        states[init] = example(init)
    file = next(tmp_path.iterdir())
    content = bytearray(file.read_bytes())
    row = 8 * (sum(SIZES) + 1)
    content[row + 20] ^= 1
    file.write_bytes(content[: 2 * row + 30])
    again = SettledStates(tmp_path, SIZES)
    assert same(again.get(0), example(0)) and again.get(1) is None and again.get(2) is None
    again[1] = example(1)
    assert same(SettledStates(tmp_path, SIZES).get(1), example(1))


def test_a_cache_that_is_gone_stops_nothing(tmp_path: Path) -> None:
    states = SettledStates(tmp_path / "cleared", SIZES)
    states[0] = example(0)
    assert same(states.get(0), example(0))
    assert SettledStates(tmp_path / "cleared", SIZES).get(0) is None


def test_other_steps_have_another_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    SettledStates(tmp_path, SIZES)[0] = example(0)
    monkeypatch.setattr(settled, "source_digest", lambda names: "another controller.py")
    settled._recipe.cache_clear()
    assert SettledStates(tmp_path, SIZES).get(0) is None
    settled._recipe.cache_clear()
