"""Drawings: those of a report as SVG texts with selectable labels, equal bytes for equal inputs; others as PNG files.

Legend: I iterations, n episodes.
"""

import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from data.errors import UserError

BLUE, ORANGE, GREEN, GREY = "#2f6690", "#d17a22", "#3a7d44", "#5f6c7b"
MANY = ("#2f6690", "#d17a22", "#3a7d44", "#9a4c95", "#b5485d", "#4aa3a2", "#8a6d3b", "#6a7fdb", "#7f8c2a", "#5f6c7b")
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "srpo",
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#b8c2cc",
    "axes.labelcolor": GREY,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "xtick.color": GREY,
    "ytick.color": GREY,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e9edf1",
    "legend.frameon": False,
    "lines.linewidth": 2,
    "lines.markersize": 5,
}
Band = tuple[Sequence[float], Sequence[float]]
Curve = tuple[Sequence[int], Sequence[float]]


def draw(paint: Callable[[Figure], None], width: float = 9.6, height: float = 3.4) -> str:
    """A figure painted in the report's style, as an SVG element."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        paint(figure)
        text = io.StringIO()
        FigureCanvasSVG(figure).print_svg(text, metadata={"Date": None, "Creator": None})
    return _inline(text.getvalue())


@contextmanager
def png(path: Path, width: float, height: float) -> Iterator[Figure]:
    """A figure to paint in the report's style, which is then written to `path`.

    Raises:
        UserError: the file cannot be written.
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        yield figure
        try:
            FigureCanvasAgg(figure).print_png(str(path))
        except OSError as error:
            raise UserError(f"cannot write {path} ({error.strerror}); choose another file") from error


def _inline(svg: str) -> str:
    """An SVG document as an element of a page: the page's font, and no names that another drawing has too."""
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    svg = re.sub(r"font-family: [^;\"]*", "font-family: inherit", svg)
    svg = re.sub(r' id="[A-Za-z0-9.]+_\d+"', "", svg)
    return svg.replace("<svg ", '<svg role="img" ', 1)


def success_curve(sampled: Curve, band: Band, evaluated: Curve, evaluated_band: Band, words: str) -> str:
    """Success against iterations: sampled in training, and evaluations (described by `words`) as points."""

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        if sampled[0]:
            axes.fill_between(sampled[0], *band, color=BLUE, alpha=0.15, linewidth=0)
            axes.plot(*sampled, color=BLUE, marker="o", label="sampled, training states")
        if evaluated[0]:
            rates = np.asarray(evaluated[1])
            below, above = rates - evaluated_band[0], np.asarray(evaluated_band[1]) - rates
            bars = np.maximum([below, above], 0)
            axes.errorbar(*evaluated, yerr=bars, color=ORANGE, fmt="s", capsize=3, elinewidth=1.3, label=words)
        percent_axis(axes)
        iteration_axis(axes)
        axes.legend(loc="upper left")

    return draw(paint)


def task_curves(curves: Mapping[str, Curve]) -> str:
    """Sampled success of each task against iterations."""

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        for i, (task, curve) in enumerate(curves.items()):
            axes.plot(*curve, color=MANY[i % len(MANY)], marker="o", markersize=3, label=short_name(task))
        percent_axis(axes)
        iteration_axis(axes)
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=8.5)

    return draw(paint)


def reward_history(numbers: Sequence[int], low: Sequence[float], mean: Sequence[float], high: Sequence[float]) -> str:
    """Rewards of the failures against iterations: mean, and the range from the lowest to the highest."""

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        axes.fill_between(numbers, low, high, color=BLUE, alpha=0.12, linewidth=0, label="lowest to highest")
        axes.plot(numbers, mean, color=BLUE, marker="o", label="mean of the failures")
        axes.set_ylim(0, 1)
        axes.set_ylabel("reward")
        iteration_axis(axes)
        axes.legend(loc="upper left")

    return draw(paint, height=2.8)


def reward_strips(rewards: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> str:
    """Every episode as a dot at its reward, a row a task: task -> ((n,) rewards, (n,) success)."""

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        for row, (values, success) in enumerate(rewards.values()):
            for mask, color in ((~success, BLUE), (success, GREEN)):
                spread = _spread(values[mask])
                axes.scatter(values[mask], row + spread, s=18, color=color, alpha=0.65, linewidths=0)
        axes.scatter([], [], s=18, color=BLUE, label="failure")
        axes.scatter([], [], s=18, color=GREEN, label="success")
        axes.set_yticks(range(len(rewards)), list(rewards), fontsize=9)
        axes.set_ylim(len(rewards) - 0.5, -0.5)
        axes.set_xlim(-0.03, 1.05)
        axes.set_xlabel("reward")
        figure.legend(loc="outside upper left", ncols=2)

    return draw(paint, height=1.2 + 0.55 * len(rewards))


def small_multiples(curves: Mapping[str, Curve]) -> str:
    """One small plot a figure of health, three a row."""

    def paint(figure: Figure) -> None:
        rows = -(-len(curves) // 3)
        grid = figure.subplots(rows, 3, squeeze=False).ravel()
        for axes, (name, curve) in zip(grid, curves.items(), strict=False):
            axes.plot(*curve, color=BLUE, marker="o", markersize=3)
            axes.set_title(name)
            axes.set_ylim(bottom=min(0.0, *curve[1]))
            _whole_numbers(axes, ticks=6)
        for axes in grid[len(curves) :]:
            axes.set_visible(False)

    return draw(paint, height=2.1 * -(-len(curves) // 3))


def stacked_seconds(numbers: Sequence[int], seconds: Mapping[str, Sequence[float]]) -> str:
    """Seconds of each stage, one bar an iteration."""

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        base = np.zeros(len(numbers))
        for i, (stage, column) in enumerate(seconds.items()):
            axes.bar(numbers, column, bottom=base, width=0.7, color=MANY[i], label=stage)
            base += np.asarray(column)
        axes.set_ylabel("seconds")
        axes.grid(visible=False, axis="x")
        iteration_axis(axes)
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))

    return draw(paint, height=2.8)


def short_name(task: str, most: int = 42) -> str:
    """A task's name, readable in a legend."""
    words = task.replace("_", " ").removeprefix("pick up the ")
    words = words.removesuffix(" and place it in the basket").removesuffix(" and place it on the plate")
    return words if len(words) <= most else words[: most - 1] + "…"


def percent_axis(axes: Axes) -> None:
    """Success from 0 to 100 %, upwards."""
    axes.set_ylim(0, 1.02)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.set_ylabel("success")


def iteration_axis(axes: Axes) -> None:
    """Iterations, to the right."""
    axes.set_xlabel("iteration")
    _whole_numbers(axes)


def _whole_numbers(axes: Axes, ticks: int = 9) -> None:
    """Ticks at iterations only, also where there is just one."""
    low, high = axes.get_xlim()
    if high - low < 1:
        middle = round((low + high) / 2)
        axes.set_xlim(middle - 0.5, middle + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=ticks, min_n_ticks=1))


def _spread(values: np.ndarray, bins: int = 60, step: float = 0.07, most: float = 0.38) -> np.ndarray:
    """Vertical offsets in [-most, most] that keep dots of nearly equal value apart."""
    offsets = np.zeros(len(values))
    cells = np.round(values * bins).astype(int)
    for cell in np.unique(cells):
        members = np.flatnonzero(cells == cell)
        ladder = (np.arange(len(members)) - (len(members) - 1) / 2) * step
        offsets[members] = ladder * min(1.0, most / max(np.abs(ladder).max(), 1e-9))
    return offsets
