"""Making a store without a lock: any number of processes on any number of machines may make the same one at once.

An empty store is a set of small files that follow from what was asked. The root's `zarr.json` comes first and holds
nothing but a hash of the request: whoever gets it there first owns the place for that request, and everyone who asks
the same helps to finish. Every file appears whole and none is ever replaced or removed, except that the root's comes
again at the end, with its attributes; only that makes the store whole. A kill at any moment leaves a place that the
same request finishes and every other one refuses.
"""

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol
from uuid import uuid4

import zarr
from zarr.storage import MemoryStore

from data.errors import UserError
from data.paths import PARTIAL, check_folder, connect, is_url, plain, reaching

ROOT = "zarr.json"
REQUEST = "made_for"
"""The root's only attribute while the store is being made: the hash of the request."""


class Place(Protocol):
    """The few things that are done to a folder, or to the folder of a URL, while a store is made there."""

    def empty(self) -> bool:
        """Whether nothing is there but half-written files."""

    def read(self, name: str) -> bytes | None:
        """A file's content, if it is there."""

    def put(self, name: str, content: bytes) -> None:
        """Write a file, unless it is there: whole or not at all."""

    def replace(self, name: str, content: bytes) -> None:
        """Write a file over what is there: whole or not at all."""


def in_memory(build: Callable[[zarr.Group], object]) -> dict[str, bytes]:
    """The files (name -> content) of a group that `build` fills."""
    files: dict[str, zarr.core.buffer.Buffer] = {}
    build(zarr.open_group(MemoryStore(files), mode="w-", zarr_format=3))
    return {name: buffer.to_bytes() for name, buffer in files.items()}


def make(path: str | Path, files: Mapping[str, bytes], request: str) -> None:
    """Make the store of `files`, or help to finish it; where it is whole, nothing is written.

    Args:
        request: a hash of all that decides the store.

    Raises:
        UserError: the place holds something else, was begun for another request, or cannot be written.
    """
    try:
        with reaching(path):
            _make(path, _Remote(plain(path)) if is_url(path) else _Local(Path(plain(path))), files, request)
    except FileNotFoundError as error:
        raise UserError(f"cannot create {path} ({error}); choose a place that exists") from error


def _make(path: str | Path, place: Place, files: Mapping[str, bytes], request: str) -> None:
    claim = in_memory(lambda root: root.update_attributes({REQUEST: request}))[ROOT]
    if not place.empty() and place.read(ROOT) is None:
        raise UserError(f"{path} exists and is not a rollout store; remove it or choose another")
    place.put(ROOT, claim)
    found = _attributes(place.read(ROOT))
    if found == _attributes(files[ROOT]):
        return
    if found != _attributes(claim):
        raise UserError(
            f"{path} exists and is not a whole rollout store, or was begun with other options; ask the same, remove it "
            "or choose another"
        )
    for name in sorted(files.keys() - {ROOT}):
        place.put(name, files[name])
    place.replace(ROOT, files[ROOT])


def _attributes(root: bytes | None) -> object:
    """What a group's `zarr.json` says of it, or nothing."""
    try:
        return json.loads(root or b"")["attributes"]
    except (ValueError, KeyError, TypeError):
        return None


class _Local:
    """A folder. A file is written at its top and linked to its place, which fails where one is already."""

    def __init__(self, folder: Path) -> None:
        check_folder(folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"cannot create {folder} ({error.strerror}); choose a writable folder") from error
        self._folder = folder

    def empty(self) -> bool:
        return all(entry.suffix == PARTIAL for entry in self._folder.iterdir())

    def read(self, name: str) -> bytes | None:
        file = self._folder / name
        return file.read_bytes() if file.is_file() else None

    def put(self, name: str, content: bytes) -> None:
        if not (self._folder / name).exists():
            self._write(name, content, _link)

    def replace(self, name: str, content: bytes) -> None:
        self._write(name, content, os.replace)

    def _write(self, name: str, content: bytes, publish: Callable[[Path, Path], None]) -> None:
        target, partial = self._folder / name, self._folder / f"{uuid4().hex}{PARTIAL}"
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            partial.write_bytes(content)
            publish(partial, target)
        except FileNotFoundError:  # swept by one who has found the store whole
            if not self._folder.is_dir():
                raise
            self._write(name, content, publish)
        finally:
            partial.unlink(missing_ok=True)


def _link(partial: Path, target: Path) -> None:
    try:
        os.link(partial, target)
    except FileExistsError:
        return
    except FileNotFoundError:
        raise
    except OSError:  # a file system without links; whoever asks the same writes the same
        os.replace(partial, target)


class _Remote:
    """A URL. Object stores show a file only when it is whole."""

    def __init__(self, url: str) -> None:
        self._files, self._folder = connect(url)
        self._files.invalidate_cache()

    def empty(self) -> bool:
        try:
            return not self._files.ls(self._folder, detail=False)
        except FileNotFoundError:
            return True

    def read(self, name: str) -> bytes | None:
        try:
            content: bytes = self._files.cat_file(f"{self._folder}/{name}")
        except FileNotFoundError:
            return None
        return content

    def put(self, name: str, content: bytes) -> None:
        try:
            self._files.pipe_file(f"{self._folder}/{name}", content, mode="create")
        except FileExistsError:
            return

    def replace(self, name: str, content: bytes) -> None:
        self._files.pipe_file(f"{self._folder}/{name}", content)
