"""The boxes of a report about one rollout store: what happened, how it was rewarded, how episodes look."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from data.errors import UserError
from data.store import RolloutStore
from srpo_cli.console import interval, percent
from srpo_cli.report import charts, page
from srpo_cli.report.overview import episode_rewards, reward_columns
from srpo_cli.report.words import label_words


def episodes(facts: Mapping[str, Any]) -> str:
    """A row a task, and the labels."""
    columns = ("task", "instruction", "initial states", "done", "success", "95 % interval", "mean steps")
    rows = [_task_row(task) for task in facts["tasks"]]
    groups = facts["groups"]
    lead = f"{groups['mixed']} of {groups['all']} groups hold both a success and a failure."
    parts = [page.table(columns, rows, (0, 3, 4, 5, 6))]
    labels = [(stage, *label_words(stage, label)) for stage, made in facts["labels"].items() for label in made]
    if labels:
        parts += [page.heading("Labels"), page.table(("stage", "label", "settings"), labels)]
    return page.section("Episodes", lead, *parts)


def rewards(store: RolloutStore, facts: Mapping[str, Any], label: str | None) -> str:
    """Every episode at its reward, a row a task."""
    if label is None:
        return page.section("Rewards", "No reward label yet: run `srpo encode` and `srpo reward` on the store.")
    values, success = reward_columns(store, label), store.success()
    rows = {}
    for task in facts["tasks"]:
        mask = (store.plan.task == task["index"]) & np.isfinite(values)
        rows[f"{task['index']} {charts.short_name(task['name'], 24)}"] = (values[mask], success[mask])
    made = next(label_words("reward", entry)[1] for entry in facts["labels"]["reward"] if entry["label"] == label)
    return page.section(
        "Rewards", f"One dot an episode, under the label '{label}' ({made}).", page.chart(charts.reward_strips(rows))
    )


def strips(store: RolloutStore, label: str | None) -> str:
    """A success and a failure (the nearest and the furthest, where they are ranked) as six moments each."""
    chosen = choose_episodes(store, label)
    if not chosen:
        return ""
    lead = "Six moments of an episode, evenly spread from its first state to its last; rendered from the stored states."
    try:
        parts = _draw(store, chosen, label)
    except UserError as error:
        return page.section("How episodes look", f"Pictures could not be rendered here: {error}")
    return page.section("How episodes look", lead, *parts)


def choose_episodes(store: RolloutStore, label: str | None) -> dict[str, int]:
    """What to show -> episode: a success of median length, and the failures of highest and lowest reward.

    All are of one task where one has both outcomes (the one with most of the rarer), so that they can be compared.
    """
    done, success, steps = store.done(), store.success(), store.steps()
    won, lost = done[success[done]], done[~success[done]]
    tasks = store.plan.task
    rarer = {task: min((tasks[won] == task).sum(), (tasks[lost] == task).sum()) for task in np.unique(tasks)}
    if any(rarer.values()):
        task = max(rarer, key=lambda t: rarer[t])
        won, lost = won[tasks[won] == task], lost[tasks[lost] == task]
    chosen = {}
    if len(won):
        chosen["success"] = int(won[np.argsort(steps[won], kind="stable")[len(won) // 2]])
    return chosen | _ranked_failures(lost, reward_columns(store, label)[lost] if label else np.zeros(len(lost)))


def _ranked_failures(lost: np.ndarray, rewards: np.ndarray) -> dict[str, int]:
    """The failures (n,) of highest and lowest reward (n,), or just the first where no two are rewarded otherwise."""
    if not len(lost):
        return {}
    rewarded = np.isfinite(rewards)
    if len(np.unique(rewards[rewarded])) < 2:
        return {"failure": int(lost[0])}
    lost, rewards = lost[rewarded], rewards[rewarded]
    best, worst = lost[rewards.argmax()], lost[rewards.argmin()]
    return {"best failure": int(best), "worst failure": int(worst)}


def usual_label(store: RolloutStore) -> str | None:
    """The reward that the store's update used; else its only or first one, rather one that ranks failures."""
    labels = store.labels("reward")
    used = [store.group[f"update/{name}"].attrs.get("reward") for name in store.labels("update")]
    for label in used:
        if label in labels:
            return str(label)
    return next((label for label in labels if label != "binary"), labels[0] if labels else None)


def _draw(store: RolloutStore, chosen: Mapping[str, int], label: str | None) -> list[str]:
    from srpo_cli.report.pictures import EpisodeView

    view, texts = EpisodeView(store), {task["index"]: task["instruction"] for task in store.attrs["tasks"]}
    parts = []
    for kind, index in chosen.items():
        strip = view.strip(index)
        reward = episode_rewards(store, index)[label]["reward"] if label else None
        given = f" with reward {reward:.3f}" if reward is not None else ""
        words = f"Episode {index}, {kind}{given}: {texts[int(store.plan.task[index])]}. {strip.words()}"
        parts.append(page.picture(strip.png(), words))
    return parts


def _task_row(task: Mapping[str, Any]) -> list[object]:
    inits = task["inits"]
    states = f"{len(inits)}: {', '.join(map(str, inits[:12]))}{' ...' if len(inits) > 12 else ''}"
    success = f"{task['successes']} = {percent(task['rate'])}"
    done = f"{task['done']}/{task['asked']}"
    return [
        task["index"],
        task["instruction"],
        states,
        done,
        success,
        interval(task["interval"]),
        f"{task['steps']:.0f}",
    ]
