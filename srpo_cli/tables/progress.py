"""What `srpo bench progress` prints for people, and its picture."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes

from srpo_cli.console import out, table
from srpo_cli.report.charts import GREY, MANY, png

STAGES = ("nothing reached", "reached", "grasped", "lifted", "above target", "placed")
PAPER, TRUTH = ("sc", "mono", "mmd", "js", "smd"), ("rank", "pairs")
TITLES = {"sc": "SC", "mono": "Mono", "mmd": "MMD", "js": "JS", "smd": "SMD", "rank": "rank", "pairs": "pairs"}
SHORT = {"agentview": "agent", "robot0_eye_in_hand": "hand"}
LEGEND = """\
SC: Spearman correlation of a success's progress with time; Mono: share of its steps that go up; MMD, JS, SMD: how far
apart successes and failures end (arXiv 2511.15605, Table 3); rank: Spearman correlation of a failure's reward with its
true progress; pairs: how often the failure that got further has the higher reward. Means over tasks, 95 % bootstrap
intervals over episodes. own end: a success against its own last frame, as the paper does; held out: against others."""


def show_progress(result: Mapping[str, Any]) -> None:
    """The result of `stages.bench.progress.bench_progress`."""
    failures = ", ".join(f"{n} {stage}" for n, stage in zip(result["failures_by_stage"], STAGES, strict=True) if n)
    tasks = ", ".join(map(str, result["tasks"]))
    out.print(f"{result['episodes']} episodes of tasks {tasks}: {result['successes']} successes; failures: {failures}")
    for protocol, measures in (("held out", (*TRUTH, *PAPER)), ("own end", PAPER)):
        rows = [row for row in result["rows"] if row["protocol"] == protocol]
        cells = [
            [row["world_model"], SHORT[row["camera"]], row["distance"], *(_cell(row[name]) for name in measures)]
            for row in rows
        ]
        title = f"progress signals, references {protocol}" if protocol == "held out" else "the paper's protocol"
        out.print(table(title, ["world model", "camera", "distance", *(TITLES[name] for name in measures)], cells))
    out.print(LEGEND)
    best = result["best"]
    out.print(f"best by rank: {best['world_model']}, {SHORT[best['camera']]}, {best['distance']}")


def draw_progress(result: Mapping[str, Any], path: Path) -> None:
    """Rank correlation with true progress and SC of every signal with references held out, with intervals (PNG).

    Raises:
        UserError: the file cannot be written.
    """
    rows = [row for row in result["rows"] if row["protocol"] == "held out"]
    with png(path, 10, 1.4 + 0.32 * len(rows)) as figure:
        left, right = figure.subplots(1, 2, sharey=True)
        _intervals(left, rows, "rank", "rank correlation of reward with true progress, failures")
        _intervals(right, rows, "sc", "SC: correlation of progress with time, successes")
        left.set_yticks(range(len(rows)), [_name(row) for row in rows], fontsize=8.5)
        left.set_ylim(len(rows) - 0.4, -0.6)


def _intervals(axes: Axes, rows: Sequence[Mapping[str, Any]], name: str, title: str) -> None:
    models = list(dict.fromkeys(row["world_model"] for row in rows))
    for place, row in enumerate(rows):
        estimate, low, high = row[name]
        colour = MANY[models.index(row["world_model"]) % len(MANY)]
        axes.plot([low, high], [place, place], color=colour, linewidth=2)
        axes.plot([estimate], [place], color=colour, marker="o")
    axes.axvline(0, color=GREY, linewidth=0.8)
    axes.set_title(title, fontsize=9)


def _name(row: Mapping[str, Any]) -> str:
    return f"{row['world_model']}, {SHORT[row['camera']]}: {row['distance']}"


def _cell(value: Sequence[float]) -> str:
    """`0.98 (0.96-0.99)`; one number where there is no interval."""
    estimate, low, high = value
    if estimate != estimate:
        return "-"
    digits = 2 if abs(estimate) < 10 else 0
    return f"{estimate:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"
