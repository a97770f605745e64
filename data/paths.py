"""Opening Zarr groups at a folder, a URL (fsspec) or a packed `.zip`, and packing them."""

import os
import shutil
import zipfile
from pathlib import Path
from typing import Any, Literal

import zarr
from zarr.errors import ContainsArrayError, ContainsGroupError, GroupNotFoundError
from zarr.storage import FsspecStore, LocalStore, ZipStore

from data.errors import UserError

Mode = Literal["r", "r+", "w-"]


def is_url(path: str | Path) -> bool:
    """Whether `path` names an object store or other fsspec URL."""
    return "://" in str(path)


def open_root(path: str | Path, mode: Mode) -> zarr.Group:
    """The Zarr group at `path`; a store that was packed opens under its old name, read-only.

    Raises:
        UserError: missing, foreign, truncated, packed but asked for writing, or a read-only folder.
    """
    try:
        return _open(str(path), mode)
    except (FileNotFoundError, GroupNotFoundError) as error:
        raise UserError(f"no rollout store at {path}; make one with `srpo collect` or `srpo demo`") from error
    except (ContainsGroupError, ContainsArrayError, FileExistsError) as error:
        raise UserError(f"{path} exists and is not a whole rollout store; remove it or choose another") from error
    except OSError as error:
        raise UserError(f"cannot open {path}: {error.strerror or error}; check the path and its permissions") from error
    except (ValueError, KeyError, zipfile.BadZipFile) as error:
        raise UserError(f"{path} is not a Zarr v3 group or is damaged ({error}); make it again") from error


def _open(path: str, mode: Mode) -> zarr.Group:
    if is_url(path):
        return zarr.open_group(FsspecStore.from_url(path, read_only=mode == "r"), mode=mode, zarr_format=3)
    local = Path(path)
    packed = local if local.suffix == ".zip" else local.with_name(local.name + ".zip")
    if packed.is_file() and not local.is_dir():
        if mode != "r":
            raise UserError(f"{packed} is packed and read-only; unpack it with `unzip {packed} -d {local}`")
        return zarr.open_group(ZipStore(packed, mode="r"), mode="r")
    if local.is_file():
        raise UserError(f"{path} is a file, not a rollout store (a Zarr folder or a packed .zip)")
    if mode == "w-":
        return _create(local)
    if not local.is_dir():
        raise FileNotFoundError(path)
    if mode == "r+" and not os.access(local, os.W_OK):
        raise UserError(f"{path} is not writable; change its permissions or copy it")
    return zarr.open_group(LocalStore(local, read_only=mode == "r"), mode=mode, zarr_format=3)


def _create(local: Path) -> zarr.Group:
    half_made = local.is_dir() and _is_half_made(local)
    if local.is_dir() and any(local.iterdir()) and not half_made:
        raise FileExistsError(local)
    try:
        local.parent.mkdir(parents=True, exist_ok=True)
        local.mkdir(exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot create {local} ({error.strerror}); choose a writable folder") from error
    return zarr.open_group(LocalStore(local), mode="w" if half_made else "w-", zarr_format=3)


def _is_half_made(local: Path) -> bool:
    """A Zarr group without attributes: what a kill in the middle of `create` leaves."""
    if not (local / "zarr.json").is_file():
        return False
    try:
        attrs: dict[str, Any] = dict(zarr.open_group(LocalStore(local), mode="r").attrs)
    except (ValueError, KeyError, GroupNotFoundError):
        return False
    return not attrs


def sweep_partial(path: str | Path) -> None:
    """Remove the half-written temporary files that a killed process leaves beside chunks."""
    if not is_url(path) and Path(path).is_dir():
        for leftover in Path(path).rglob("*.partial"):
            leftover.unlink(missing_ok=True)


def remove_tree(path: str | Path, name: str) -> None:
    """Remove the folder `name` inside a local store, also what an interrupted removal left of it."""
    if not is_url(path):
        shutil.rmtree(Path(path) / name, ignore_errors=True)


def pack(path: str | Path) -> Path:
    """Replace a store's folder by one `.zip` (stored, not compressed again); opens under the old name.

    Raises:
        UserError: `path` is not a store in a local folder.
    """
    folder = Path(path)
    if is_url(path) or not (folder / "zarr.json").is_file():
        raise UserError(f"{path} is not a rollout store in a local folder; only those can be packed")
    target = folder.with_name(folder.name + ".zip")
    partial = target.with_name(target.name + ".partial")
    with zipfile.ZipFile(partial, "w", zipfile.ZIP_STORED) as archive:
        for file in sorted(p for p in folder.rglob("*") if p.is_file()):
            entry = zipfile.ZipInfo(file.relative_to(folder).as_posix())  # dated 1980: equal content, equal bytes
            archive.writestr(entry, file.read_bytes())
    os.replace(partial, target)
    graveyard = folder.with_name(folder.name + ".packed")
    os.replace(folder, graveyard)
    shutil.rmtree(graveyard)
    return target
