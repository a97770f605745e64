"""Opening Zarr groups at a folder, a URL (fsspec) or a packed `.zip`, packing them, and tidying folders."""

import os
import re
import shutil
import zipfile
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import zarr
from zarr.errors import GroupNotFoundError
from zarr.storage import FsspecStore, LocalStore, ZipStore

from data.errors import UserError

Mode = Literal["r", "r+"]
PARTIAL = ".partial"
"""How the temporary files end that become a store's files when they are whole; Zarr's own and ours."""


def plain(path: str | Path) -> str:
    """The path or URL as text; `file://` and `local://` are folders, so that files appear there whole, as they do not
    through fsspec."""
    return re.sub(r"^(file|local)://", "", str(path))


def is_url(path: str | Path) -> bool:
    """Whether `path` names an object store or other fsspec URL."""
    return "://" in plain(path)


def open_root(path: str | Path, mode: Mode) -> zarr.Group:
    """The Zarr group at `path`; a store that was packed opens under its old name, read-only.

    Raises:
        UserError: missing, foreign, truncated, packed but asked for writing, a read-only folder, or out of reach.
    """
    try:
        with reaching(path):
            return _open(plain(path), mode)
    except (FileNotFoundError, GroupNotFoundError) as error:
        raise UserError(f"no rollout store at {path}; {_instead(path)}") from error
    except (ValueError, KeyError, zipfile.BadZipFile) as error:
        raise UserError(f"{path} is not a Zarr v3 group or is damaged ({error}); make it again") from error


@contextmanager
def reaching(path: str | Path) -> Iterator[None]:
    """Turns what stands between us and `path` (permissions, network, credentials) into one line.

    Raises:
        UserError: that line; FileNotFoundError and what says that the content is wrong pass.
    """
    try:
        yield
    except (UserError, FileNotFoundError, ValueError, KeyError, zipfile.BadZipFile):
        raise
    except OSError as error:
        raise UserError(f"cannot open {path}: {error.strerror or error}; check the path and its permissions") from error
    except Exception as error:
        if not is_url(path) or isinstance(error, GroupNotFoundError):
            raise
        raise UserError(f"cannot reach {path}: {error}; check the address, its settings and credentials") from error


def _instead(path: str | Path) -> str:
    inside = [] if is_url(path) else sorted(Path(path).glob("*.zarr*"))
    return f"it holds stores: give one, as {inside[0]}" if inside else "make one with `srpo collect` or `srpo demo`"


def connect(url: str) -> tuple[Any, str]:
    """The fsspec file system of a URL, and the path in it.

    Raises:
        UserError: an unknown kind of URL, or one whose package is not installed.
    """
    import fsspec

    try:
        return fsspec.core.url_to_fs(url)
    except ImportError as error:
        raise UserError(f"cannot open {url}: {error} (with pip, beside srpo)") from error
    except ValueError as error:
        raise UserError(f"cannot open {url}: {error}; use a folder or a URL that fsspec knows, as s3://") from error


def _open(path: str, mode: Mode) -> zarr.Group:
    if is_url(path):
        connect(path)
        return zarr.open_group(FsspecStore.from_url(path, read_only=mode == "r"), mode=mode, zarr_format=3)
    local = Path(path)
    packed = packed_file(local)
    if packed and mode == "r":
        return zarr.open_group(ZipStore(packed, mode="r"), mode="r")
    check_folder(local)
    if not local.is_dir():
        raise FileNotFoundError(path)
    if mode == "r+" and not os.access(local, os.W_OK):
        raise UserError(f"{path} is not writable; change its permissions or copy it")
    return zarr.open_group(LocalStore(local, read_only=mode == "r"), mode=mode, zarr_format=3)


def packed_file(local: Path) -> Path | None:
    """The `.zip` that a store was packed into, if it is there in the folder's place."""
    packed = local if local.suffix == ".zip" else Path(f"{local}.zip")
    return packed if packed.is_file() and not local.is_dir() else None


def check_folder(local: Path) -> None:
    """Refuse what no store can be written to.

    Raises:
        UserError: a file, or a packed store.
    """
    packed = packed_file(local)
    if packed:
        raise UserError(f"{packed} is packed and read-only; unpack it with `unzip {packed} -d {local}`")
    if local.is_file():
        raise UserError(f"{local} is a file, not a rollout store (a Zarr folder or a packed .zip)")


def sweep_partial(path: str | Path, groups: Sequence[str], rows: Collection[int]) -> None:
    """Remove what killed writers left half-written in and beside `groups`; of their arrays only some rows (chunks).

    Nothing else is touched, so that others may write other rows meanwhile. Object stores have no half-written files.
    """
    if is_url(path):
        return
    wanted = {str(row) for row in rows}
    for group in groups:
        folder = Path(plain(path)) / group
        for leftover in [*folder.parent.glob(f"*{PARTIAL}"), *_partial(folder, wanted)]:
            leftover.unlink(missing_ok=True)


def _partial(folder: Path, rows: Collection[str]) -> Iterator[Path]:
    """The half-written files below `folder`; of an array (its chunks are in `c`) only those of some rows."""
    for entry in folder.iterdir() if folder.is_dir() else ():
        if folder.name == "c" and entry.name.partition(".")[0] not in rows:
            continue
        if entry.suffix == PARTIAL:
            yield entry
        elif entry.is_dir():
            yield from entry.rglob(f"*{PARTIAL}") if folder.name == "c" else _partial(entry, rows)


def remove_tree(path: str | Path, name: str) -> None:
    """Remove the folder `name` inside a local store, also what an interrupted removal left of it."""
    if not is_url(path):
        shutil.rmtree(Path(plain(path)) / name, ignore_errors=True)


def pack(path: str | Path) -> Path:
    """Replace a store's folder by one `.zip` (stored, not compressed again); opens under the old name.

    Raises:
        UserError: `path` is not a store in a local folder.
    """
    folder = Path(plain(path))
    if is_url(path) or not (folder / "zarr.json").is_file():
        raise UserError(f"{path} is not a rollout store in a local folder; only those can be packed")
    target = folder.with_name(folder.name + ".zip")
    partial = target.with_name(target.name + PARTIAL)
    with zipfile.ZipFile(partial, "w", zipfile.ZIP_STORED) as archive:
        for file in sorted(p for p in folder.rglob("*") if p.is_file()):
            entry = zipfile.ZipInfo(file.relative_to(folder).as_posix())  # dated 1980: equal content, equal bytes
            archive.writestr(entry, file.read_bytes())
    os.replace(partial, target)
    bury(folder)
    return target


def bury(folder: Path) -> None:
    """Remove a folder, under another name, so that half of it is never taken for a store; and what an interrupted
    removal left of an earlier one."""
    grave = folder.with_name(folder.name + ".packed")
    shutil.rmtree(grave, ignore_errors=True)
    if folder.exists():
        os.replace(folder, grave)
        shutil.rmtree(grave)
