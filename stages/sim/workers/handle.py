"""One worker process as its pool sees it: the process, the connection, what it has to do and how long it is silent."""

import os
import queue
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Pipe
from typing import Any

from data.children import child_command
from stages.sim.looks.devices import SHARE
from stages.sim.workers.messages import Job, Reply, Start

SETTLED = {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1", "LP_NUM_THREADS": "0"}
"""A worker is one thread: llvmpipe (LP) rasterises in the caller, and cores are shared out by counting workers."""
DEFAULTS = {"MUJOCO_GL": "egl"}
LEAVING = 5.0
"""Seconds that a worker whose connection has ended may take to exit."""
TELLING = 0.2
"""Seconds that a silent worker gets to write down where it is."""
TAIL = 4000
"""Characters of a lost worker's output that its error shows."""


@dataclass(frozen=True)
class Gone:
    """The last message of every worker: its connection has ended."""


class WorkerHandle:
    """A worker process. Its messages arrive in `inbox` as (handle, message), in order, `Gone` last.

    A thread reads the connection, so that neither half a message nor a stopped process can block the pool.
    """

    def __init__(self, inbox: "queue.SimpleQueue[tuple[WorkerHandle, Any]]", number: int = 0) -> None:
        self.number = number
        """its place in the pool, which a worker that replaces it takes over"""
        self.episodes: dict[int, Start] = {}
        """under way, by episode"""
        self.owed: dict[int, None] = {}
        """episodes whose next message is due, in the order in which the worker takes them"""
        self.silent = 0.0
        """seconds since it last spoke while it owed something"""
        self.loading = True
        """it imports what it needs, or makes a simulator"""
        self.hung = False
        self._inbox = inbox
        self._output = tempfile.TemporaryFile()  # noqa: SIM115  (closed by `bury`)
        self._connection, theirs = Pipe(duplex=True)
        with theirs, interrupts_held():
            self._process = subprocess.Popen(
                child_command("stages.sim.workers.worker", theirs.fileno()),
                pass_fds=[theirs.fileno()],
                env=worker_environment(os.environ, number),
                stdin=subprocess.DEVNULL,
                stdout=self._output,
                stderr=self._output,
            )
        self._reader = threading.Thread(target=self._listen, name=f"worker-{self.pid}", daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    def send(self, message: Job | Start | Reply) -> None:
        """Say something; a worker that is no longer there does not mind, its `Gone` is on the way."""
        if isinstance(message, Start):
            self.episodes[message.episode] = message
        if not isinstance(message, Job):
            self.owed[message.episode] = None
        try:
            self._connection.send(message)
        except OSError:
            self.kill()

    def kill(self) -> None:
        """End the process, stopped or not; `Gone` follows in the inbox."""
        self._process.kill()

    def end_hung(self) -> None:
        """End a silent process as `kill` does; where it was goes to its output first, for the error that shows it."""
        self.hung = True
        for number in (signal.SIGUSR1, signal.SIGCONT):
            self._process.send_signal(number)
        time.sleep(TELLING)
        self.kill()

    def bury(self) -> str:
        """Wait for the end of a killed or dead process and free what it held: how it ended, with its last output."""
        try:
            code = self._process.wait(timeout=LEAVING)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        self._reader.join()
        self._connection.close()
        with self._output as output:
            output.seek(0)
            tail = output.read().decode(errors="replace")[-TAIL:].strip()
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        return f"{how}; its last output:\n{tail}" if tail else how

    def _listen(self) -> None:
        try:
            while True:
                self._inbox.put((self, self._connection.recv()))
        except (EOFError, OSError):
            self._inbox.put((self, Gone()))


def worker_environment(environment: Mapping[str, str] = os.environ, number: int = 0) -> dict[str, str]:
    """The environment of worker `number`: one thread, and its share of the GPUs (see `devices.choose_device`).

    It draws through EGL unless the user chose otherwise.
    """
    return DEFAULTS | dict(environment) | SETTLED | {SHARE: str(number)}


@contextmanager
def interrupts_held() -> Iterator[None]:
    """Hold Ctrl-C back here while a child starts, and for good in the child, which inherits the mask."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
