"""The drawings of a reward label: maps of its embeddings and curves of progress, a small plot a task.

Legend: n episodes, k centres, K prefixes.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import BoundaryNorm, LinearSegmentedColormap
from matplotlib.figure import Figure

from srpo_cli.report.charts import BLUE, GREEN, ORANGE, draw, short_name

SHADES = 8
INK, PURPLE, PALE = "#1f2933", "#9a4c95", "#f7d6ad"
LINES: dict[str, tuple[str, str]] = {
    "typical success": (GREEN, "-"),
    "success furthest from its centre": (GREEN, "--"),
    "best failure": (BLUE, "-"),
    "median failure": (PURPLE, "-"),
    "worst failure": (ORANGE, "-"),
}
"""kind of episode (`reward_facts.curve_episodes`) -> colour and style of its curve"""
DOT: dict[str, Any] = {"s": 28, "linewidths": 0.9}
CENTRE: dict[str, Any] = {"marker": "X", "s": 90, "color": INK, "edgecolors": "white", "linewidths": 1, "zorder": 3}
Task = Mapping[str, Any]


def embedding_maps(tasks: Sequence[Task], rewards: np.ndarray, success: np.ndarray, alpha: float) -> str:
    """Every episode of some tasks on the plane of its task.

    Args:
        tasks: as in `reward_facts`, each with a `map`. rewards, success: (N,) of the store.
    """
    return _draw(tasks, lambda figure: paint_maps(figure, tasks, rewards, success, alpha), 3.9)


def progress_curves(tasks: Sequence[Task]) -> str:
    """Progress against control steps of some tasks, each with `curves`."""
    return _draw(tasks, lambda figure: paint_curves(figure, tasks), 3.1)


def paint_maps(figure: Figure, tasks: Sequence[Task], rewards: np.ndarray, success: np.ndarray, alpha: float) -> None:
    """Successes green, hollow where they are no reference; failures by reward; centres as crosses."""
    colours = LinearSegmentedColormap.from_list("reward", (PALE, ORANGE, PURPLE, BLUE))
    norm = BoundaryNorm(np.linspace(0, alpha or 1, SHADES + 1), colours.N)
    grid = _grid(figure, tasks)
    for axes, task in zip(grid, tasks, strict=True):
        shown, placed = np.array(task["map"]["episodes"]), np.array(task["map"]["points"])
        won, left_out = success[shown], np.isin(shown, task["left_out"])
        shades: dict[str, Any] = {"c": rewards[shown[~won]], "cmap": colours, "norm": norm}
        axes.scatter(placed[~won, 0], placed[~won, 1], **DOT, **shades, edgecolors="#8c97a3")
        axes.scatter(*placed[won & ~left_out].T, **DOT, color=GREEN)
        axes.scatter(*placed[left_out].T, **DOT, facecolors="white", edgecolors=GREEN)
        axes.scatter(*np.reshape(task["map"]["centres"], (-1, 2)).T, **CENTRE)
        first, second = task["map"]["share"]
        axes.set_xlabel(f"component 1: {first:.0%} of the variance")
        axes.set_ylabel(f"component 2: {second:.0%}")
        axes.locator_params(nbins=5)
        axes.set_aspect("equal", adjustable="datalim")
    _legend(figure, grid[0], any(task["left_out"] for task in tasks))
    bar = ScalarMappable(norm, colours)
    figure.colorbar(bar, ax=grid, label="reward of a failure", aspect=25 * len(grid), fraction=0.05, pad=0.01)


def _legend(figure: Figure, axes: Axes, left_out: bool) -> None:
    axes.scatter([], [], **DOT, color=GREEN, label="success")
    if left_out:
        axes.scatter([], [], **DOT, facecolors="white", edgecolors=GREEN, label="success left out")
    axes.scatter([], [], **CENTRE, label="centre")
    figure.legend(loc="outside upper left", ncols=3)


def paint_curves(figure: Figure, tasks: Sequence[Task]) -> None:
    """A curve an episode, coloured by what it is."""
    for axes, task in zip(_grid(figure, tasks), tasks, strict=True):
        for curve in task["curves"]:
            colour, style = LINES[curve["kind"]]
            axes.plot(curve["steps"], curve["progress"], color=colour, linestyle=style, linewidth=1.6)
        axes.set_ylim(-0.02, 1.02)
        axes.set_xlim(left=0)
        axes.set_xlabel("control steps")
        axes.set_ylabel("progress")
    seen = {curve["kind"] for task in tasks for curve in task["curves"]}
    for kind, (colour, style) in LINES.items():
        if kind in seen:
            figure.axes[0].plot([], [], color=colour, linestyle=style, label=kind)
    figure.legend(loc="outside upper left", ncols=3)


def _draw(tasks: Sequence[Task], paint: Callable[[Figure], None], height: float) -> str:
    return draw(paint, height=0.4 + height * -(-len(tasks) // 2))


def _grid(figure: Figure, tasks: Sequence[Task]) -> list[Axes]:
    """A plot a task with its name, two a row."""
    rows = -(-len(tasks) // 2)
    grid = list(figure.subplots(rows, min(2, len(tasks)), squeeze=False).ravel())
    for axes in grid[len(tasks) :]:
        axes.remove()
    for axes, task in zip(grid, tasks, strict=False):
        axes.set_title(f"{task['task']} {short_name(task['name'])}")
    return grid[: len(tasks)]
