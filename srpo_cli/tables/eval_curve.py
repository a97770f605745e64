"""What `srpo eval --run` prints, a line a policy in fixed columns as soon as it is evaluated, and its picture."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from data.errors import UserError
from srpo_cli.console import interval, out, percent
from srpo_cli.report.charts import BLUE, iteration_axis, percent_axis, png
from srpo_cli.tables.eval import asked, points
from stages.compare import p_cell

Record = Mapping[str, Any]


class CurveLines:
    """Takes the entries of `stages.evaluate_run.evaluate_run` one by one and prints through `write`."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write, self._headed = write, False

    def tell(self, row: Record) -> None:
        """Take the next policy."""
        if not self._headed:
            self._headed = True
            self._write(places(row))
            self._write(header(row["iteration"]))
        self._write(line(row))


def places(row: Record, most: int = 10) -> str:
    """What `asked` says, and the tasks: `...; tasks 2, 9`, or how many where they are too many to name."""
    numbers = [str(task["index"]) for task in row["tasks"]]
    named = f"tasks {', '.join(numbers)}" if len(numbers) > 1 else f"task {numbers[0]}"
    return f"{asked(row)}; {named if len(numbers) <= most else f'{len(numbers)} tasks'}"


def header(first: int) -> str:
    """The names of the columns; `first` is the policy that others are compared with."""
    return f"policy  episodes  success  95 % interval  against {first:03d}: won  lost  points            95 %         p"


def line(row: Record) -> str:
    """One policy: success, and its episodes against those of the first."""
    begin = f"   {row['iteration']:03d}  {row['n']:>8}  {percent(row['rate']):>7}  {interval(row['interval']):>13}"
    skipped = f"  ({row['skipped']} skipped for an error)" if row["skipped"] else ""
    pairs = row["first"]
    if pairs is None:
        return f"{begin}{skipped}"
    difference, bounds = points(pairs["difference"], pairs["interval"])
    won = f"{pairs['only_a']:>16}  {pairs['only_b']:>4}"
    return f"{begin}  {won}  {difference:>6}  {bounds:>14}  {p_cell(pairs['p']):>8}{skipped}"


def show_end(result: Record) -> None:
    """What stands below the lines."""
    rows = result["policies"]
    if len(rows) > 1:
        out.print(
            f"won, lost: episodes in which only this policy, or only {rows[0]['iteration']:03d}, succeeds; points with "
            f"their 95 % interval for pairs (Newcombe 1998, method 10); p: McNemar's exact test, two-sided, not "
            f"corrected for {len(rows) - 1} comparisons"
        )
    if result["gone"]:
        gone = ", ".join(f"{number:03d}" for number in result["gone"])
        out.print(f"left out: {gone}, which the run removed before their turn (its run.keep_policies)")
    out.print(result["verdict"], soft_wrap=True)
    fresh = sum(row["collected"] for row in rows)
    out.print(
        f"{'up to date' if not fresh else f'{fresh} episodes run'}; kept in {result['kept']}",
        soft_wrap=True,
        markup=False,
    )


def draw_curve(result: Record, path: Path) -> None:
    """Success of every policy with its 95 % interval against its iteration (PNG).

    Raises:
        UserError: the file cannot be written, or no episode was finished.
    """
    rows = [row for row in result["policies"] if row["n"]]
    if not rows:
        raise UserError(
            f"no episode of {result['run']} was finished, so there is no curve; `srpo inspect` tells their errors"
        )
    numbers = [row["iteration"] for row in rows]
    rates, bounds = np.array([row["rate"] for row in rows]), np.array([row["interval"] for row in rows])
    with png(path, 9.6, 4.0) as figure:
        axes = figure.subplots()
        axes.fill_between(numbers, bounds[:, 0], bounds[:, 1], color=BLUE, alpha=0.12, linewidth=0)
        bars = np.maximum([rates - bounds[:, 0], bounds[:, 1] - rates], 0)
        axes.errorbar(numbers, rates, yerr=bars, color=BLUE, fmt="o-", capsize=3, elinewidth=1.3)
        percent_axis(axes)
        iteration_axis(axes)
        name = Path(result["run"]).resolve().name
        axes.set_title(f"{name}: {_counts(rows)} episodes a policy, 95 % Wilson intervals\n{places(rows[0])}")


def _counts(rows: list[Record]) -> str:
    counts = {row["n"] for row in rows}
    return str(min(counts)) if len(counts) == 1 else f"{min(counts)} to {max(counts)}"
