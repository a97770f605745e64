"""A pool of worker processes that run episodes, and its side of the conversation.

Every worker has a few episodes under way. Their queries are gathered as they come and answered in one batch by the
caller's `decide`; no episode waits for another and a finished one costs nothing. The pool lives across runs: the
processes, their compiled task models and simulators are kept.

Processes, though threads step as fast (a control step lets go of the interpreter; `srpo bench sim` measures both): a
process can be ended where it hangs and takes no other with it when it crashes, its rendering and writing do not share
an interpreter with the policy, and it draws on a GPU of its own. Inside one, episodes take turns in a single thread.

A worker that dies, or owes something and stays silent, is replaced, and its episodes begin again with the same seed.
The episode that it was working on counts the strike; the third one ends the run with the real cause.
"""

import pickle
import queue
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from data.cores import cores
from data.errors import UserError
from data.query import Decide, Query
from stages.sim.models.prepare import prepare
from stages.sim.workers.handle import Gone, WorkerHandle
from stages.sim.workers.messages import Failed, Finished, Job, Loading, Reply, Spent, Start

STRIKES = 3
TURN = 0.5
"""Seconds that the pool waits for a message at most before it looks at the watchdog."""
LOADING = 180.0
"""Seconds that a worker may take to import what it needs, or to build or load a task's model."""


class WorkerLostError(RuntimeError):
    """A worker died or hung three times over the same episode."""


class WorkerTraceback(Exception):  # noqa: N818  (a cause, never raised)
    """The traceback of an exception in a worker, as text; the cause of the exception that the pool raises."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}"


@dataclass
class PoolReport:
    """What a run of episodes took."""

    episodes: int = 0
    steps: int = 0
    seconds: float = 0.0
    workers: int = 0
    spent: Spent = field(default_factory=Spent)
    """by the workers, over all finished episodes"""
    deciding: float = 0.0
    """seconds in `decide`"""
    deciding_cpu: float = 0.0
    """seconds of a processor in `decide`"""
    waiting: float = 0.0
    """seconds without any query to answer"""
    queries: int = 0
    batches: int = 0
    retries: Counter[str] = field(default_factory=Counter)
    """times that work was begun again, by cause: crash and hang (of a worker), exception (of an episode)"""
    skipped: dict[int, str] = field(default_factory=dict)
    """episodes that failed three times and were done without: the last error"""

    def summary(self) -> dict[str, Any]:
        """What a run took, for people and `--json`."""
        return {
            "collected": self.episodes,
            "up_to_date": not (self.episodes or self.skipped),
            "retries": {cause: self.retries[cause] for cause in ("crash", "hang", "exception")},
            "errors": {str(episode): error for episode, error in sorted(self.skipped.items())},
            "seconds": self.seconds,
            "episodes_per_second": self.episodes / self.seconds if self.seconds else 0.0,
            "policy_seconds": self.deciding,
            "idle_seconds": self.waiting,
            "queries_per_batch": self.queries / self.batches if self.batches else 0.0,
            "workers": self.workers,
            "cores": cores(),
            "cpu_seconds": {**asdict(self.spent), "policy": self.deciding_cpu},
        }


OnDone = Callable[[Finished], None]
OnError = Callable[[int, Exception], bool]
"""Told of an episode that failed for the third time; whether to go on without it."""


class Pool:
    """Worker processes that run episodes; a context manager that ends them.

    Args:
        workers: how many processes, at least 1.
        slots: episodes under way in each.
        watchdog: seconds that a worker may owe something without a word, before it counts as hung. They are counted in
            turns of the pool, so a suspended machine or a slow policy does not add to them. While it imports or loads a
            task's model it may take `LOADING`.
    """

    def __init__(self, workers: int, slots: int = 3, watchdog: float = 60.0) -> None:
        if workers < 1 or slots < 1 or watchdog <= 0:
            raise UserError(f"a pool needs workers, slots and watchdog above 0, not {workers}, {slots}, {watchdog}")
        self._inbox: queue.SimpleQueue[tuple[WorkerHandle, Any]] = queue.SimpleQueue()
        self._size, self._slots, self._watchdog = workers, slots, watchdog
        self._workers: list[WorkerHandle] = []

    def __enter__(self) -> "Pool":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End every worker; a later `run` starts them anew."""
        for worker in self._workers:
            worker.kill()
        for worker in self._workers:
            worker.bury()
        self._workers.clear()
        self._inbox = queue.SimpleQueue()

    def start(self) -> None:
        """Start the processes now, so that they import while the caller does something else."""
        while len(self._workers) < self._size:
            self._workers.append(WorkerHandle(self._inbox, len(self._workers)))

    def pids(self) -> list[int]:
        """The process ids of the workers."""
        return [worker.pid for worker in self._workers]

    def run(
        self,
        job: Job,
        episodes: Sequence[Start],
        decide: Decide,
        on_done: OnDone | None = None,
        on_error: OnError | None = None,
    ) -> PoolReport:
        """Run episodes into the job's store, begun in the given order.

        Args:
            job: what they have in common.
            episodes: which ones.
            decide: answers a batch of queries.
            on_done: told of every episode whose status is in the store.
            on_error: told of an episode that failed for the third time; its exception is raised unless it says true.

        Raises:
            UserError: a worker met one.
            WorkerLostError: a worker died or hung three times over one episode.
            Exception: what an episode raised three times, its traceback in the worker as the cause; whatever `decide`
                and the callbacks raise. Every worker is ended before an exception leaves, so nothing writes any more.
        """
        self.start()
        try:
            if job.engine == "fast":
                prepare([job.tasks[index] for index in dict.fromkeys(start.task for start in episodes)], self._size)
            run = _Run(job, episodes, decide, on_done, on_error)
            for worker in self._workers:
                worker.send(job)
            while run.left:
                self._hand_out(run)
                run.answer(self._gather(run))
        except BaseException:
            self.close()
            raise
        run.report.seconds, run.report.workers = time.monotonic() - run.began, self._size
        return run.report

    def _hand_out(self, run: "_Run") -> None:
        """Give what is to be done to the workers with the fewest episodes under way."""
        while run.todo:
            worker = min(self._workers, key=lambda w: len(w.episodes))
            if len(worker.episodes) >= self._slots:
                return
            worker.send(run.todo.popleft())

    def _gather(self, run: "_Run") -> list[tuple[WorkerHandle, Query]]:
        """Every query that waits, after at most one turn; all other messages are dealt with."""
        asked: dict[int, tuple[WorkerHandle, Query]] = {}
        began = time.monotonic()
        try:
            item = self._inbox.get(timeout=TURN)
            while True:
                self._take(run, asked, *item)
                item = self._inbox.get_nowait()
        except queue.Empty:
            pass
        run.report.waiting += time.monotonic() - began
        self._watch(run)
        return list(asked.values())

    def _take(self, run: "_Run", asked: dict[int, tuple[WorkerHandle, Query]], worker: WorkerHandle, said: Any) -> None:
        worker.silent, worker.loading = 0.0, isinstance(said, Loading)
        if isinstance(said, Query):
            del worker.owed[said.episode]
            asked[said.episode] = (worker, said)
        elif isinstance(said, Finished):
            del worker.owed[said.episode], worker.episodes[said.episode]
            run.finish(said)
        elif isinstance(said, Failed):
            error = _revive(said)
            if said.episode < 0 or isinstance(error, UserError):
                raise error
            del worker.owed[said.episode]
            run.strike(worker.episodes.pop(said.episode), "exception", error)
        elif isinstance(said, Gone):
            for episode in worker.episodes:
                asked.pop(episode, None)
            self._replace(run, worker)

    def _replace(self, run: "_Run", worker: WorkerHandle) -> None:
        """Put a new worker in a lost one's place, and its episodes back at the head of the queue."""
        how = worker.bury()
        self._workers[self._workers.index(worker)] = fresh = WorkerHandle(self._inbox, worker.number)
        fresh.send(run.job)
        blamed = next(iter(worker.owed), None)
        run.todo.extendleft(start for episode, start in reversed(worker.episodes.items()) if episode != blamed)
        cause, did = ("hang", "hung") if worker.hung else ("crash", "died")
        if blamed is None:
            run.report.retries[cause] += 1
        else:
            lost = WorkerLostError(f"a worker {did} {STRIKES} times over episode {blamed} ({how})")
            run.strike(worker.episodes[blamed], cause, lost)

    def _watch(self, run: "_Run") -> None:
        """Kill whoever owes something and stays silent; the end of its connection does the rest."""
        turn = run.turn()
        for worker in self._workers:
            worker.silent = worker.silent + turn if worker.owed else 0.0
            allowed = max(LOADING, self._watchdog) if worker.loading else self._watchdog
            if worker.silent > allowed and not worker.hung:
                worker.end_hung()


class _Run:
    """What one call of `Pool.run` is about: what is left to do, and what has happened."""

    def __init__(
        self,
        job: Job,
        episodes: Sequence[Start],
        decide: Decide,
        on_done: OnDone | None,
        on_error: OnError | None,
    ) -> None:
        self.job, self.todo, self.left = job, deque(episodes), len(episodes)
        self.report = PoolReport()
        self.began = self._last = time.monotonic()
        self._decide, self._on_done, self._on_error = decide, on_done, on_error
        self._strikes: Counter[int] = Counter()

    def answer(self, asked: list[tuple[WorkerHandle, Query]]) -> None:
        """Have the queries decided, and send the answers to where they came from."""
        if not asked:
            return
        began, cpu = time.monotonic(), time.thread_time()
        answers = self._decide([query for _, query in asked])
        self.report.deciding += time.monotonic() - began
        self.report.deciding_cpu += time.thread_time() - cpu
        self.report.queries += len(asked)
        self.report.batches += 1
        for (worker, query), answer in zip(asked, answers, strict=True):
            worker.send(Reply(query.episode, answer))

    def finish(self, done: Finished) -> None:
        """Count an episode that is in the store."""
        self.left -= 1
        self.report.episodes += 1
        self.report.steps += done.steps
        self.report.spent += done.spent
        if self._on_done:
            self._on_done(done)

    def strike(self, start: Start, cause: str, error: Exception) -> None:
        """Begin an episode again; the third time go on without it, or raise `error`."""
        self.report.retries[cause] += 1
        self._strikes[start.episode] += 1
        if self._strikes[start.episode] < STRIKES:
            self.todo.appendleft(start)
        elif self._on_error and self._on_error(start.episode, error):
            self.left -= 1
            self.report.skipped[start.episode] = _in_a_line(error)
        else:
            raise error

    def turn(self) -> float:
        """Seconds since the last call, at most one turn."""
        now = time.monotonic()
        elapsed, self._last = now - self._last, now
        return min(elapsed, TURN)


def _in_a_line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def _revive(failed: Failed) -> Exception:
    """The exception of a worker, with its traceback there as the cause."""
    if failed.error:
        error: Exception = pickle.loads(failed.error)
    else:
        error = RuntimeError(failed.traceback.strip().splitlines()[-1])
    error.__cause__ = WorkerTraceback(failed.traceback)
    return error
