"""The policies of a run, one after the other, on the very same episodes: the course of its success, with intervals.

Every policy has a store of its own in a folder named after what was asked, so that the same call goes on where it
stopped and only adds what a run under way has made since.
"""

import re
from collections.abc import Collection
from dataclasses import fields
from pathlib import Path
from typing import Any

from data.errors import UserError
from data.lineage import digest
from data.paired import paired
from data.runs import Run
from data.settings import content
from data.watching import Tell, Watch
from stages.compare import verdict
from stages.evaluate import EvalSettings, Outcomes, evaluate, planned
from stages.sim.settings import make_pool

GOES_WITH = {"suite": ("tasks", "horizon", "episodes"), "tasks": ("episodes",), "inits": ("episodes",)}
"""Setting -> those whose values mean nothing without it: task numbers of another suite, episodes of other places."""


def evaluate_run(
    run: Run,
    settings: EvalSettings,
    watch: Watch,
    tell: Tell,
    every: int = 1,
    out: str | Path | None = None,
    averages: bool = False,
) -> dict[str, Any]:
    """Evaluate the kept policies of a run, or the means of several that it evaluated itself.

    Args:
        run: the run, finished or under way.
        settings: on what.
        watch: shows the progress of each policy.
        tell: see `Tell`.
        every: only policies whose number is a multiple of it, and the last.
        out: folder of the stores, `NNN.zarr` each; none: `eval/LABEL` in the run.
        averages: the start and the means (`Run.average`) instead.

    Returns:
        run, kept (the folder of the stores), suite, inits, temperature, horizon, look, versions, policies: a list of
        what `evaluate` says with iteration and first (the pairs with the first of them, as `data.paired.paired` with A
        the later one, over episodes that both finished; none for the first itself), gone (policies that a run under way
        removed before their turn), verdict (the last and the first).

    Raises:
        UserError: as `evaluate`; `every` below 1; a run without policies.
        Exception: as `Pool.run`.
    """
    numbers = chosen(run, every, averages)
    kept = out or run.evaluations(label_of(settings) + ("-averages" if averages else ""))
    rows, gone = list[dict[str, Any]](), list[int]()
    first: Outcomes | None = None
    with make_pool(settings, len(planned(settings)[1])) as pool:
        for number in numbers:
            if rows and not averages and number not in run.policies():
                gone.append(number)
                continue
            store = f"{str(kept).rstrip('/')}/{number:03d}.zarr"
            with watch(f"eval {number:03d}", "episodes") as tick:
                policy = run.average(number) if averages and number else run.policy(number)
                result, outcomes = evaluate(policy, settings, store, pool, tick)
            rows.append({"iteration": number, **result, "first": _pairs(outcomes, first)})
            first = first or outcomes
            tell(rows[-1])
    shared = {key: rows[0][key] for key in ("suite", "inits", "temperature", "horizon", "look", "versions")}
    return {
        "run": str(run.folder),
        "kept": str(kept),
        **shared,
        "policies": rows,
        "gone": gone,
        "verdict": _verdict(rows),
    }


def own_settings(run: Run, changed: Collection[str] = ()) -> dict[str, Any]:
    """The values of `EvalSettings` that the run's own evaluations have.

    Args:
        changed: settings that are asked otherwise; what goes with these (see `GOES_WITH`) is left out too.

    Raises:
        UserError: run.toml is damaged.
    """
    section, known = run.settings().get("eval", {}), {field.name for field in fields(EvalSettings)}
    dropped = {*changed, *(name for key in changed for name in GOES_WITH.get(key, ()))}
    return {key: value for key, value in section.items() if key in known - dropped}


def chosen(run: Run, every: int, averages: bool = False) -> list[int]:
    """The numbers of the kept policies, or of the start and the means, that are multiples of `every`, and the last.

    Raises:
        UserError: there are none, or `every` is below 1.
    """
    if every < 1:
        raise UserError(f"--every must be 1 or more, not {every}")
    numbers, means = run.policies(), run.averages()
    if averages and not means:
        raise UserError(f"{run.folder} has no averages (its eval.average is 1, or it evaluated none yet)")
    if averages:
        numbers = [number for number in numbers if number == 0] + means
    if not numbers:
        raise UserError(f"no policies in {run.folder / 'policies'} yet; `srpo loop {run.folder}` makes them")
    return [number for number in numbers if number % every == 0 or number == numbers[-1]]


def label_of(settings: EvalSettings) -> str:
    """A folder's name for what is asked: `heldout-100-1f9a3c`."""
    inits = re.sub(r"[^A-Za-z0-9]+", "_", settings.inits)
    return f"{inits}-{len(planned(settings)[1])}-{digest(content(settings))[:6]}"


def _pairs(later: Outcomes, first: Outcomes | None) -> dict[str, Any] | None:
    if first is None:
        return None
    both = later.done & first.done
    return paired(later.success[both], first.success[both])


def _verdict(rows: list[dict[str, Any]]) -> str:
    last = rows[-1]
    if last["first"] is None:
        return "one policy: nothing to compare"
    return verdict(last["first"], f"policy {last['iteration']:03d}", f"policy {rows[0]['iteration']:03d}")
