"""Folders of weights: written whole or not at all, each with a record of what it was made from (`srpo.json`)."""

import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from data.errors import UserError

RECORD = "srpo.json"


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
        raise UserError(f"cannot write {out} ({error.strerror or error}); choose another --out") from error


def read_record(folder: Path) -> dict[str, Any]:
    """What a folder was made from; empty where it does not say."""
    try:
        record = json.loads((folder / RECORD).read_text())
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def holds(out: Path, inputs: str) -> bool:
    """Whether `out` was made from these inputs already.

    Raises:
        UserError: it holds something else.
    """
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return False
    if read_record(out).get("inputs") == inputs:
        return True
    what = "weights made from other inputs or settings" if (out / "config.json").is_file() else "something else"
    raise UserError(f"{out} holds {what}; choose another --out or remove it")
