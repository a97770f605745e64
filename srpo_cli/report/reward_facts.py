"""The facts of a reward label as a dictionary that JSON can hold: what failures were measured against, how they did.

Legend: R references and F failures of a task.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from data.store import RolloutStore
from srpo_cli.report.curves import task_curves
from srpo_cli.report.maps import nearest_rows, task_map
from srpo_cli.report.rewarded import Rewarded

Facts = dict[str, Any]


def reward_facts(rewarded: Rewarded) -> Facts:
    """What a reward label says of every task.

    Returns:
        path, label, embedding, settings; episodes, successes, failures; unrewarded: episodes done since; tasks: the
        summary that the stage wrote of each, with

            instruction
            reference_episodes  nearest to their centre first: episode, init_state, distance, centre (its row)
            left_out            successes that are no reference: noise of the clustering
            distance_spread, reward_spread    of the failures: min, median, max; null where there are none
            ranked              the failures, best first: episode, init_state, reward, distance, nearest_reference and
                                reference_distance (to that episode; both null where there is none, or it lies in
                                another store that was rewarded with this one)
    """
    counted, attrs = np.isfinite(rewarded.reward), rewarded.attrs
    return {
        "path": rewarded.path,
        "label": rewarded.label,
        "embedding": attrs.get("embedding"),
        "settings": attrs["settings"],
        "episodes": int(counted.sum()),
        "successes": int(rewarded.success.sum()),
        "failures": int((counted & ~rewarded.success).sum()),
        "unrewarded": int((rewarded.done & ~counted).sum()),
        "tasks": [_task(rewarded, summary) for summary in attrs["tasks"]],
    }


def with_views(store: RolloutStore, rewarded: Rewarded) -> Facts:
    """`reward_facts`, and of each task its `map` (`maps.task_map`) and `curves` (`curves.task_curves`)."""
    facts = reward_facts(rewarded)
    tasks = [
        {
            **task,
            "map": task_map(rewarded, task["task"]),
            "curves": task_curves(store, rewarded, task["task"], curve_episodes(task)),
        }
        for task in facts["tasks"]
    ]
    return {**facts, "tasks": tasks}


def extremes(ranked: Sequence[Facts], count: int) -> list[tuple[str, Facts]]:
    """At most `count` best and `count` worst failures, best first, no one twice; the first few where all are equal."""
    if ranked and ranked[0]["reward"] == ranked[-1]["reward"]:
        return [("failure", row) for row in ranked[:count]]
    worst = ranked[max(count, len(ranked) - count) :]
    return [("best failure", row) for row in ranked[:count]] + [("worst failure", row) for row in worst]


def typical_reference(task: Mapping[str, Any]) -> Facts | None:
    """The reference that is nearest to the centre which stands for most of them, the first of equals."""
    references = task["reference_episodes"]
    centres = [row["centre"] for row in references]
    largest = max(sorted(set(centres)), key=centres.count, default=None)
    return next((row for row in references if row["centre"] == largest), None)


def curve_episodes(task: Mapping[str, Any]) -> dict[str, int]:
    """Kind -> episode: two references and three failures; one that would be there twice is there once."""
    ranked, typical = [row["episode"] for row in task["ranked"]], typical_reference(task)
    found: dict[str, int] = {}
    if typical:
        furthest = task["reference_episodes"][-1]["episode"]
        found = {"typical success": typical["episode"], "success furthest from its centre": furthest}
    if ranked:
        found |= {"best failure": ranked[0], "worst failure": ranked[-1], "median failure": ranked[len(ranked) // 2]}
    first = {episode: kind for kind, episode in reversed(found.items())}
    return {kind: episode for kind, episode in found.items() if first[episode] == kind}


def _task(rewarded: Rewarded, summary: Mapping[str, Any]) -> Facts:
    members = rewarded.members(summary["task"])
    won, failed = members[rewarded.success[members]], members[~rewarded.success[members]]
    references = won[rewarded.is_reference[won]]
    measured = summary["source"] == "batch"
    return {
        **summary,
        "instruction": rewarded.instructions.get(summary["task"], ""),
        "reference_episodes": _references(rewarded, references),
        "left_out": won[~rewarded.is_reference[won]].tolist() if measured else [],
        "distance_spread": _spread(rewarded.distance[failed]),
        "reward_spread": _spread(rewarded.reward[failed]),
        "ranked": _ranked(rewarded, failed, references),
    }


def _references(rewarded: Rewarded, references: np.ndarray) -> list[Facts]:
    order = np.argsort(rewarded.distance[references], kind="stable")
    return [
        {
            "episode": int(i),
            "init_state": int(rewarded.init_state[i]),
            "distance": float(rewarded.distance[i]),
            "centre": int(rewarded.reference[i]),
        }
        for i in references[order]
    ]


def _ranked(rewarded: Rewarded, failed: np.ndarray, references: np.ndarray) -> list[Facts]:
    order = failed[np.lexsort((rewarded.distance[failed], -rewarded.reward[failed]))]
    near: list[tuple[int | None, float | None]] = [(None, None)] * len(order)
    if rewarded.of_paths:
        held = {int(rewarded.reference[i]): int(i) for i in references}
        found = [(held.get(int(rewarded.reference[i])), float(rewarded.distance[i])) for i in order]
        near = [(None, None) if episode is None else (episode, distance) for episode, distance in found]
    elif rewarded.embedding is not None and len(references) and len(failed):
        rows, distance = rewarded.embedding, rewarded.attrs["settings"]["distance"]
        which, far = nearest_rows(rows[order], rows[references], distance)
        near = list(zip(references[which].tolist(), far.tolist(), strict=True))
    return [
        {
            "episode": int(i),
            "init_state": int(rewarded.init_state[i]),
            "reward": float(rewarded.reward[i]),
            "distance": float(rewarded.distance[i]) if np.isfinite(rewarded.distance[i]) else None,
            "nearest_reference": reference,
            "reference_distance": far,
        }
        for i, (reference, far) in zip(order, near, strict=True)
    ]


def _spread(values: np.ndarray) -> dict[str, float] | None:
    if not len(values) or not np.isfinite(values).all():
        return None
    return {"min": float(values.min()), "median": float(np.median(values)), "max": float(values.max())}
