"""What `srpo bench learning` prints for people, its summary for scripts, and its figure."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter

from srpo_cli.console import out, percent, table
from srpo_cli.report.charts import MANY, png
from stages.bench.learning.curves import WINDOW, Row, compare, costs, over_seeds
from stages.bench.learning.runs import Runs

LEVELS = (0.5, 0.8)
BASELINE = "binary"
LAST = 5
"""Iterations whose sampled success is averaged as `at the end`."""
AXES: dict[str, Callable[[Row], float]] = {
    "iteration": lambda row: row.iteration,
    "episodes": lambda row: row.episodes,
    "minutes of training": lambda row: row.seconds / 60,
}
ENDS = {"start_greedy": "greedy\nat start", "end_greedy": "greedy\nat end", "end_sampled": "sampled\nat end"}
MEASURES = ("iterations", "episodes", "seconds")
COSTS = ["arm", "iterations", "x binary", "episodes", "minutes", "x binary"]
NOTE = f"""\
Runs: seeds x iterations. Means over seeds with Student's 95 % interval. To a level: until the mean of {WINDOW}
iterations reaches it; > where a run never did and counts with all it spent. x binary: ratio of the means, 95 %
bootstrap interval over seeds, which share their start; > or < where a run of this arm or of binary never
reached the level, ? where of both. Minutes of collect, encode, reward and update on this machine (the interval
of their ratio: --json)."""


def summary(runs: Runs) -> list[dict[str, Any]]:
    """A record for every start and arm: success at the end, costs of each level, and their ratios to binary's."""
    records = []
    for (start, arm), seeds in runs.items():
        record: dict[str, Any] = {"start": start, "arm": arm, "seeds": sorted(seeds)}
        record["iterations"] = min(rows[-1].iteration for rows in seeds.values())
        record["start_greedy"] = _estimate([_greedy(rows)[0] for rows in seeds.values() if _greedy(rows)])
        record["end_greedy"] = _estimate([_greedy(rows)[-1] for rows in seeds.values() if _greedy(rows)])
        record["end_sampled"] = _estimate([_sampled_end(rows) for rows in seeds.values()])
        other = runs.get((start, BASELINE), {}) if arm != BASELINE else {}
        for level in LEVELS:
            spent = costs(seeds, level)
            record[f"to_{level:g}"] = {"by_seed": spent, "versus_binary": compare(seeds, other, level)}
        records.append(record)
    return records


def show_learning(records: Sequence[Mapping[str, Any]]) -> None:
    """The records of `summary` as a table a start and one a level, then what the columns mean."""
    if not records:
        out.print("no run of this shard, and none of the others' has made an iteration yet")
        return
    for start in dict.fromkeys(record["start"] for record in records):
        own = [record for record in records if record["start"] == start]
        ends = [[r["arm"], _size(r), *(_share(r[name]) for name in ENDS)] for r in own]
        out.print(table(f"{start} start", ["arm", "runs", *ENDS.values()], ends))
        for level in LEVELS:
            out.print(table(f"to {level:.0%} of sampled success", COSTS, [_cells(record, level) for record in own]))
    out.print(NOTE)


def draw_learning(runs: Runs, path: Path) -> None:
    """Success against iterations, episodes and minutes: held-out greedy above, sampled below; a colour an arm (PNG).

    Raises:
        UserError: the file cannot be written.
    """
    starts = list(dict.fromkeys(start for start, _ in runs))
    with png(path, 11, 5.6 * len(starts)) as figure:
        grid = figure.subplots(2 * len(starts), len(AXES), sharey=True, squeeze=False)
        for i, start in enumerate(starts):
            arms = {arm: list(seeds.values()) for (s, arm), seeds in runs.items() if s == start}
            for axes, (name, place) in zip(grid[2 * i], AXES.items(), strict=True):
                _paint(axes, arms, place, lambda row: row.greedy, name, f"greedy, held-out states ({start} start)")
            for axes, (name, place) in zip(grid[2 * i + 1], AXES.items(), strict=True):
                _paint(axes, arms, place, lambda row: row.sampled, name, f"sampled, training states ({start} start)")
        grid[0][0].legend(loc="lower right")


def _paint(
    axes: Axes,
    arms: Mapping[str, Sequence[Sequence[Row]]],
    place: Callable[[Row], float],
    value: Callable[[Row], float | None],
    name: str,
    title: str,
) -> None:
    """One panel: the mean over seeds at every iteration that all of them have, and its interval."""
    for colour, (arm, runs) in zip(MANY, arms.items(), strict=False):
        known = [{row.iteration: row for row in rows if value(row) is not None} for rows in runs]
        shared = sorted(set.intersection(*(set(rows) for rows in known)))
        x = [float(np.mean([place(rows[i]) for rows in known])) for i in shared]
        middle = [over_seeds([float(value(rows[i]) or 0.0) for rows in known]) for i in shared]
        label = f"{arm} ({len(runs)} seed{'s' if len(runs) > 1 else ''})"
        axes.plot(x, [m.mean for m in middle], color=colour, label=label, linewidth=1.6, marker="o", markersize=3)
        low, high = [max(m.low, 0.0) for m in middle], [min(m.high, 1.0) for m in middle]
        if len(runs) > 1:
            axes.fill_between(x, low, high, color=colour, alpha=0.12, linewidth=0)
    axes.set_ylim(0, 1.02)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.set_xlabel(name)
    axes.set_title(title, fontsize=9)


def _greedy(rows: Sequence[Row]) -> list[float]:
    return [row.greedy for row in rows if row.greedy is not None]


def _sampled_end(rows: Sequence[Row]) -> float:
    known = [row.sampled for row in rows[-LAST:] if row.sampled is not None]
    return float(np.mean(known)) if known else float("nan")


def _estimate(values: Sequence[float]) -> dict[str, float] | None:
    return asdict(over_seeds(values)) if values else None


def _cells(record: Mapping[str, Any], level: float) -> list[str]:
    """A row of the table of costs."""
    found = record[f"to_{level:g}"]
    spent, against = list(found["by_seed"].values()), found["versus_binary"]
    bound = "> " if any(one["censored"] for one in spent) else ""
    iterations, episodes, seconds = (np.mean([one[name] for one in spent]) for name in MEASURES)
    in_iterations, in_minutes = (_times(against[name]) if against else "-" for name in ("iterations", "seconds"))
    costs = [f"{bound}{iterations:.1f}", in_iterations, f"{bound}{episodes:.0f}"]
    return [record["arm"], *costs, f"{bound}{seconds / 60:.1f}", in_minutes.partition(" (")[0]]


def _size(record: Mapping[str, Any]) -> str:
    return f"{len(record['seeds'])} x {record['iterations']}"


def _share(estimate: Mapping[str, float] | None) -> str:
    if estimate is None:
        return "-"
    bounds = (max(estimate["low"], 0.0), min(estimate["high"], 1.0))
    return percent(estimate["mean"]) + ("" if np.isnan(bounds).any() else f" ({bounds[0]:.0%}-{bounds[1]:.0%})")


def _times(ratio: Mapping[str, float]) -> str:
    """`0.91 (0.82-1.06)`, without interval for one seed; a bound where one side has runs that never got there."""
    ours, theirs = ratio["censored"] > 0, ratio["censored_other"] > 0
    if ours and theirs:
        return "?"
    bound = "> " if ours else "< " if theirs else ""
    limits = "" if np.isnan(ratio["low"]) else f" ({ratio['low']:.2f}-{ratio['high']:.2f})"
    return f"{bound}{ratio['mean']:.2f}{limits}"
