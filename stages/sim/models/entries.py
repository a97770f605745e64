"""The cache entries of tasks: written once, checked on every load, made again when anything they came from changed.

An entry is the folder `models/SUITE-INDEX-KEY`. Its key is a digest of the versions, the task file, the places of the
assets and the source of the modules that make it. In it: `lite.mjb` (compiled, about 3 MB, bound to the mujoco
version), `full.xml` (LIBERO's own model; its textures are read from the assets when the full look is wanted),
`task.json` (numbers; checksums of the two; size and time of every asset used) and the settled states
(`stages.sim.models.settled`). With it neither robosuite nor LIBERO's environments are imported.
"""

import importlib.util
import json
import os
import shutil
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from zlib import crc32

import mujoco

from data.cache import cache_dir
from data.errors import UserError
from data.lineage import digest
from stages.sim.provider import assets_root, check_versions
from stages.sim.tasks import FIXTURE_SEED, SUITES, Task, suite_tasks

MAKERS = ("models/build.py", "models/lite.py", "models/palette.py", "physics/goals.py")
"""The modules that decide what is in an entry, below `stages/sim`."""
ATTEMPTS = 3


@dataclass(frozen=True)
class Entry:
    """An entry as loaded. numbers: see build.Built. xml: the full model's."""

    folder: Path
    physics: mujoco.MjModel
    xml: str
    numbers: dict[str, Any]


def load_entry(task: Task) -> Entry:
    """A task's entry, built (seconds) if it is not there, damaged, or older than its assets.

    Raises:
        UserError: wrong versions, missing assets, an unknown goal, or a folder that cannot be written.
    """
    folder = cache_dir("models") / entry_name(task)
    for _ in range(ATTEMPTS):
        found = _read(folder)
        if found is not None:
            return found
        _discard(folder)
        _fill(task, folder)
    raise RuntimeError(f"{folder} is no valid entry even after it was made {ATTEMPTS} times")


def entry_name(task: Task) -> str:
    """The folder name of a task's entry in the present versions."""
    return f"{task.suite}-{task.index}-{digest(_recipe(), task.bddl_file.read_bytes())}"


def source_digest(names: Iterable[str]) -> str:
    """A digest of the source of modules, named by their paths below `stages/sim`."""
    folder = Path(__file__).parents[1]
    return digest({name: (folder / name).read_text() for name in names})


@cache
def _recipe() -> str:
    robosuite = importlib.util.find_spec("robosuite")
    places = [str(assets_root()), str(robosuite.origin if robosuite else "")]
    return digest(source_digest(MAKERS), check_versions(), FIXTURE_SEED, places)


def survey() -> tuple[list[Path], list[Path]]:
    """The entries in the cache folder: those that the next command would use, and those that are out of date."""
    folders = [path for path in cache_dir("models").iterdir() if path.is_dir()]
    present = {entry_name(task) for suite in SUITES for task in suite_tasks(suite)}
    current = [path for path in folders if path.name in present and is_current(path)]
    return current, [path for path in folders if path not in current]


def is_current(folder: Path) -> bool:
    """Whether a folder holds an entry made from the assets as they are (damage is found when it is loaded)."""
    record = _record(folder)
    return record is not None and record["sources"] == _stamps(record["sources"])


def _read(folder: Path) -> Entry | None:
    """The entry in a folder, or None if there is none that is whole and up to date."""
    record = _record(folder)
    if record is None or record["sources"] != _stamps(record["sources"]):
        return None
    contents = {name: _content(folder / name) for name in record["files"]}
    if any(crc32(contents[name]) != check for name, check in record["files"].items()):
        return None
    physics = mujoco.MjModel.from_binary_path("lite.mjb", {"lite.mjb": contents["lite.mjb"]})
    return Entry(folder, physics, contents["full.xml"].decode(), record["numbers"])


def _record(folder: Path) -> dict[str, Any] | None:
    try:
        record = json.loads(_content(folder / "task.json"))
    except ValueError:  # empty or cut off
        return None
    return record if isinstance(record, dict) and {"numbers", "files", "sources"} <= record.keys() else None


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return b""


def _stamps(paths: Iterable[str | Path]) -> dict[str, list[int]]:
    """Path -> size in bytes and modification time in ns; nothing for a file that is gone."""
    stamps = {}
    for path in paths:
        try:
            found = os.stat(path)
        except FileNotFoundError:
            continue
        stamps[str(path)] = [found.st_size, found.st_mtime_ns]
    return stamps


def _fill(task: Task, folder: Path) -> None:
    """Write an entry beside its place, then move it there: whoever comes second drops its own copy."""
    from stages.sim.models.build import build  # imports robosuite and LIBERO: only when something must be built

    built = build(task)
    temporary = _temporary(folder)
    try:
        mujoco.mj_saveModel(built.lite, str(temporary / "lite.mjb"), None)
        (temporary / "full.xml").write_text(built.xml)
        files = {name: crc32((temporary / name).read_bytes()) for name in ("lite.mjb", "full.xml")}
        record = {"numbers": built.numbers, "files": files, "sources": _stamps(built.sources)}
        (temporary / "task.json").write_text(json.dumps(record))
        _move(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _move(temporary: Path, folder: Path) -> None:
    try:
        os.rename(temporary, folder)
    except OSError:
        if not folder.is_dir():
            raise


def _discard(folder: Path) -> None:
    """Take a bad entry out of the way; another process may be doing the same."""
    if not folder.exists():
        return
    away = _temporary(folder)
    try:
        os.rename(folder, away / folder.name)
    except FileNotFoundError:
        pass
    finally:
        shutil.rmtree(away, ignore_errors=True)


def _temporary(folder: Path) -> Path:
    try:
        return Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}-"))
    except OSError as error:
        raise UserError(
            f"cannot write in {folder.parent} ({error.strerror}); set SRPO_CACHE to another folder"
        ) from error
