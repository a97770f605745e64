"""Filling a rollout store: make it or find it again, run what is missing in a pool, leave it consistent.

What is asked is a `Request`; a store remembers it in its attributes. The same request goes on where an earlier run
ended, another one is refused. Several processes may fill one store at once, each its own share (`data.shards`): what
an episode comes to depends on the request alone, and none writes what is another's. N episodes.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from data.errors import UserError
from data.paths import is_url, remove_tree
from data.query import Decide
from data.shards import WHOLE, Shard
from data.store import DONE, SKIPPED, Layout, Plan, RolloutStore
from data.watching import Tick
from stages.sim.provider import check_versions
from stages.sim.settings import RolloutSettings
from stages.sim.tasks import FIXTURE_SEED, Task, initial_state, task_names
from stages.sim.workers.messages import Finished, Job, Start
from stages.sim.workers.pool import Pool, PoolReport

PROPRIO = 8


@dataclass(frozen=True)
class Request:
    """All that decides the content of a store."""

    tasks: list[Task]
    plan: Plan
    horizon: int
    """T, control steps at most"""
    chunk: int
    """C, actions a query"""
    cameras: Mapping[str, int]
    """camera -> side length: what every query shows"""
    look: str
    engine: str
    keep_images: bool
    asked: Mapping[str, Any] = field(default_factory=dict)
    """what else counts (policy, temperature, seed, ...); stored among the attributes"""

    def attrs(self) -> dict[str, Any]:
        """The attributes of the store, as JSON reads them back."""
        own = {
            "suite": self.tasks[0].suite,
            "tasks": task_names(self.tasks),
            "look": self.look,
            "engine": self.engine,
            "cameras": dict(self.cameras),
            "keep_images": self.keep_images,
            "fixture_seed": FIXTURE_SEED,
            "versions": check_versions(),
        }
        read: dict[str, Any] = json.loads(json.dumps({**own, **self.asked}))
        return read

    def layout(self) -> Layout:
        """The sizes that every episode shares."""
        return Layout(
            horizon=self.horizon,
            state_size=max(len(initial_state(task, 0)) for task in self.tasks),
            chunk=self.chunk,
            proprio=PROPRIO,
            images=self.cameras if self.keep_images else {},
            tokens=True,
        )

    def instructions(self) -> list[str]:
        """(N,) what the policy is told in each episode."""
        texts = {task.index: task.instruction for task in self.tasks}
        return [texts[int(task)] for task in self.plan.task]

    def differences(self, store: RolloutStore) -> list[str]:
        """What a store was asked that this request does not ask, in words."""
        wanted = {**self.attrs(), "horizon": self.horizon, "chunk": self.chunk}
        lines = [_difference(key, store.attrs.get(key), value) for key, value in wanted.items()]
        different = [line for line in lines if line]
        if not different and not store.plan.same(self.plan):
            different = [f"{len(store)} episodes (asked: {len(self.plan)}) or their initial states"]
        return different


def rollout_request(
    settings: RolloutSettings,
    tasks: list[Task],
    plan: Plan,
    chunk: int,
    cameras: Mapping[str, int],
    keep_images: bool,
    **asked: Any,
) -> Request:
    """The request to roll a policy out as `settings` say: on which tasks and plan, for a policy of which chunk and
    cameras; `asked` is what else counts (its identity, ...)."""
    return Request(
        tasks=tasks,
        plan=plan,
        horizon=settings.horizon or tasks[0].horizon,
        chunk=chunk,
        cameras=cameras,
        look=settings.look,
        engine=settings.engine,
        keep_images=keep_images,
        asked={**asked, "temperature": settings.temperature, "seed": settings.seed, "inits": settings.inits},
    )


def open_store(path: str | Path, request: Request) -> RolloutStore:
    """The store of a request: made if nothing is there, opened if it holds the same request.

    Raises:
        UserError: it holds another request, or cannot be made.
    """
    if not RolloutStore.exists(path):
        RolloutStore.create(path, request.attrs(), request.plan, request.layout())
    store = RolloutStore.open(path)
    different = request.differences(store)
    if different:
        raise UserError(f"{path} holds other rollouts: {'; '.join(different)}; ask the same or choose another store")
    return store


def fill(
    path: str | Path,
    request: Request,
    decide: Decide,
    pool: Pool | Callable[[int], Pool],
    tick: Tick | None = None,
    shard: Shard = WHOLE,
    skip_errors: int = 0,
) -> tuple[RolloutStore, PoolReport]:
    """Run what is missing of a request; where nothing is, no byte of the store changes.

    Args:
        path: the store, made if nothing is there.
        request: what it is to hold.
        decide: answers a batch of queries.
        pool: one that lives on, or a function that makes one for a number of episodes, closed at the end.
        tick: told of every episode, in numbers of the shard's own.
        shard: the share of the episodes that is run here; others may run theirs at the same time.
        skip_errors: how many episodes of the share to do without if they fail three times, each marked as skipped.

    Raises:
        UserError: the store holds another request, or cannot be written; or the user's machine lacks something that
            episodes need, in which case a local store made for nothing is removed again, unless it is for others too.
        Exception: as `Pool.run`; the store is consistent, and an episode that failed three times is marked.
    """
    new = not RolloutStore.exists(path)
    store = open_store(path, request)
    share = _Share(store, request, shard, skip_errors, tick)
    if not share.todo:
        return store, PoolReport()
    try:
        if isinstance(pool, Pool):
            return store, share.run(pool, decide)
        with pool(len(share.todo)) as made:
            return store, share.run(made, decide)
    except UserError:
        if new and shard == WHOLE and not is_url(store.path) and not len(store.done()):
            remove_tree(Path(store.path).parent, Path(store.path).name)
        raise


class _Share:
    """What is missing of a share of a store, and how running it goes."""

    def __init__(
        self, store: RolloutStore, request: Request, shard: Shard, skip_errors: int, tick: Tick | None
    ) -> None:
        self._store, self._request, self._tick = store, request, tick
        self._own = shard.episodes(len(store))
        self.todo, self._spare = _missing(store.status(), self._own, skip_errors)
        self._done = len(self._own) - len(self.todo)
        self._successes = int(store.success()[self._own].sum())

    def run(self, pool: Pool, decide: Decide) -> PoolReport:
        """Run the missing episodes."""
        plan, writable = self._request.plan, RolloutStore.open(self._store.path, writable=True)
        starts = [Start(i, int(plan.task[i]), int(plan.init_state[i])) for i in self.todo]
        writable.sweep(self._own)
        try:
            job = _job(self._store, self._request)
            return pool.run(job, starts, decide, self._count, partial(self._give_up, writable))
        finally:
            writable.sweep(self._own)

    def _count(self, finished: Finished) -> None:
        self._done += 1
        self._successes += finished.success
        if self._tick:
            self._tick(self._done, len(self._own), f"success {100 * self._successes / self._done:.0f} %")

    def _give_up(self, store: RolloutStore, episode: int, error: Exception) -> bool:
        """Mark an episode that failed three times; whether it is one of those to do without."""
        skip = self._spare > 0
        self._spare -= skip
        store.mark_error(episode, skip)
        if not skip:
            error.add_note(f"episode {episode} failed three times; --set skip_errors=N does without up to N such ones")
        return skip


def _missing(status: np.ndarray, own: range, skip_errors: int) -> tuple[list[int], int]:
    """The episodes of a share to run, and how many of them may fail; what an earlier run skipped counts, and is run
    again only where it is more than `skip_errors`."""
    left = [i for i in own if status[i] not in (DONE, SKIPPED)]
    skipped = [i for i in own if status[i] == SKIPPED]
    if len(skipped) > skip_errors:
        return sorted(left + skipped), skip_errors
    return left, skip_errors - len(skipped)


def _job(store: RolloutStore, request: Request) -> Job:
    return Job(
        store=store.path,
        tasks={task.index: task for task in request.tasks},
        horizon=request.horizon,
        cameras=dict(request.cameras),
        look=request.look,
        engine=request.engine,
        keep_images=request.keep_images,
    )


def _difference(key: str, there: Any, asked: Any) -> str:
    if there == asked:
        return ""
    if isinstance(there, dict) and isinstance(asked, dict):
        parts = [f"{key} {_difference(k, there.get(k), asked.get(k))}" for k in sorted({*there, *asked})]
        return "; ".join(part for part in parts if not part.endswith(" "))
    if isinstance(there, list) and isinstance(asked, list) and key == "tasks":
        there, asked = ([task["index"] for task in tasks] for tasks in (there, asked))
    return f"{key} {there} (asked: {asked})"
