"""A child process that holds one object of a bench and calls its methods on demand, a thread to itself like a worker.

What is measured there starts from a fresh process, several children run at once, and each one's memory is its own.
"""

import importlib
import os
import pickle
import subprocess
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection, Pipe
from typing import Any

from data.children import child_command
from stages.sim.workers.handle import interrupts_held, worker_environment


class ChildLostError(RuntimeError):
    """A child process ended before it answered."""


class Child:
    """A process with an object of class `kind`, such as `stages.bench.step:StepTimer`; a context manager that ends it.

    `begin` asks for a call and returns at once, `end` waits for its result: so several children work side by side.
    `number` is what a worker's is: its share of the GPUs follows from it.
    """

    def __init__(self, kind: str, number: int = 0) -> None:
        self._kind = kind
        self._connection, theirs = Pipe(duplex=True)
        with theirs, interrupts_held():
            self._process = subprocess.Popen(
                child_command("stages.bench.child", theirs.fileno(), kind),
                pass_fds=[theirs.fileno()],
                env=worker_environment(os.environ, number),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
            )

    def __enter__(self) -> "Child":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        self._connection.close()

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    def begin(self, method: str, *arguments: Any) -> None:
        """Have a method called there; `end` gives what it returns."""
        try:
            self._connection.send((method, arguments))
        except OSError as error:
            raise self._lost() from error

    def end(self) -> Any:
        """The result of the oldest call whose end has not been waited for.

        Raises:
            Exception: what the call raised, the child's traceback as its cause.
            ChildLostError: the process has died.
        """
        try:
            worked, result = self._connection.recv()
        except (EOFError, OSError) as error:
            raise self._lost() from error
        if worked:
            return result
        pickled, told = result
        raise pickle.loads(pickled) from RuntimeError(told)

    def call(self, method: str, *arguments: Any) -> Any:
        """`begin` and `end` in one."""
        self.begin(method, *arguments)
        return self.end()

    def _lost(self) -> ChildLostError:
        return ChildLostError(f"the process of {self._kind} ended with code {self._process.wait()}")


@contextmanager
def children(kind: str, count: int) -> Iterator[list[Child]]:
    """Several children of one kind, started together."""
    made: list[Child] = []
    try:
        for number in range(count):
            made.append(Child(kind, number))
        yield made
    finally:
        for child in made:
            child.__exit__()


def main(descriptor: int, kind: str) -> None:
    """The entry of the process: answer the calls that come until the connection ends."""
    connection = Connection(descriptor)
    holder: Any = None
    while True:
        try:
            method, arguments = connection.recv()
        except (EOFError, OSError):
            os._exit(0)
        try:
            holder = holder or _make(kind)
            answer = (True, getattr(holder, method)(*arguments))
        except Exception as error:
            answer = (False, (_pickled(error), traceback.format_exc()))
        connection.send(answer)


def _make(kind: str) -> Any:
    module, name = kind.split(":")
    return getattr(importlib.import_module(module), name)()


def _pickled(error: Exception) -> bytes:
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        error = RuntimeError(f"{type(error).__name__}: {error}")
    return pickle.dumps(error)
