"""Entries built ahead in processes of their own: what is missing, once, and errors told as building tells them."""

import sys
from pathlib import Path

import pytest

from data.errors import UserError
from stages.sim.models import prepare as module
from stages.sim.models.entries import entry_name, load_entry
from stages.sim.models.prepare import prepare
from stages.sim.tasks import suite_tasks

TASKS = suite_tasks("libero_object")


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Children that write down what they were asked instead of building."""
    monkeypatch.setattr(module, "is_current", lambda folder: folder.name == entry_name(TASKS[0]))
    said = tmp_path / "said"
    said.mkdir()
    start = f"import os; open({str(said)!r} + '/' + str(os.getpid()), 'w')"

    def command(called: str, tasks: object) -> list[str]:
        assert called == module.__name__
        return [sys.executable, "-c", f"{start}.write({str(tasks)!r})"]

    monkeypatch.setattr(module, "child_command", command)
    return said


def test_only_what_is_missing_shared_out(stand_in: Path) -> None:
    assert prepare(TASKS[:4], 2) == 3
    assert sorted(file.read_text() for file in stand_in.iterdir()) == [
        "[('libero_object', 1), ('libero_object', 3)]",
        "[('libero_object', 2)]",
    ]
    assert prepare(TASKS[:1], 2) == 0
    assert len(list(stand_in.iterdir())) == 2


@pytest.mark.parametrize(("code", "error"), [(2, UserError), (1, RuntimeError), (-9, RuntimeError)])
def test_errors(monkeypatch: pytest.MonkeyPatch, code: int, error: type[Exception]) -> None:
    monkeypatch.setattr(module, "is_current", lambda folder: False)
    end = "os.kill(os.getpid(), 9)" if code < 0 else f"sys.exit({code})"
    program = f"import os, sys\nprint('noise')\nprint('no milk.png', flush=True)\n{end}\n"
    monkeypatch.setattr(module, "child_command", lambda *_: [sys.executable, "-c", program])
    with pytest.raises(error, match="no milk.png"):
        prepare(TASKS[:2], 2)


@pytest.mark.slow
def test_builds(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """For real, in an empty cache; a wrong place for the assets is the user's to mend."""
    monkeypatch.setenv("SRPO_CACHE", str(tmp_path / "cache"))
    assert prepare(TASKS[:2], 2) == 2
    monkeypatch.setattr("stages.sim.models.build.build", lambda task: pytest.fail("built although prepared"))
    assert all(load_entry(task).numbers for task in TASKS[:2])
    assert prepare(TASKS[:2], 2) == 0
