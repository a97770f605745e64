"""From the metrics of runs to learning curves, and what can be said of them over seeds. Pure.

Legend: S seeds, I iterations. A run's rows are one an iteration, iteration 0 its start.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy import stats

from data.runs import ITERATION_STAGES

WINDOW = 3
"""Iterations that a level is judged over: the sampled success of one is of 64 episodes, say, +-12 %."""


@dataclass(frozen=True)
class Row:
    """A run after one of its iterations."""

    iteration: int
    episodes: int
    """rolled out so far"""
    seconds: float
    """of training so far, without the start and without evaluations, which are the experimenter's own"""
    sampled: float | None
    """success of the (first round of) rollouts of this iteration, in [0, 1]; none for the start, or of no episode"""
    greedy: float | None
    """success of the evaluation after it, where there was one"""
    greedy_n: int | None


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds and its 95 % interval; NaN limits where one seed says nothing about the others."""

    mean: float
    low: float
    high: float


def curve(metrics: Iterable[Mapping[str, Any]]) -> list[Row]:
    """The rows of a run from its metrics.jsonl, for iterations that are whole."""
    by_iteration: dict[int, dict[str, Mapping[str, Any]]] = {}
    for line in metrics:
        by_iteration.setdefault(line["iteration"], {})[line["stage"]] = line
    rows: list[Row] = []
    episodes, seconds = 0, 0.0
    for number, stages in sorted(by_iteration.items()):
        if number and "update" not in stages:
            break
        collected, evaluated = stages.get("collect"), stages.get("eval")
        episodes += sum(int(stages[name]["n"]) for name in ("collect", "refill") if name in stages)
        seconds += sum(float(stages[name]["seconds"]) for name in ITERATION_STAGES if name in stages)
        sampled = collected["rate"] if collected else None
        greedy, n = (evaluated["rate"], int(evaluated["n"])) if evaluated else (None, None)
        rows.append(Row(number, episodes, seconds, sampled, greedy, n))
    return rows


def reached(rows: Sequence[Row], level: float, window: int = WINDOW) -> Row | None:
    """The first row up to which the sampled success of the last `window` iterations is at least `level` on average."""
    trained = [row for row in rows if row.sampled is not None]
    for end in range(window, len(trained) + 1):
        if np.mean([row.sampled for row in trained[end - window : end] if row.sampled is not None]) >= level:
            return trained[end - 1]
    return None


def over_seeds(values: Sequence[float]) -> Estimate:
    """Student's interval of the mean of (S,) values (Student 1908): with three seeds it is wide, and rightly so."""
    mean, n = float(np.mean(values)), len(values)
    if n < 2:
        return Estimate(mean, float("nan"), float("nan"))
    half = float(stats.t.ppf(0.975, n - 1) * np.std(values, ddof=1) / np.sqrt(n))
    return Estimate(mean, mean - half, mean + half)


def ratio(ours: Sequence[float], theirs: Sequence[float], resamples: int = 10_000, seed: int = 0) -> Estimate:
    """Mean of `ours` over mean of `theirs`, both (S,), with the percentile bootstrap interval over paired seeds.

    A seed's runs share their start, so seeds are drawn as pairs (Efron 1979). Three seeds have ten different resamples:
    the interval is then about the range of what single seeds say.
    """
    a, b = np.asarray(ours, float), np.asarray(theirs, float)
    if len(a) < 2:
        return Estimate(float(a.mean() / b.mean()), float("nan"), float("nan"))
    rows = np.random.default_rng(seed).integers(len(a), size=(resamples, len(a)))
    low, high = np.quantile(a[rows].mean(1) / b[rows].mean(1), [0.025, 0.975])
    return Estimate(float(a.mean() / b.mean()), float(low), float(high))


def costs(runs: Mapping[int, Sequence[Row]], level: float) -> dict[int, dict[str, float]]:
    """What each seed's run took to reach a level: iterations, episodes, seconds; `censored` 1 where it never did.

    A run that never did counts with what it spent, which is a lower bound.
    """
    found = {}
    for seed, rows in runs.items():
        row = reached(rows, level)
        end = row or rows[-1]
        spent = {"iterations": end.iteration, "episodes": end.episodes, "seconds": end.seconds}
        found[seed] = {**spent, "censored": float(row is None)}
    return found


def compare(
    runs: Mapping[int, Sequence[Row]], others: Mapping[int, Sequence[Row]], level: float
) -> dict[str, dict[str, Any]]:
    """Per measure of `costs`: the ratio over the seeds that both have, with its interval, and who never got there.

    Returns:
        iterations, episodes, seconds -> mean, low, high, seeds, censored and censored_other (numbers of runs).
    """
    seeds = sorted(runs.keys() & others.keys())
    if not seeds:
        return {}
    ours, theirs = costs(runs, level), costs(others, level)
    told = {"seeds": len(seeds)}
    told |= {"censored": int(sum(ours[s]["censored"] for s in seeds))}
    told |= {"censored_other": int(sum(theirs[s]["censored"] for s in seeds))}
    return {
        measure: {**asdict(ratio([ours[s][measure] for s in seeds], [theirs[s][measure] for s in seeds])), **told}
        for measure in ("iterations", "episodes", "seconds")
    }
