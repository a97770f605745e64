"""A worker process: owns several simulators, runs their episodes a chunk of actions at a time, and writes them down.

It answers to one connection. Whichever of its episodes has its next actions goes on, in the order in which the actions
came; none waits for another. It knows no policy: actions come from the other side (`stages.sim.workers.pool`).

    in:  Job, Start, Reply                      out: Ready, Loading, Query, Finished, Failed
Started by a program of a few lines (`data.children`), so that no `__main__` is imported twice.
"""

import faulthandler
import pickle
import signal
import sys
import time
import traceback
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection

import mujoco
import numpy as np

from data.query import Query
from data.store import Episode, RolloutStore
from stages.sim.engines import Engine
from stages.sim.workers.idle import IdleSimulators, Key
from stages.sim.workers.messages import Failed, Finished, Job, Loading, Ready, Reply, Spent, Start


class ParentGone(Exception):  # noqa: N818  (not an error: the end)
    """The other side of the connection is no longer there."""


@dataclass
class Running:
    """An episode under way: its simulator and what it has recorded."""

    start: Start
    simulator: Engine
    states: list[np.ndarray]
    actions: list[np.ndarray] = field(default_factory=list)
    images: dict[str, list[np.ndarray]] = field(default_factory=dict)
    proprio: list[np.ndarray] = field(default_factory=list)
    records: dict[str, list[np.ndarray]] = field(default_factory=dict)
    success: bool = False

    def episode(self) -> Episode:
        """What goes to the store."""
        unknown = set(self.records) - {"tokens", "logprob"}
        if unknown:
            raise ValueError(f"the store has no place for the recorded {', '.join(sorted(unknown))}")
        return Episode(
            success=self.success,
            state=np.stack(self.states),
            action=np.stack(self.actions),
            images={camera: np.stack(seen) for camera, seen in self.images.items()},
            proprio=np.stack(self.proprio),
            **{name: np.stack(rows) for name, rows in self.records.items()},
        )


class Worker:
    """The loop of a worker process, and the simulators it keeps from one episode and job to the next."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._running: dict[int, Running] = {}
        self._todo: deque[Start | Reply] = deque()
        self._idle = IdleSimulators()
        self._clock = Clock()
        self._job: Job
        self._store: RolloutStore

    def serve(self) -> None:
        """Work until the connection ends."""
        self._send(Ready())
        while True:
            while message := self._hear():
                self._receive(message)
            self._advance(self._todo.popleft())

    def _hear(self) -> Job | Start | Reply | None:
        """The next message; nothing if none is there and there is work to do."""
        try:
            return self._connection.recv() if not self._todo or self._connection.poll() else None
        except (EOFError, OSError) as error:
            raise ParentGone from error

    def _send(self, message: Ready | Loading | Query | Finished | Failed) -> None:
        try:
            self._connection.send(message)
        except OSError as error:
            raise ParentGone from error

    def _receive(self, message: Job | Start | Reply) -> None:
        if isinstance(message, Job):
            self._job, self._store = message, RolloutStore.open(message.store, writable=True)
            self._idle.keep({self._key(task) for task in message.tasks})
        else:
            self._todo.append(message)

    def _advance(self, message: Start | Reply) -> None:
        try:
            running = self._begin(message) if isinstance(message, Start) else self._act(message)
            if running.success or len(running.actions) >= self._job.horizon:
                self._finish(running)
            else:
                self._ask(running)
        except ParentGone:
            raise
        except Exception as error:
            self._running.pop(message.episode, None)
            self._send(Failed(message.episode, _pickled(error), traceback.format_exc()))

    def _begin(self, start: Start) -> Running:
        key = self._key(start.task)
        if not self._idle.has(key):
            self._send(Loading())
        simulator = self._idle.take(key)
        simulator.reset(start.init)
        running = Running(start, simulator, [simulator.state()])
        self._running[start.episode] = running
        return running

    def _key(self, task: int) -> Key:
        return self._job.tasks[task], self._job.look, self._job.engine

    def _act(self, reply: Reply) -> Running:
        running = self._running[reply.episode]
        for name, row in reply.answer.record.items():
            running.records.setdefault(name, []).append(row)
        with self._clock("stepping"):
            for action in np.asarray(reply.answer.actions, np.float32)[: self._job.horizon - len(running.actions)]:
                running.success = bool(running.simulator.step(action))
                running.actions.append(action)
                running.states.append(running.simulator.state())
                if running.success:
                    break
        return running

    def _ask(self, running: Running) -> None:
        with self._clock("rendering"):
            images = {name: running.simulator.render(name, size) for name, size in self._job.cameras.items()}
            proprio = running.simulator.proprio()
        query = Query(running.start.episode, len(running.proprio), images, proprio)
        self._send(query)
        running.proprio.append(proprio)
        if self._job.keep_images:
            for name, image in images.items():
                running.images.setdefault(name, []).append(image)

    def _finish(self, running: Running) -> None:
        self._store.write(running.start.episode, running.episode())
        del self._running[running.start.episode]
        self._idle.give(self._key(running.start.task), running.simulator)
        self._send(Finished(running.start.episode, running.success, len(running.actions), self._clock.spent()))


class Clock:
    """What this thread's processor time goes into."""

    def __init__(self) -> None:
        self._last = time.thread_time()
        self._parts: dict[str, float] = {}

    @contextmanager
    def __call__(self, part: str) -> Iterator[None]:
        """Counts the block as `part`."""
        began = time.thread_time()
        yield
        self._parts[part] = self._parts.get(part, 0.0) + time.thread_time() - began

    def spent(self) -> Spent:
        """Since the last call."""
        now = time.thread_time()
        parts, total = self._parts, now - self._last
        self._last, self._parts = now, {}
        return Spent(**parts, other=total - sum(parts.values()))


def _pickled(error: Exception) -> bytes:
    try:
        data = pickle.dumps(error)
        pickle.loads(data)
    except Exception:
        return b""
    return data


def _tell(warning: str) -> None:
    print(warning, file=sys.stderr, flush=True)


def main(descriptor: int) -> None:
    """The entry of the process: `descriptor` is the connection's."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    mujoco.set_mju_user_warning(_tell)  # else they go to a file MUJOCO_LOG.TXT in the user's folder
    faulthandler.enable()
    faulthandler.register(signal.SIGUSR1)  # where a hung worker hangs, see `WorkerHandle.end_hung`
    connection = Connection(descriptor)
    try:
        Worker(connection).serve()
    except ParentGone:
        return
    except Exception as error:
        connection.send(Failed(-1, _pickled(error), traceback.format_exc()))
