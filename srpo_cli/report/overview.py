"""The facts of a rollout store and of one episode, as dictionaries that JSON can hold.

N episodes of the store; t control steps of an episode; every array is summarised, none is returned whole.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from data.errors import UserError
from data.rates import store_rates
from data.store import DONE, EMPTY, ERROR, SKIPPED, RolloutStore

STATUS = {EMPTY: "not yet run", DONE: "done", ERROR: "error", SKIPPED: "error, skipped"}
ACTION_NAMES = ("x", "y", "z", "roll", "pitch", "yaw", "gripper")
SHOWN = ("suite", "look", "horizon", "chunk", "cameras", "policy", "temperature", "inits", "seed", "versions")
CONTROL_HZ = 20


def store_overview(store: RolloutStore) -> dict[str, Any]:
    """What was asked, what happened per task, and what each stage wrote.

    Returns:
        path; the attributes of `SHOWN`; asked, done, errors, successes, rate, interval, steps; tasks (a list of the
        same per task); groups (all of them, and those with both outcomes); labels (stage -> list of settings).
    """
    status = store.status()
    rates = store_rates(store)
    tasks = [_task_row(store, status, task) for task in rates["tasks"]]
    return {
        "path": store.path,
        **{name: store.attrs[name] for name in SHOWN if name in store.attrs},
        **_counts(status, np.ones(len(store), bool)),
        **{name: rates[name] for name in ("successes", "rate", "interval", "steps")},
        "tasks": [row for row in tasks if row["asked"]],
        "groups": _groups(store, status),
        "labels": {stage: [_label(store, stage, name) for name in store.labels(stage)] for stage in LABELS},
    }


def episode_details(store: RolloutStore, index: int) -> dict[str, Any]:
    """All about one episode; numbers of the actions and log-probs only where it is done.

    Raises:
        UserError: no such episode.
    """
    if not 0 <= index < len(store):
        raise UserError(f"{store.path} has episodes 0 to {len(store) - 1}, not {index}")
    plan = store.plan
    task = int(plan.task[index])
    names = {entry["index"]: entry for entry in store.attrs["tasks"]}
    status = int(store.status()[index])
    asked = {"init_state": plan.init_state, "group": plan.group, "seed": plan.seed}
    details = {
        "episode": index,
        "task": task,
        "name": names.get(task, {}).get("name", ""),
        "instruction": names.get(task, {}).get("instruction", ""),
        **{name: int(values[index]) for name, values in asked.items()},
        "status": STATUS[status],
    }
    return details | (_happened(store, index) if status == DONE else {})


def _happened(store: RolloutStore, index: int) -> dict[str, Any]:
    episode = store.read(index, images=False)
    happened: dict[str, Any] = {
        "success": episode.success,
        "steps": episode.steps,
        "seconds": episode.steps / CONTROL_HZ,
        "queries": int(store.queries()[index]),
        "actions": {
            name: {"min": float(column.min()), "mean": float(column.mean()), "max": float(column.max())}
            for name, column in zip(ACTION_NAMES, episode.action.T, strict=True)
            if column.size
        },
    }
    if episode.logprob is not None and episode.logprob.size:
        happened["logprob"] = {"mean": float(episode.logprob.mean()), "min": float(episode.logprob.min())}
    return happened | {"rewards": episode_rewards(store, index), "encoded": encoded_labels(store, index)}


def episode_rewards(store: RolloutStore, index: int) -> dict[str, dict[str, Any]]:
    """Label -> reward, distance, reference and is_reference of one episode; null where there is none."""
    names = ("reward", "distance", "reference", "is_reference")
    found = {}
    for label in store.labels("reward"):
        group: Any = store.group[f"reward/{label}"]
        values = {name: group[name][index].item() for name in names if name in group}
        found[label] = {name: None if value != value else value for name, value in values.items()}
    return found


def reward_columns(store: RolloutStore, label: str) -> np.ndarray:
    """(N,) rewards under a label; NaN where an episode has none."""
    group: Any = store.group[f"reward/{label}"]
    return np.asarray(group["reward"][:], np.float64)


def encoded_labels(store: RolloutStore, index: int) -> list[str]:
    """The labels under which the episode has an embedding."""
    group: Any = store.group
    return [label for label in store.labels("encode") if group[f"encode/{label}/inputs"][index]]


def _counts(status: np.ndarray, mask: np.ndarray) -> dict[str, int]:
    asked, done, errors = mask, mask & (status == DONE), mask & np.isin(status, (ERROR, SKIPPED))
    return {"asked": int(asked.sum()), "done": int(done.sum()), "errors": int(errors.sum())}


def _task_row(store: RolloutStore, status: np.ndarray, rates: Mapping[str, Any]) -> dict[str, Any]:
    mask = store.plan.task == rates["index"]
    inits = sorted({int(i) for i in store.plan.init_state[mask]})
    return {**_counts(status, mask), "inits": inits, **{k: v for k, v in rates.items() if k != "n"}}


def _groups(store: RolloutStore, status: np.ndarray) -> dict[str, int]:
    """How many groups there are, and how many hold both a success and a failure (which a 0/1 reward can rank)."""
    done, success = status == DONE, store.success()
    wins = set(store.plan.group[done & success].tolist())
    losses = set(store.plan.group[done & ~success].tolist())
    return {"all": len(set(store.plan.group.tolist())), "mixed": len(wins & losses)}


def _encode_label(store: RolloutStore, label: str) -> dict[str, Any]:
    group: Any = store.group[f"encode/{label}"]
    attrs = dict(group.attrs)
    rows = int(np.count_nonzero(group["inputs"][:]))
    return {"label": label, **attrs["settings"], "weights": attrs["weights"], "rows": rows}


def _reward_label(store: RolloutStore, label: str) -> dict[str, Any]:
    attrs = dict(store.group[f"reward/{label}"].attrs)
    return {"label": label, **{name: attrs[name] for name in ("embedding", "settings", "inputs", "tasks")}}


def _update_label(store: RolloutStore, label: str) -> dict[str, Any]:
    return {"label": label, **dict(store.group[f"update/{label}"].attrs)}


LABELS = {"encode": _encode_label, "reward": _reward_label, "update": _update_label}


def _label(store: RolloutStore, stage: str, name: str) -> dict[str, Any]:
    return LABELS[stage](store, name)
