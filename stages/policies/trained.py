"""Which initial states a policy has learned from: kept in its record, so that every evaluation can say what it repeats.

A history is `{suite: {task number: [initial states]}}`, the key `trained_inits` of `srpo.json`; JSON makes task numbers
texts. A policy without the key says nothing about what it was trained on.
"""

from collections.abc import Mapping, Sequence
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
    seen = _seen([record[KEY]])
    for store in stores:
        done, tasks = store.done(), seen.setdefault(store.attrs["suite"], {})
        for task, init in zip(store.plan.task[done], store.plan.init_state[done], strict=True):
            tasks.setdefault(str(int(task)), set()).add(int(init))
    return _entry(seen)


def common_history(records: Sequence[Mapping[str, Any]]) -> dict[str, History]:
    """The entry for a policy made of several with these records; none where one of them does not say."""
    return _entry(_seen([record[KEY] for record in records])) if all(KEY in record for record in records) else {}


def repeats(record: Mapping[str, Any], suite: str, task: np.ndarray, init: np.ndarray) -> int | None:
    """How many of the episodes (task (N,), init (N,)) start where training did; none where the record does not say."""
    if KEY not in record:
        return None
    seen = record[KEY].get(suite, {})
    return sum(int(i) in seen.get(str(int(t)), ()) for t, i in zip(task, init, strict=True))


def suites(record: Mapping[str, Any]) -> list[str] | None:
    """The suites that the policy was trained on; none where the record does not say."""
    return sorted(record[KEY]) if KEY in record else None


def _seen(histories: Sequence[History]) -> dict[str, dict[str, set[int]]]:
    seen: dict[str, dict[str, set[int]]] = {}
    for history in histories:
        for suite, tasks in history.items():
            for task, inits in tasks.items():
                seen.setdefault(suite, {}).setdefault(task, set()).update(inits)
    return seen


def _entry(seen: Mapping[str, Mapping[str, set[int]]]) -> dict[str, History]:
    return {KEY: {suite: {task: sorted(inits) for task, inits in tasks.items()} for suite, tasks in seen.items()}}
