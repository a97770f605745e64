"""Several rollout stores as one batch, to read: their episodes one after the other, their groups apart.

Shapes: N episodes of all stores together.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from data.errors import UserError
from data.store import ASKED, DONE, Episode, Plan, RolloutStore


class Joined:
    """Reads as one `RolloutStore` would; what is written goes to its `parts`."""

    def __init__(self, stores: Sequence[RolloutStore]) -> None:
        first = stores[0]
        self.parts = list(stores)
        self.path = " + ".join(store.path for store in stores)
        tasks = {task["index"]: task for store in stores for task in store.attrs["tasks"]}
        self.attrs: dict[str, Any] = {**first.attrs, "tasks": [tasks[index] for index in sorted(tasks)]}
        columns = {name: np.concatenate([getattr(store.plan, name) for store in stores]) for name in ASKED}
        self.plan = Plan(**columns | {"group": join_groups([store.plan.group for store in stores])})
        self._starts = np.cumsum([0, *(len(store) for store in stores)])

    def __len__(self) -> int:
        return len(self.plan)

    def status(self) -> np.ndarray:
        """(N,) uint8, as `RolloutStore.status`."""
        return np.concatenate([store.status() for store in self.parts])

    def success(self) -> np.ndarray:
        """(N,) bool; false also where an episode is not done."""
        return np.concatenate([store.success() for store in self.parts])

    def done(self) -> np.ndarray:
        """Indices of the episodes that are done."""
        return np.flatnonzero(self.status() == DONE)

    def read(self, index: int, images: bool = True) -> Episode:
        """One finished episode, without padding.

        Raises:
            UserError: it is not done.
        """
        part = int(np.searchsorted(self._starts, index, "right")) - 1
        return self.parts[part].read(index - int(self._starts[part]), images)

    def cameras(self) -> list[str]:
        """The cameras whose images are kept."""
        return self.parts[0].cameras()


Rollouts = RolloutStore | Joined
"""What a stage can read as one batch."""


def open_rollouts(paths: Sequence[str | Path]) -> Rollouts:
    """One store as it is, several joined.

    Raises:
        UserError: as `RolloutStore.open`; episodes that two stores share, or stores of several policies, temperatures
            or suites.
    """
    stores = [RolloutStore.open(path) for path in paths]
    known: set[tuple[int, ...]] = set()
    for store in stores:
        ours, theirs = _origin(stores[0]), _origin(store)
        for what in ours:
            if ours[what] != theirs[what]:
                raise UserError(
                    f"{store.path} is of {what} {theirs[what]}, {stores[0].path} of {ours[what]}; a batch has one "
                    "policy, temperature and suite: collect again, or take each store by itself"
                )
        if shared := len(known & _episodes(store.plan)):
            raise UserError(
                f"{shared} episodes of {store.path} are in a store before it too (task, initial state and seed); give "
                "each store once, and collect those of one batch with different --seed"
            )
        known |= _episodes(store.plan)
    return Joined(stores) if len(stores) > 1 else stores[0]


def join_groups(groups: Sequence[np.ndarray]) -> np.ndarray:
    """(N,) the groups of several stores, numbered so that no two stores share one."""
    ends = np.cumsum([0, *(int(group.max(initial=-1)) + 1 for group in groups)])
    return np.concatenate([group + end for group, end in zip(groups, ends, strict=False)])


def names(paths: Sequence[str | Path]) -> list[str]:
    """The stores' own names, without where they are."""
    return [Path(str(path)).name for path in paths]


def _episodes(plan: Plan) -> set[tuple[int, ...]]:
    return set(zip(plan.task.tolist(), plan.init_state.tolist(), plan.seed.tolist(), strict=True))


def _origin(store: RolloutStore) -> dict[str, Any]:
    policy = dict(store.attrs.get("policy") or {})
    named = {"policy": policy.get("weights"), "temperature": store.attrs.get("temperature")}
    return {**named, "suite": store.attrs.get("suite")}
