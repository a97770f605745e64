"""How long a stage of a run has been at work, over all calls: what was killed halfway took its time as well."""

import json
import time

from data.runs import Run, write_atomically
from data.watching import Tick

EVERY = 1.0
"""Seconds between two notes; a kill loses what came after the last one."""


class StageClock:
    """The clock of one stage of one iteration; RUN/clock.json has what it shows, from progress to progress, until the
    stage is logged."""

    def __init__(self, run: Run, iteration: int, stage: str) -> None:
        self._file, self._stage = run.folder / "clock.json", [iteration, stage]
        self._counts = not run.logged(iteration, stage)
        self.earlier = self._noted() if self._counts else 0.0
        """seconds of earlier calls"""
        self._began = self._next = time.monotonic()

    def seconds(self) -> float:
        """Of this call and those before it."""
        return self.earlier + time.monotonic() - self._began

    def noting(self, tick: Tick) -> Tick:
        """A tick that keeps the note as well."""

        def both(done: int, total: int, note: str = "") -> None:
            self._note()
            tick(done, total, note)

        return both

    def over(self) -> None:
        """The stage is logged: its note is no longer needed."""
        if self._counts:
            self._file.unlink(missing_ok=True)

    def _note(self) -> None:
        now = time.monotonic()
        if self._counts and now >= self._next:
            write_atomically(self._file, json.dumps({"stage": self._stage, "seconds": round(self.seconds(), 3)}))
            self._next = now + EVERY

    def _noted(self) -> float:
        try:
            note = json.loads(self._file.read_text())
        except (OSError, ValueError):  # none, or one that a power cut left
            return 0.0
        return float(note["seconds"]) if note["stage"] == self._stage else 0.0
