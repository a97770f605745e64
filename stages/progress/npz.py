"""Anyone's arrays in an `.npz` file, and rewards out to another."""

import os
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from data.errors import UserError

OWN = ("reward", "distance", "reference", "is_reference")
"""arrays by which a file written here is known"""


def read_arrays(path: Path, needed: tuple[str, ...], optional: tuple[str, ...] = ()) -> dict[str, np.ndarray]:
    """The named arrays of an `.npz` file.

    Raises:
        UserError: missing, no `.npz`, truncated, an array of Python objects, or one that is needed and not there.
    """
    if not path.is_file():
        raise UserError(f"no file {path}; give an .npz with arrays {', '.join(needed)}")
    if not zipfile.is_zipfile(path):
        raise UserError(f"{path} is not an .npz file, or is cut off; save {', '.join(needed)} with np.savez")
    try:
        with np.load(path, allow_pickle=False) as file:
            return _select(path, file, needed, optional)
    except (ValueError, EOFError, OSError, zipfile.BadZipFile, KeyError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{path} is not a sound .npz file ({reason}); save it again with np.savez") from error


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> bool:
    """Write an `.npz` file in one move. True: it was there already with this content, and nothing was written.

    Raises:
        UserError: the folder is missing or read-only, or the file is something that was not written here.
    """
    if path.exists():
        present = _own(path)
        if present.keys() == arrays.keys() and all(_same(present[name], arrays[name]) for name in arrays):
            return True
    if not path.parent.is_dir():
        raise UserError(f"no folder {path.parent} to write {path.name} to; make it or choose another --out")
    partial = path.with_name(path.name + ".partial")
    try:
        with partial.open("wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]
        os.replace(partial, path)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}; choose another --out") from error
    return False


def _select(
    path: Path, file: Mapping[str, np.ndarray], needed: tuple[str, ...], optional: tuple[str, ...]
) -> dict[str, np.ndarray]:
    missing = [name for name in needed if name not in file]
    if missing:
        found = ", ".join(sorted(file)) or "nothing"
        raise UserError(f"{path} lacks {', '.join(missing)}; it holds {found}, and needs {', '.join(needed)}")
    return {name: file[name] for name in (*needed, *optional) if name in file}


def _own(path: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as file:
            if all(name in file for name in OWN):
                return dict(file)
    except (ValueError, EOFError, OSError, zipfile.BadZipFile, TypeError):
        pass
    raise UserError(f"{path} exists and was not written by `srpo reward`; remove it or choose another --out")


def _same(a: np.ndarray, b: np.ndarray) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
