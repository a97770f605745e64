"""The facts of a reward label as tables on a terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from srpo_cli.console import out, table
from srpo_cli.report.reward_facts import extremes
from srpo_cli.report.words import centre_words, figures, reward_words

BLOCKS = "·▁▂▃▄▅▆▇█"
BINS = 12


def show_reward(facts: Mapping[str, Any], count: int) -> None:
    """A reward label: what it was made with, a row a task, the `count` best and worst failures of each."""
    made = f"{facts['episodes']} episodes, {facts['successes']} successes, {facts['failures']} failures"
    out.print(f"reward [bold]{facts['label']}[/bold] of {facts['path']}: {reward_words(facts)}; {made}")
    if facts["unrewarded"]:
        out.print(f"{facts['unrewarded']} episodes have no reward yet; run the same `srpo reward` again")
    tasks, settings = facts["tasks"], facts["settings"]
    columns = ["task", "instruction", "successes", "left out", "centres", "stand for"]
    out.print(table("references", columns, [reference_row(task, settings["centre"]) for task in tasks]))
    failed = [task for task in tasks if task["ranked"]]
    if failed and settings["alpha"] == 0:
        out.print("every failure gets 0: with alpha=0 nothing is measured")
    elif failed:
        out.print(_failures(failed, settings["alpha"]))
        out.print(_ranks(failed, count))
    if "image" in facts:
        out.print(f"image: {facts['image']}")


def reference_row(task: Mapping[str, Any], centre: str) -> list[str]:
    """Task, instruction, successes, how many of them were left out, centres and what these stand for."""
    counts = [str(task["successes"]), str(len(task["left_out"])), str(task["centres"])]
    return [str(task["task"]), task["instruction"], *counts, centre_words(task, centre)]


def failure_row(task: Mapping[str, Any]) -> list[str]:
    """Task, failures, the spread of their distances and of their rewards."""
    distances = [figures(value, 3) for value in (task["distance_spread"] or {}).values()]
    rewards = [f"{value:.2f}" for value in (task["reward_spread"] or {}).values()]
    return [str(task["task"]), str(task["failures"]), "  ".join(distances) or "-", "  ".join(rewards) or "-"]


def rank_row(row: Mapping[str, Any]) -> list[str]:
    """Episode, initial state, reward, distance, nearest reference episode and how far it is."""
    distance = "-" if row["distance"] is None else figures(row["distance"])
    near = row["nearest_reference"]
    reference = "-" if near is None else f"{near} ({figures(row['reference_distance'])})"
    return [str(row["episode"]), str(row["init_state"]), f"{row['reward']:.3f}", distance, reference]


def histogram(ranked: Sequence[Mapping[str, Any]], alpha: float) -> str:
    """How many failures got which reward, from 0 to alpha > 0, as blocks; a dot where none did."""
    counts, _ = np.histogram([row["reward"] for row in ranked], BINS, (0, alpha))
    return "".join(BLOCKS[-(-8 * count // counts.max())] for count in counts)


def _failures(tasks: Sequence[Mapping[str, Any]], alpha: float) -> Any:
    columns = ["task", "failures", "distance", "reward", "rewards"]
    rows = [[*failure_row(task), histogram(task["ranked"], alpha)] for task in tasks]
    caption = f"distance, reward: min, median, max · rewards: how many got which, from 0 to {alpha:g}"
    return table("failures", columns, rows, caption)


def _ranks(tasks: Sequence[Mapping[str, Any]], count: int) -> Any:
    columns = ["task", "", "episode", "state", "reward", "distance", "nearest reference"]
    rows = [
        [str(task["task"]), kind.removesuffix(" failure"), *rank_row(row)]
        for task in tasks
        for kind, row in extremes(task["ranked"], count)
    ]
    return table("best and worst failures", columns, rows, "state: initial state")
