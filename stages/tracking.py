"""A run's metrics in TensorBoard or Weights & Biases too, by Accelerate's trackers.

metrics.jsonl is the record, a tracker shows a copy: it is told the lines that it has not been told yet, so that it can
join a run late, and a run that goes on repeats none.

RUN/trackers/NAME.json   what it is called there, and how many lines it was told
RUN/trackers/NAME/       its own files
"""

import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any
from uuid import uuid4

import torch
from accelerate import PartialState
from accelerate.tracking import GeneralTracker, TensorBoardTracker, WandBTracker

from data.errors import UserError, unknown
from data.runs import Run, write_atomically

TRACKERS = ("tensorboard", "wandb")
NOT_METRICS = {"iteration", "settings", "index", "task"}
"""Settings go in once, as the run's configuration; the others say which step or task it is."""


def check_tracker(name: str) -> None:
    """
    Raises:
        UserError: no such tracker, or its package is not installed.
    """
    if name not in TRACKERS:
        raise unknown("tracker", name, TRACKERS)
    if find_spec(name) is None:
        raise UserError(f"--track {name} needs a package that is not installed; pip install {name}")


@contextmanager
def tracking(run: Run, name: str | None) -> Iterator[Callable[[], None]]:
    """A function that tells the tracker what metrics.jsonl has by now that it was not told yet; none: it does nothing.

    A tracker that fails later is given up with a warning on stderr, and the run goes on.

    Args:
        name: one that `check_tracker` lets pass.

    Raises:
        UserError: it does not start.
    """
    if name is None:
        yield lambda: None
        return
    tracker = _Tracker(run, name)
    try:
        tracker.follow()
        yield tracker.follow
    finally:
        tracker.finish()


class _Tracker:
    def __init__(self, run: Run, name: str) -> None:
        self._run, self._name, self._failed = run, name, False
        self._file = run.trackers / f"{name}.json"
        PartialState(cpu=not torch.cuda.is_available())  # what learning asks for; Accelerate keeps the first one's
        try:
            run.trackers.mkdir(exist_ok=True)
            new = not self._file.is_file()
            self._state: dict[str, Any] = {"id": uuid4().hex[:8], "told": 0}
            self._state |= {} if new else json.loads(self._file.read_text())
            self._tracker = _start(name, run, self._state["id"])
            if new:
                self._tracker.store_init_configuration(flat_settings(run.settings()))
        except Exception as error:
            raise UserError(f"--track {name} does not start ({_reason(error)}); mend that, or leave it out") from error

    def follow(self) -> None:
        """Tell the lines that are new."""
        self._try(self._tell)

    def finish(self) -> None:
        """Write out what is left."""
        self._try(self._tracker.finish)

    def _tell(self) -> None:
        for record in self._run.metrics()[self._state["told"] :]:
            _log(self._tracker, numbers(record), record["iteration"])
            self._state["told"] += 1
            write_atomically(self._file, json.dumps(self._state))

    def _try(self, work: Callable[[], None]) -> None:
        if self._failed:
            return
        try:
            work()
        except Exception as error:
            self._failed = True
            told = f"srpo: --track {self._name} failed ({_reason(error)}); the run goes on without it"
            print(told, file=sys.stderr, flush=True)


def numbers(record: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of a line of metrics.jsonl: `stage/key`, a nested one `stage/key/key`.

    In a list the key is the task's number where an entry says it, else the place.
    """
    return dict(_numbers(str(record["stage"]), record))


def flat_settings(sections: Mapping[str, Mapping[str, Any]]) -> dict[str, bool | int | float | str]:
    """Settings as `section.key`; lists and tables as text."""
    return {
        f"{section}.{key}": value if isinstance(value, bool | int | float | str) else str(value)
        for section, values in sections.items()
        for key, value in values.items()
    }


def _numbers(name: str, value: Any) -> Iterator[tuple[str, float]]:
    if isinstance(value, list):
        value = {_place(part, i): part for i, part in enumerate(value)}
    if isinstance(value, Mapping):
        for key, part in value.items():
            if key not in NOT_METRICS:
                yield from _numbers(f"{name}/{key}", part)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield name, value


def _place(part: Any, i: int) -> Any:
    return part.get("index", part.get("task", i)) if isinstance(part, Mapping) else i


def _start(name: str, run: Run, identity: str) -> GeneralTracker:
    if name == "tensorboard":
        tracker = TensorBoardTracker(name, run.trackers)
        tracker.start()
        return tracker
    import wandb

    tracker = WandBTracker(
        "srpo",
        name=run.folder.resolve().name,
        id=identity,
        resume="allow",
        dir=run.trackers,
        mode=os.environ.get("WANDB_MODE", "offline"),
        settings=wandb.Settings(console="off"),
    )
    tracker.start()
    tracker.tracker.define_metric("*", step_metric="iteration")
    return tracker


def _log(tracker: GeneralTracker, values: dict[str, float], iteration: int) -> None:
    """To wandb the iteration is a value: of a run that goes on, it drops steps that are not past its last."""
    if tracker.name == "wandb":
        tracker.log({**values, "iteration": iteration})
    else:
        tracker.log(values, step=iteration)


def _reason(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())
