"""The clock of a stage, over calls that are stopped, with made-up time."""

import json
from pathlib import Path

import pytest

from data.runs import Run
from stages.timing import StageClock


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    time = [100.0]
    monkeypatch.setattr("stages.timing.time.monotonic", lambda: time[0])
    return time


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run.start(tmp_path / "run", {})


def work(run: Run, iteration: int, stage: str, now: list[float], *seconds: float) -> StageClock:
    """A call that makes progress after each of these spans."""
    clock = StageClock(run, iteration, stage)
    tick = clock.noting(lambda *_: None)
    for count, span in enumerate(seconds):
        now[0] += span
        tick(count, len(seconds))
    return clock


def test_what_was_stopped_counts_up_to_its_last_note(run: Run, now: list[float]) -> None:
    work(run, 3, "collect", now, 5.0, 0.4, 7.0, 0.5)  # stopped; the last half second is within EVERY of a note
    clock = work(run, 3, "collect", now, 2.0)
    assert clock.earlier == pytest.approx(12.4)
    assert clock.seconds() == pytest.approx(14.4)
    now[0] += 1.0
    again = work(run, 3, "collect", now)
    assert again.seconds() == pytest.approx(14.4)


def test_another_stage_begins_at_nought(run: Run, now: list[float]) -> None:
    work(run, 3, "collect", now, 5.0)
    assert work(run, 4, "collect", now).earlier == 0
    assert work(run, 3, "update", now).earlier == 0


def test_a_stage_that_is_logged_neither_reads_nor_touches_the_note(run: Run, now: list[float]) -> None:
    """Gone on with in the update, a loop passes the collection again."""
    run.log(3, "collect", {})
    work(run, 3, "update", now, 5.0)
    work(run, 3, "collect", now, 9.0).over()
    clock = StageClock(run, 3, "update")
    assert clock.earlier == pytest.approx(5.0)
    clock.over()
    assert not list(run.folder.glob("*clock*"))


def test_progress_is_passed_on(run: Run) -> None:
    told: list[object] = []
    StageClock(run, 1, "encode").noting(lambda *words: told.append(words))(2, 5, "note")
    assert told == [(2, 5, "note")]
    assert json.loads((run.folder / "clock.json").read_text())["stage"] == [1, "encode"]
