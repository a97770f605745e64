"""What `srpo bench policy` prints for people."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from srpo_cli.console import out, table

Row = Mapping[str, Any]


def show_policy(result: Row) -> None:
    """The result of `stages.bench.policy.bench.bench_policy`."""
    network, machine = result["network"], result["machine"]
    what = result["policy"] or f"{result['size']}, random weights"
    told = f"{network['parameters'] / 1e6:.1f} M parameters, {network['dtype']}, {network['weights_gb']:.3g} GB"
    out.print(f"{what}: {told}, ready in {network['seconds']:.1f} s")
    out.print(f"on {machine['name']}; torch {machine['torch']}, transformers {machine['transformers']}")
    _show("acting", ["images", "batch", "ms a query", "95 %", "action tokens/s", "peak GB"], result["act"], _act)
    title = "health: |ratio - 1| of the same queries in batches of other sizes"
    _show(title, ["batch", "other", "largest", "99 % below", "mean"], result["ratio"], _ratio)
    if "learner" in result:
        _show_updates(result)


def _show_updates(result: Row) -> None:
    learner = result["learner"]
    if "error" in learner:
        out.print(f"no update: {learner['error']}")
        return
    title = f"an update of 8 episodes x 15 queries: {learner['what']}, {learner['parameters'] / 1e6:.1f} M parameters"
    columns = ["micro-batch", "checkpointing", "s", "queries/s", "peak GB", "gradient norm"]
    _show(title, columns, result["update"], _update)


def _show(title: str, columns: list[str], rows: Sequence[Row], cells_of: Callable[[Row], list[Any]]) -> None:
    """A table of the rows that have figures, without empty columns, and a line for each of the others."""
    good = [cells_of(row) for row in rows if "error" not in row]
    kept = [i for i in range(len(columns)) if any(cells[i] != "" for cells in good)]
    if good:
        out.print(table(title, [columns[i] for i in kept], [[cells[i] for i in kept] for cells in good]))
    for row in rows:
        if "error" in row:
            about = ", ".join(f"{key} {value}" for key, value in row.items() if key != "error")
            out.print(f"{title.partition(':')[0]}, {about}: {row['error']}", markup=False, soft_wrap=True)


def _act(row: Row) -> list[Any]:
    ms = row["ms_query"]
    span = "-".join(f"{bound:.2f}" for bound in ms["interval"]) if ms["interval"] else ""
    finite = "" if row["finite"] else " (not finite)"
    return [row["images"], row["batch"], f"{ms['median']:.2f}{finite}", span, f"{row['tokens_s']:.0f}", _peak(row)]


def _ratio(row: Row) -> list[Any]:
    return [row["batch"], row["other"], *(f"{row[key]:.2g}" for key in ("max", "p99", "mean"))]


def _update(row: Row) -> list[Any]:
    figures = [f"{row['seconds']['median']:.2f}", f"{row['queries_s']:.1f}", _peak(row), f"{row['grad_norm'][-1]:.3g}"]
    return [row["micro"], "yes" if row["checkpointing"] else "no", *figures]


def _peak(row: Row) -> str:
    return "" if row["peak_gb"] is None else f"{row['peak_gb']:.1f}"
