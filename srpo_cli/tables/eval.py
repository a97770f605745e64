"""What `srpo eval --against` prints for people."""

from collections.abc import Mapping
from typing import Any

from srpo_cli.console import interval, out, percent, table
from srpo_cli.tables.rates import work
from stages.compare import p_cell

NOTES = (
    "only A, only B: episodes in which the one succeeds and the other does not. A - B in points, 95 % interval for "
    "pairs (Newcombe 1998, method 10). p: McNemar's exact test, two-sided; those of single tasks are not corrected for "
    "their number. All this is about these two policies on these tasks; ways of training need several seeds."
)


def show_comparison(result: Mapping[str, Any]) -> None:
    """The result of `stages.compare.compare`."""
    a, b = result["a"], result["b"]
    out.print(f"A: {a['folder']}\nB: {b['folder']}", soft_wrap=True, markup=False)
    out.print(table(f"success, {asked(a)}", ["task", "instruction", "n", "A", "95 %", "B", "95 %"], _rates(result)))
    columns = ["task", "both", "only A", "only B", "neither", "A - B", "95 %", "p"]
    out.print(table("the same episodes, paired", columns, _pairs(result)))
    out.print(NOTES)
    if result["same"]:
        out.print("A and B are the same policy (equal weights): they cannot differ but by a fault of the simulator")
    out.print(result["verdict"], soft_wrap=True)
    for name, side in (("A", a), ("B", b)):
        out.print(f"{name}: {_where(side)}", soft_wrap=True, markup=False)
    if result["skipped"]:
        out.print(f"{result['skipped']} pairs left out, for one of their episodes was skipped for an error")
    out.print("  ".join(f"{name} {version}" for name, version in a["versions"].items()))


def asked(result: Mapping[str, Any]) -> str:
    """`libero_object, initial states heldout, greedy, horizon 160, lite look`"""
    how = "greedy" if result["temperature"] == 0 else f"temperature {result['temperature']:g}"
    where = f"{result['suite']}, initial states {result['inits']}"
    return f"{where}, {how}, horizon {result['horizon']}, {result['look']} look"


def points(difference: float, bounds: tuple[float, float] | list[float]) -> tuple[str, str]:
    """A difference of rates and its interval in points: `+12.0`, `-3.1 to +27.0`."""
    return f"{100 * difference:+.1f}", f"{100 * bounds[0]:+.1f} to {100 * bounds[1]:+.1f}"


def _rates(result: Mapping[str, Any]) -> list[list[Any]]:
    def cells(part: Mapping[str, Any]) -> list[Any]:
        a, b = part["success_a"], part["success_b"]
        return [part["n"], percent(a["rate"]), interval(a["interval"]), percent(b["rate"]), interval(b["interval"])]

    rows = [[task["index"], task["instruction"], *cells(task)] for task in result["tasks"]]
    return [*rows, ["all", "", *cells(result)]]


def _pairs(result: Mapping[str, Any]) -> list[list[Any]]:
    def cells(part: Mapping[str, Any]) -> list[Any]:
        counts = [part[key] for key in ("both", "only_a", "only_b", "neither")]
        return [*counts, *points(part["difference"], part["interval"]), p_cell(part["p"])]

    return [*([task["index"], *cells(task)] for task in result["tasks"]), ["all", *cells(result)]]


def _where(side: Mapping[str, Any]) -> str:
    """How many of a policy's episodes start where it was trained, where they are kept and what they took."""
    count = side["trained_on"]
    overlap = "an unknown number" if count is None else f"{count} of {side['n']}"
    kept = f"; kept in {side['store']}" if side["store"] else ""
    took = "up to date" if side["up_to_date"] else work(side)
    return f"{overlap} of the episodes start where it was trained{kept}; {took}"
