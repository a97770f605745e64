"""Which initial states a policy has learned from: kept in its record, so that every evaluation can say what it repeats.

A history is `{suite: {task number: [initial states]}}`, the key `trained_inits` of `srpo.json`; JSON makes task numbers
texts. A policy without the key says nothing about what it was trained on.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from data.joined import Rollouts

KEY = "trained_inits"

History = dict[str, dict[str, list[int]]]


def extend_history(record: Mapping[str, Any], *stores: Rollouts) -> dict[str, History]:
    """The entry for a policy trained on the finished episodes of `stores`, starting from a policy with `record`; none
    where that one's record does not say."""
    if KEY not in record:
        return {}
    seen = {suite: {task: set(inits) for task, inits in tasks.items()} for suite, tasks in record[KEY].items()}
    for store in stores:
        done, tasks = store.done(), seen.setdefault(store.attrs["suite"], {})
        for task, init in zip(store.plan.task[done], store.plan.init_state[done], strict=True):
            tasks.setdefault(str(int(task)), set()).add(int(init))
    return {KEY: {suite: {task: sorted(inits) for task, inits in tasks.items()} for suite, tasks in seen.items()}}


def repeats(record: Mapping[str, Any], suite: str, task: np.ndarray, init: np.ndarray) -> int | None:
    """How many of the episodes (task (N,), init (N,)) start where training did; none where the record does not say."""
    if KEY not in record:
        return None
    seen = record[KEY].get(suite, {})
    return sum(int(i) in seen.get(str(int(t)), ()) for t, i in zip(task, init, strict=True))
