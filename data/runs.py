"""The run directory: settings, one rollout store and one policy per iteration, and a line of metrics per stage.

run.toml                 the resolved settings, written once, checked on resume
demos.zarr               the demonstrations that the start was trained on
policies/000 ... NNN     000 is the start; iteration n (from 1) reads NNN = n-1 and writes n
averages/010 ...         the mean of policy 010 and some before it, where these are what is evaluated (eval.average)
rollouts/000.zarr ...    iteration n writes n-1
rollouts/000-1.zarr ...  its further rounds, in place of groups that teach nothing (collect.refill)
eval/000.zarr ...        evaluation of policy 000 ... by the loop
eval/LABEL/000.zarr ...  the same by `srpo eval --run`, a label for what was asked
metrics.jsonl            one line per stage and iteration
trackers/                what `srpo loop --track` shows of it
clock.json               while a stage is at work: how long it has been (`stages.timing`)
"""

import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import tomli_w

from data.errors import UserError
from data.settings import NOT_CONTENT, read_sections

ITERATION_STAGES = ("collect", "encode", "reward", "refill", "update")
"""What an iteration consists of, in this order; evaluations come on top."""


class Run:
    """A run directory; opening it with other settings than it was started with is refused."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    @classmethod
    def start(
        cls,
        folder: str | Path,
        settings: Mapping[str, Mapping[str, Any]],
        defaults: Mapping[str, Any] | None = None,
        retired: Mapping[str, Any] | None = None,
    ) -> "Run":
        """Make the run directory, or go on with one that has the same settings.

        Args:
            settings: by section. defaults: likewise, for settings that are newer than the run.
            retired: likewise, values in older runs that mean what the defaults mean now.

        Raises:
            UserError: the folder holds a run with other settings (told one by one), or something else.
        """
        run = cls(folder)
        run.check(settings, defaults, retired)
        if run.settings_file.is_file():
            return run
        try:
            run.folder.mkdir(parents=True, exist_ok=True)
            write_atomically(run.settings_file, tomli_w.dumps(plain_sections(settings)))
        except OSError as error:
            raise UserError(f"cannot write {folder} ({error.strerror}); choose a writable folder") from error
        return run

    def check(
        self,
        settings: Mapping[str, Mapping[str, Any]],
        defaults: Mapping[str, Any] | None = None,
        retired: Mapping[str, Any] | None = None,
    ) -> None:
        """Find out whether `start` would go on, or begin; write nothing.

        Raises:
            UserError: as `start`.
        """
        if self.settings_file.is_file():
            wanted, newer = plain_sections(settings), plain_sections(defaults or {})
            _check_same(self.settings(), wanted, newer, retired or {}, self.folder)
        elif self.folder.exists() and (not self.folder.is_dir() or any(self.folder.iterdir())):
            raise UserError(f"{self.folder} exists and is not a run of srpo; choose another folder")

    @classmethod
    def open(cls, folder: str | Path) -> "Run":
        """An existing run.

        Raises:
            UserError: there is none.
        """
        run = cls(folder)
        if not run.settings_file.is_file():
            raise UserError(f"no run at {folder} (run.toml is missing); start one with `srpo loop {folder}`")
        return run

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keeps a second loop out; the system lets go for a process that dies. (Some file systems know no locks.)

        Raises:
            UserError: another process is inside.
        """
        with (self.folder / ".lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise UserError(f"another process is at work on {self.folder}; wait for it, or stop it") from error
            except OSError:
                pass
            yield

    @property
    def settings_file(self) -> Path:
        """run.toml"""
        return self.folder / "run.toml"

    def settings(self) -> dict[str, dict[str, Any]]:
        """The settings it was started with, by section.

        Raises:
            UserError: run.toml is damaged.
        """
        try:
            return read_sections(self.settings_file)
        except UserError as error:
            raise UserError(f"{error}; restore it or start another run") from error

    def demos(self) -> Path:
        """The store of demonstrations."""
        return self.folder / "demos.zarr"

    def policy(self, number: int) -> Path:
        """Folder of a policy: 0 is the start, n the one that iteration n made."""
        return self.folder / "policies" / f"{number:03d}"

    def average(self, number: int) -> Path:
        """Folder of the mean of policy `number` and some before it."""
        return self.folder / "averages" / f"{number:03d}"

    def policies(self) -> list[int]:
        """The numbers of the policies that are kept, in order; a folder without weights is none."""
        return _numbered(self.folder / "policies")

    def averages(self) -> list[int]:
        """The numbers of the means that were made, in order."""
        return _numbered(self.folder / "averages")

    def rollouts(self, iteration: int, number: int = 0) -> Path:
        """Store of iteration 1, 2, ...; of its further round `number` 1, 2, ..., if that is given."""
        return self.folder / "rollouts" / f"{iteration - 1:03d}{f'-{number}' if number else ''}.zarr"

    def evaluation(self, number: int) -> Path:
        """Store of the evaluation of policy `number`."""
        return self.folder / "eval" / f"{number:03d}.zarr"

    def evaluations(self, label: str) -> Path:
        """Folder of the evaluations of many policies on the same episodes, a store each."""
        return self.folder / "eval" / label

    @property
    def trackers(self) -> Path:
        """Folder of the trackers' files."""
        return self.folder / "trackers"

    def finished(self) -> int:
        """How many iterations are done: the last one whose policy is there."""
        numbers = [int(p.name) for p in (self.folder / "policies").glob("[0-9]*") if p.name.isdigit()]
        return max(numbers, default=0)

    @property
    def metrics_file(self) -> Path:
        """metrics.jsonl"""
        return self.folder / "metrics.jsonl"

    def logged(self, iteration: int, stage: str) -> bool:
        """Whether metrics.jsonl has that stage of that iteration."""
        return any(m["iteration"] == iteration and m["stage"] == stage for m in self.metrics())

    def log(self, iteration: int, stage: str, record: Mapping[str, Any]) -> None:
        """Append a line to metrics.jsonl, unless that stage of that iteration is there already."""
        if self.logged(iteration, stage):
            return
        text = self.metrics_file.read_text() if self.metrics_file.is_file() else ""
        if text and not text.endswith("\n"):  # what a kill cut short
            write_atomically(self.metrics_file, text[: text.rfind("\n") + 1])
        line = json.dumps({"iteration": iteration, "stage": stage, **record}, default=_plain)
        with self.metrics_file.open("a") as file:
            file.write(line + "\n")

    def metrics(self) -> list[dict[str, Any]]:
        """The lines of metrics.jsonl; a last one that is not whole, of a run under way or killed, is passed over.

        Raises:
            UserError: a damaged line.
        """
        text = self.metrics_file.read_text(errors="replace") if self.metrics_file.is_file() else ""
        lines = []
        for number, line in enumerate(text[: text.rfind("\n") + 1].splitlines(), start=1):
            try:
                lines.append(json.loads(line))
            except json.JSONDecodeError as error:
                where = f"{self.metrics_file} line {number}"
                raise UserError(f"{where} is damaged ({error.msg}); remove that line") from error
        return lines


def _numbered(folder: Path) -> list[int]:
    """The numbers of the policies in a folder."""
    found = [p for p in folder.glob("[0-9]*") if p.name.isdigit()]
    return sorted(int(p.name) for p in found if (p / "config.json").is_file() and any(p.glob("*.safetensors")))


def is_run(folder: str | Path) -> bool:
    """Whether a path is a run directory."""
    return Run(folder).settings_file.is_file()


def write_atomically(path: Path, text: str) -> None:
    """Write a text file so that a kill leaves the old one or the new one."""
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    partial.write_text(text)
    os.replace(partial, path)


def replace_folder(made: Path, target: Path) -> None:
    """Put a finished folder in its place; what was there is removed. `made` must be on the same disk."""
    if target.exists():
        shutil.rmtree(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    os.replace(made, target)


def plain_sections(settings: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Settings as TOML can hold them: tuples as lists, `none` for what is unset."""
    return {
        section: {key: list(v) if isinstance(v, tuple) else "none" if v is None else v for key, v in values.items()}
        for section, values in settings.items()
    }


def _check_same(
    old: Mapping[str, Any],
    new: Mapping[str, Any],
    defaults: Mapping[str, Any],
    retired: Mapping[str, Any],
    folder: Path,
) -> None:
    changed = []
    for section in sorted({*old, *new}):
        default, gone = defaults.get(section, {}), retired.get(section, {})
        before, after = {**default, **old.get(section, {})}, new.get(section, {})
        for key in sorted({*before, *after} - NOT_CONTENT):
            as_default = key in gone and before.get(key) == gone[key] and after.get(key) == default.get(key)
            if before.get(key) != after.get(key) and not as_default:
                changed.append(f"{section}.{key} = {before.get(key)!r}, now {after.get(key)!r}")
    if changed:
        more = f" (and {len(changed) - 3} more)" if len(changed) > 3 else ""
        raise UserError(
            f"{folder} was started with {'; '.join(changed[:3])}{more}: use the same settings to go on "
            f"(`srpo loop {folder}`, without --preset and --set, takes its own), or another folder"
        )


def _plain(value: Any) -> Any:
    if hasattr(value, "tolist"):
        return value.tolist()
    return str(value)
