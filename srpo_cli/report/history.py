"""The course of a run, from its metrics.jsonl: one row per iteration, whatever stages are there."""

from collections.abc import Iterable, Mapping
from typing import Any

STAGES = ("collect", "encode", "reward", "update", "eval")
HEALTH = ("approx_kl", "clip_fraction", "entropy", "grad_norm", "advantage_std", "groups_used")


def iterations(metrics: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows {iteration, STAGE: its line, ...} in order of iterations; a stage logged twice counts as logged last."""
    rows: dict[int, dict[str, Any]] = {}
    for line in metrics:
        number = int(line["iteration"])
        rows.setdefault(number, {"iteration": number})[str(line["stage"])] = dict(line)
    return [rows[number] for number in sorted(rows)]


def value(row: Mapping[str, Any], stage: str, key: str) -> Any:
    """One number of one stage of a row; none where it was not logged."""
    return row.get(stage, {}).get(key)


def series(rows: Iterable[Mapping[str, Any]], stage: str, key: str) -> tuple[list[int], list[float]]:
    """The iterations that logged a number, and the numbers."""
    pairs = [(row["iteration"], value(row, stage, key)) for row in rows]
    kept = [(number, float(found)) for number, found in pairs if found is not None]
    return [number for number, _ in kept], [found for _, found in kept]


def intervals(rows: Iterable[Mapping[str, Any]], stage: str) -> tuple[list[float], list[float]]:
    """Lower and upper bounds of the success rate, in the order of `series(rows, stage, "success_rate")`."""
    kept = [row[stage] for row in rows if value(row, stage, "success_rate") is not None]
    bounds = [line.get("interval") or (line["success_rate"], line["success_rate"]) for line in kept]
    return [float(low) for low, _ in bounds], [float(high) for _, high in bounds]


def seconds(rows: Iterable[Mapping[str, Any]]) -> dict[str, list[float]]:
    """Stage -> seconds in each row, 0 where it did not run; stages that never ran are left out."""
    rows = list(rows)
    times = {stage: [float(value(row, stage, "seconds") or 0) for row in rows] for stage in STAGES}
    return {stage: column for stage, column in times.items() if any(column)}


def per_task(rows: Iterable[Mapping[str, Any]]) -> dict[str, tuple[list[int], list[float]]]:
    """Task -> iterations and sampled success rates, where `collect` logged them per task.

    `per_task` of a line is a list of {index, rate, ...} or a mapping from task to a rate or {rate, ...}.
    """
    curves: dict[str, tuple[list[int], list[float]]] = {}
    for row in rows:
        for task, rate in _rates(value(row, "collect", "per_task")):
            numbers, rates = curves.setdefault(task, ([], []))
            numbers.append(row["iteration"])
            rates.append(rate)
    return curves


def _rates(logged: Any) -> list[tuple[str, float]]:
    if not logged:
        return []
    if isinstance(logged, Mapping):
        return [(str(k), float(v.get("rate", 0) if isinstance(v, Mapping) else v)) for k, v in logged.items()]
    return [(str(entry["index"]), float(entry["rate"])) for entry in logged]
