"""The boxes of a report about a run: each takes the rows of `history` and gives HTML, or nothing where nothing is."""

from collections.abc import Mapping, Sequence
from typing import Any

from srpo_cli.console import interval, percent
from srpo_cli.report import charts, history, page
from srpo_cli.report.text import ITERATION_COLUMNS, ITERATION_NOTE, iteration_row

Rows = Sequence[Mapping[str, Any]]
HEALTH = {
    "approx_kl": "approximate KL a token",
    "clip_fraction": "clipped share of tokens",
    "entropy": "entropy a token (nats)",
    "grad_norm": "gradient norm before clipping",
    "advantage_std": "spread of the advantages",
    "groups_kept": "groups with variance",
}


def headline(rows: Rows) -> str:
    """First and last success, and what the last evaluation found."""
    items = []
    collected = [row for row in rows if history.value(row, "collect", "rate") is not None]
    for row in collected[:1] + collected[1:][-1:]:
        items.append((f"success, iteration {row['iteration']}", *_rate(row["collect"])))
    evaluated = [row for row in rows if history.value(row, "eval", "rate") is not None]
    for row in evaluated[-1:]:
        rate, note = _rate(row["eval"])
        overlap = row["eval"].get("trained_on")
        seen = "" if overlap is None else f"; {overlap} of them start where training did"
        items.append((_evaluation(rows), rate, note + seen))
    total = sum(sum(column) for column in history.seconds(rows).values())
    if collected:
        items.append(("all stages", _duration(total), f"{len(collected)} iterations"))
    return page.cards(items) if items else ""


def success(rows: Rows) -> str:
    """The success curve, and one for each task where there are several."""
    sampled, evaluated = history.series(rows, "collect", "rate"), history.series(rows, "eval", "rate")
    if not sampled[0] and not evaluated[0]:
        return ""
    bands = history.intervals(rows, "collect"), history.intervals(rows, "eval")
    lead = (
        "Share of episodes that reach the goal, with 95 % Wilson intervals. Iteration i is rolled out with policy i-1; "
        "an evaluation at i is of policy i, or of the mean of the last ones to it."
    )
    parts = [page.chart(charts.success_curve(sampled, bands[0], evaluated, bands[1], _evaluation(rows)))]
    tasks = history.task_rates(rows, "collect")
    if len(tasks) > 1 and len(sampled[0]) > 1:
        parts += [page.heading("Each task, sampled"), page.chart(charts.task_curves(tasks))]
    return page.section("Success", lead, *parts)


def rewards(rows: Rows) -> str:
    """What the failures were given, over the iterations."""
    found = [(row["iteration"], history.failure_reward(row)) for row in rows]
    kept = [(number, triple) for number, triple in found if triple is not None]
    if not kept:
        return ""
    low, mean, high = (list(column) for column in zip(*[triple for _, triple in kept], strict=True))
    lead = (
        "A success gets 1; a failure gets more the nearer its trajectory came, in the world model, to the successes of "
        "the same batch. Rewards are relative to the batch, so a level mean is what to expect; a range of zero means "
        "that failures could not be told apart."
    )
    return page.section(
        "Rewards of the failures", lead, page.chart(charts.reward_history(_numbers(kept), low, mean, high))
    )


def health(rows: Rows) -> str:
    """The figures to watch of the policy updates."""
    curves = {words: history.series(rows, "update", key) for key, words in HEALTH.items()}
    curves = {words: curve for words, curve in curves.items() if curve[0]}
    if not curves:
        return ""
    lead = (
        "Means over each update. A KL that grows from iteration to iteration, a clipped share above about 0.3, or an "
        "entropy that collapses or climbs without end are the usual signs of a learning rate that is too high."
    )
    return page.section("Health of the updates", lead, page.chart(charts.small_multiples(curves)))


def times(rows: Rows) -> str:
    """Seconds of each stage."""
    later = [row for row in rows if row["iteration"] > 0]
    seconds = history.seconds(later)
    if not seconds:
        return ""
    start = {stage: column[0] for stage, column in history.seconds(rows[:1]).items() if rows[0]["iteration"] == 0}
    before = ", ".join(f"{stage} {_duration(value)}" for stage, value in start.items())
    lead = f"Before the first iteration: {before}." if before else ""
    numbers = [row["iteration"] for row in later]
    return page.section("Time", lead, page.chart(charts.stacked_seconds(numbers, seconds)), *_shares(later))


def _shares(rows: Rows) -> list[str]:
    found = sorted(history.shares(rows).items(), key=lambda item: -item[1])
    if not found:
        return []
    title = page.heading("Shares of the wall time of all iterations")
    return [title, page.table([name for name, _ in found], [[percent(share) for _, share in found]])]


def numbers(rows: Rows) -> str:
    """All iterations as a table, folded."""
    lines = [iteration_row(row) for row in rows]
    made = page.table(ITERATION_COLUMNS, lines, range(len(ITERATION_COLUMNS)))
    return page.section("Numbers", ITERATION_NOTE, page.folded(f"Table of {len(lines)}", made))


def settings(sections: Mapping[str, Mapping[str, Any]], versions: Mapping[str, Any]) -> str:
    """Every setting of the run, and the versions it ran with."""
    rows = [(section, key, value) for section, values in sections.items() for key, value in values.items()]
    parts = [page.folded(f"{len(rows)} settings", page.table(("section", "setting", "value"), rows))] if rows else []
    if versions:
        parts.append(page.table(("package", "version"), sorted(versions.items())))
    return page.section("Settings and versions", "", *parts) if parts else ""


def _evaluation(rows: Rows) -> str:
    """Of what and on what the last evaluation was: `evaluation, mean of the last 10, heldout states, greedy`."""
    line: Mapping[str, Any] = next((row["eval"] for row in reversed(rows) if "eval" in row), {})
    heat = line.get("temperature")
    how = [] if heat is None else ["greedy" if heat == 0 else f"temperature {heat:g}"]
    what = [f"{line['inits']} states"] if line.get("inits") else []
    averaged = line.get("averaged", 1)
    whose = [f"mean of the last {averaged}"] if averaged > 1 else []
    return ", ".join(["evaluation", *whose, *what, *how])


def _numbers(kept: Sequence[tuple[int, Any]]) -> list[int]:
    return [number for number, _ in kept]


def _rate(line: Mapping[str, Any]) -> tuple[str, str]:
    return percent(line["rate"]), f"{line['successes']} of {line['n']}, 95 %: {interval(line['interval'])}"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
