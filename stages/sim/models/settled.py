"""Settled initial states on disk, so that only the first process that starts an episode takes its ten no-op steps.

One file a task; row i holds initial state i: MuJoCo's integration state (M), the controller's state (C), and a
checksum. A row is written by a single positioned write. Two processes that write the same row write the same bytes, and
one that is killed meanwhile leaves a row whose checksum is wrong, which counts as none.
"""

import os
from functools import cache
from importlib import metadata
from pathlib import Path
from zlib import crc32

import numpy as np

from data.lineage import digest
from stages.sim.models.entries import source_digest

STEPPERS = ("physics/controller.py", "physics/stepping.py", "simulator.py")
"""The modules that decide how an initial state settles."""

Settled = tuple[np.ndarray, np.ndarray]


@cache
def _recipe() -> str:
    return digest(source_digest(STEPPERS), metadata.version("numba"))


class SettledStates:
    """Initial state -> (integration state (M,), controller state (C,)), f64, in memory and on disk."""

    def __init__(self, folder: Path, sizes: tuple[int, int]) -> None:
        """Args: the task's cache entry, and (M, C)."""
        self._path = folder / f"settled-{_recipe()}.bin"
        self._sizes = sizes
        self._row = 8 * (sum(sizes) + 1)
        self._known: dict[int, Settled] = {}

    def get(self, init: int) -> Settled | None:
        """The settled state of an initial state, if any process has made it."""
        found = self._known.get(init) or self._read(init)
        if found is not None:
            self._known[init] = found
        return found

    def __setitem__(self, init: int, settled: Settled) -> None:
        self._known[init] = settled
        numbers = np.concatenate(settled).tobytes()
        check = np.float64(crc32(numbers)).tobytes()
        try:
            file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError:  # a cache that cannot be written, or was just cleared, costs the next process a few ms
            return
        try:
            os.pwrite(file, numbers + check, init * self._row)
        finally:
            os.close(file)

    def _read(self, init: int) -> Settled | None:
        if init < 0:
            return None
        try:
            with self._path.open("rb") as file:
                row = os.pread(file.fileno(), self._row, init * self._row)
        except FileNotFoundError:
            return None
        if len(row) < self._row or crc32(row[:-8]) != np.frombuffer(row[-8:])[0]:
            return None
        numbers = np.frombuffer(row[:-8]).copy()
        return numbers[: self._sizes[0]], numbers[self._sizes[0] :]
