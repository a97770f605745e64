"""Folders of weights: written whole or not at all, each with a record of what it was made from (`srpo.json`)."""

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from data.errors import UserError

RECORD = "srpo.json"
TOLD = 3
"""keys that an error lists"""


def write_checkpoint(out: Path, fill: Callable[[Path], None], record: Mapping[str, Any]) -> None:
    """Make the folder `out`: `fill` writes into a folder beside it, which then takes its name in one step.

    Raises:
        UserError: `out` cannot be written, or holds something already.
    """
    partial = out.with_name(f".{out.name}.partial")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        if partial.exists():
            shutil.rmtree(partial)
        partial.mkdir()
        fill(partial)
        (partial / RECORD).write_text(json.dumps(record, indent=1, sort_keys=True) + "\n")
        os.replace(partial, out)
    except OSError as error:
        raise _unwritable(out, error) from error


def read_json(file: Path) -> dict[str, Any]:
    """A JSON object from a file.

    Raises:
        UserError: it is not one.
    """
    try:
        found = json.loads(file.read_text())
    except OSError as error:
        raise UserError(f"cannot read {file} ({error.strerror or error})") from error
    except ValueError as error:
        raise UserError(f"{file} is not valid JSON: {error}") from error
    if not isinstance(found, dict):
        raise UserError(f"{file} must hold a JSON object, not a {type(found).__name__}")
    return found


def read_record(folder: Path) -> dict[str, Any]:
    """What a folder was made from; empty where it does not say."""
    try:
        record = json.loads((folder / RECORD).read_text())
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def check_keys(source: str | Path, missing: Iterable[str], unexpected: Iterable[str], shapes: Iterable[str]) -> None:
    """Refuse weights that do not fit their network, key by key.

    Args:
        shapes: keys whose values have another shape.

    Raises:
        UserError: naming the first keys of each kind.
    """
    kinds = {"lacks": sorted(missing), "has unknown": sorted(unexpected), "has of another shape": sorted(shapes)}
    told = [f"{kind} {_some(keys)}" for kind, keys in kinds.items() if keys]
    if told:
        raise UserError(f"weights of {source} do not fit their network: it {'; '.join(told)}; fetch it again")


def _some(keys: list[str]) -> str:
    more = f" and {len(keys) - TOLD} more" if len(keys) > TOLD else ""
    return ", ".join(keys[:TOLD]) + more


def holds(out: Path, inputs: str) -> bool:
    """Whether `out` was made from these inputs already.

    Raises:
        UserError: it holds something else, or could not be written: told here, before hours of training.
    """
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        _check_writable(out)
        return False
    if read_record(out).get("inputs") == inputs:
        return True
    what = "weights made from other inputs or settings" if (out / "config.json").is_file() else "something else"
    raise UserError(f"{out} holds {what}; choose another --out or remove it")


def _check_writable(out: Path) -> None:
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=out.parent).close()
    except OSError as error:
        raise _unwritable(out, error) from error


def _unwritable(out: Path, error: OSError) -> UserError:
    return UserError(f"cannot write {out} ({error.strerror or error}); choose another --out")
