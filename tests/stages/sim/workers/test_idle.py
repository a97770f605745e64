"""Idle simulators: taken again, and let go when their task was used longest ago or is asked for no more."""

import pytest

from stages.sim.tasks import suite_tasks
from stages.sim.workers import idle
from stages.sim.workers.idle import IdleSimulators, Key

TASKS = suite_tasks("libero_object")


class Fake:
    def __init__(self, key: Key) -> None:
        self.task, self.closed = key[0], False

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[Fake]:
    made: list[Fake] = []

    def make(*key: object) -> Fake:
        made.append(Fake(key))
        return made[-1]

    monkeypatch.setattr(idle, "make_simulator", make)
    monkeypatch.setattr(idle, "KEPT", {"full": 2, "lite": 3})
    return made


def key(task: int, look: str = "full") -> Key:
    return TASKS[task], look, "fast"


def test_taken_again(made: list[Fake]) -> None:
    simulators = IdleSimulators()
    first, second = simulators.take(key(0)), simulators.take(key(0))
    assert first is not second and len(made) == 2
    simulators.give(key(0), first)
    assert simulators.take(key(0)) is first
    assert simulators.take(key(0)) is not first


def test_two_tasks_stay_in_full_and_no_look_pushes_out_the_other(made: list[Fake]) -> None:
    simulators = IdleSimulators()
    for wanted in [key(7, "lite"), key(0), key(1), key(0), key(2)]:
        simulators.give(wanted, simulators.take(wanted))
    assert [(fake.task.index, fake.closed) for fake in made] == [(7, False), (0, False), (1, True), (2, False)]


def test_tasks_of_another_job_are_let_go(made: list[Fake]) -> None:
    simulators = IdleSimulators()
    both = [simulators.take(key(0)), simulators.take(key(1))]
    for task, simulator in enumerate(both):
        simulators.give(key(task), simulator)
    simulators.keep([key(1), key(5)])
    assert [fake.closed for fake in made] == [True, False]
    assert simulators.take(key(1)) is both[1]
