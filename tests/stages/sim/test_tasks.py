"""Suites, tasks and initial states against LIBERO's own benchmark classes, and what selections refuse."""

from pathlib import Path

import numpy as np
import pytest

from data.errors import UserError
from stages.sim import provider
from stages.sim.tasks import SUITES, initial_state, initial_states, select_inits, select_tasks, suite_tasks


@pytest.mark.parametrize("suite", SUITES)
def test_equal_to_libero_benchmark(suite: str, capsys: pytest.CaptureFixture[str]) -> None:
    provider.import_libero()
    from libero.libero.benchmark import get_benchmark

    theirs = get_benchmark(suite)()
    ours = suite_tasks(suite)
    assert [task.name for task in ours] == [task.name for task in theirs.tasks]
    assert [task.instruction for task in ours] == [task.language for task in theirs.tasks]
    assert [task.index for task in ours] == list(range(len(theirs.tasks)))
    last = len(ours) - 1
    assert str(ours[last].bddl_file.resolve()) == str(Path(theirs.get_task_bddl_file_path(last)).resolve())
    np.testing.assert_array_equal(initial_states(ours[last]), theirs.get_task_init_states(last))


def test_limits_and_counts() -> None:
    horizons = {suite: suite_tasks(suite)[0].horizon for suite in SUITES}
    expected = {"libero_spatial": 220, "libero_object": 280, "libero_goal": 300, "libero_10": 520, "libero_90": 400}
    assert horizons == expected
    assert [len(suite_tasks(suite)) for suite in SUITES] == [10, 10, 10, 10, 90]


def test_selections() -> None:
    assert [t.index for t in select_tasks("libero_object", "0,2-4")] == [0, 2, 3, 4]
    assert len(select_tasks("libero_90", "all")) == 90
    assert select_inits("train") == list(range(40))
    assert select_inits("heldout") == list(range(40, 50))
    assert select_inits("paper") == list(range(50))
    assert select_inits("0-2,12, 1") == [0, 1, 2, 12]


@pytest.mark.parametrize("spec", ["", "10", "3-1", "1,,2", "x", "-1", "1.5"])
def test_impossible_tasks_are_refused(spec: str) -> None:
    with pytest.raises(UserError):
        select_tasks("libero_object", spec)


@pytest.mark.parametrize("spec", ["", "50", "40-50", "trian", "a-b"])
def test_impossible_inits_are_refused(spec: str) -> None:
    with pytest.raises(UserError):
        select_inits(spec)


def test_misspelt_names_get_a_hint() -> None:
    with pytest.raises(UserError, match="libero_object"):
        suite_tasks("libero_objects")
    with pytest.raises(UserError, match="train"):
        select_inits("trian")


def test_initial_state_is_a_copy() -> None:
    task = suite_tasks("libero_object")[0]
    state = initial_state(task, 3)
    state[:] = 0
    assert initial_state(task, 3).any()
    with pytest.raises(UserError, match="0-49"):
        initial_state(task, 50)
