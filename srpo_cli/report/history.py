"""The course of a run, from its metrics.jsonl: one row per iteration, whatever stages are there.

A row is {"iteration": i, STAGE: that stage's line, ...}; iteration 0 is the start. Legend: I rows.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from data.runs import ITERATION_STAGES

STAGES = ("start", "demo", "sft", *ITERATION_STAGES, "eval")
STAGE_WORDS = {
    "collect": "collection",
    "encode": "encoding",
    "reward": "reward",
    "refill": "further rounds",
    "update": "update",
    "eval": "evaluation",
}
COLLECT_WORDS = {"stepping": "stepping", "rendering": "rendering", "policy": "policy", "other": "recording"}
Curve = tuple[list[int], list[float]]


def iterations(metrics: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The rows in order; a stage logged twice counts as logged last."""
    rows: dict[int, dict[str, Any]] = {}
    for line in metrics:
        number = int(line["iteration"])
        rows.setdefault(number, {"iteration": number})[str(line["stage"])] = dict(line)
    return [rows[number] for number in sorted(rows)]


def value(row: Mapping[str, Any], stage: str, key: str) -> Any:
    """What a stage logged under `key`, be it beside or within its `health`; none where it did not."""
    line = row.get(stage, {})
    found = line.get(key)
    return line.get("health", {}).get(key) if found is None else found


def series(rows: Iterable[Mapping[str, Any]], stage: str, key: str) -> Curve:
    """The iterations that logged a number, and the numbers."""
    pairs = [(row["iteration"], value(row, stage, key)) for row in rows]
    kept = [(number, float(found)) for number, found in pairs if found is not None]
    return [number for number, _ in kept], [found for _, found in kept]


def intervals(rows: Iterable[Mapping[str, Any]], stage: str) -> tuple[list[float], list[float]]:
    """Lower and upper bounds of the success rate, in the order of `series(rows, stage, "rate")`."""
    bounds = [value(row, stage, "interval") for row in rows if value(row, stage, "rate") is not None]
    return [float(low) for low, _ in bounds], [float(high) for _, high in bounds]


def seconds(rows: Iterable[Mapping[str, Any]]) -> dict[str, list[float]]:
    """Stage -> (I,) seconds, 0 where it did not run; stages that never ran are left out."""
    rows = list(rows)
    times = {stage: [float(value(row, stage, "seconds") or 0) for row in rows] for stage in STAGES}
    return {stage: column for stage, column in times.items() if any(column)}


def shares(rows: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """What the wall time of the iterations went into, as shares that add to 1; empty where nothing was timed.

    The start (iteration 0, its evaluation included) is no part of it. The time of collection is divided by the
    processor time of its parts over the cores that it could use; what is left of it is `waiting`, but for what a call
    took that was stopped halfway, which is `collection`. `between stages` is what no stage took.
    """
    parts: dict[str, float] = {}
    for row in rows:
        if row["iteration"] == 0:
            continue
        for stage in STAGE_WORDS:
            line = row.get(stage, {})
            if "pause" in line:
                parts["between stages"] = parts.get("between stages", 0.0) + float(line["pause"])
                for name, spent in _parts(stage, line).items():
                    parts[name] = parts.get(name, 0.0) + spent
    total = sum(parts.values())
    return {name: spent / total for name, spent in parts.items()} if total else {}


def _parts(stage: str, line: Mapping[str, Any]) -> dict[str, float]:
    """Wall seconds of a stage by what they went into."""
    total, cpu = float(line["seconds"]), line.get("cpu_seconds")
    if stage != "collect" or not cpu:
        return {STAGE_WORDS[stage]: total}
    width = min(int(line["cores"]), int(line["workers"]) + 1)
    parts = {COLLECT_WORDS[name]: float(spent) / width for name, spent in cpu.items()}
    earlier = float(line.get("earlier_seconds", 0.0))
    parts |= {STAGE_WORDS[stage]: earlier} if earlier else {}
    return {**parts, "waiting": max(0.0, total - sum(parts.values()))}


def task_rates(rows: Iterable[Mapping[str, Any]], stage: str) -> dict[str, Curve]:
    """Task name -> the iterations in which it has episodes, and its success rates."""
    curves: dict[str, Curve] = {}
    for row in rows:
        for task in value(row, stage, "tasks") or []:
            numbers, rates = curves.setdefault(task["name"], ([], []))
            if task["n"]:
                numbers.append(row["iteration"])
                rates.append(float(task["rate"]))
    return curves


def failure_reward(row: Mapping[str, Any]) -> tuple[float, float, float] | None:
    """Lowest, mean and highest reward of an iteration's failures over all tasks; none without failures."""
    tasks = [task for task in value(row, "reward", "tasks") or [] if task.get("failure_reward")]
    if not tasks:
        return None
    failures = sum(task["failures"] for task in tasks)
    mean = sum(task["failures"] * task["failure_reward"][1] for task in tasks) / failures
    return min(t["failure_reward"][0] for t in tasks), mean, max(t["failure_reward"][2] for t in tasks)
