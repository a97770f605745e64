"""`srpo eval`: how often a policy succeeds, with an interval, on initial states kept apart."""

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from srpo_cli.commands.collect import rates_table, success, work
from srpo_cli.console import emit, out, progress
from srpo_cli.options import Assign, Engine, Horizon, Inits, Json, Look, PolicyIn, Seed, Suite, Tasks, Workers


def command(
    policy: PolicyIn,
    suite: Suite = "libero_object",
    tasks: Tasks = "all",
    inits: Inits = "heldout",
    episodes: Annotated[
        int | None,
        typer.Option(help="In all, spread evenly; default: one a task and initial state.", show_default=False),
    ] = None,
    temperature: Annotated[float, typer.Option(help="0: the likeliest actions; above: sampled.")] = 0.0,
    seed: Seed = 0,
    workers: Workers = None,
    look: Look = "lite",
    engine: Engine = "fast",
    horizon: Horizon = None,
    store: Annotated[
        str | None, typer.Option("--out", metavar="STORE", help="Keep the episodes.", show_default=False)
    ] = None,
    assign: Assign = [],
    json: Json = False,
) -> None:
    """Evaluate a policy: success with n and its 95 % Wilson interval, per task and in all.

    Says how many of the episodes start where the policy was trained, and the versions that decide the physics.
    Settings (--set): slots, watchdog, and those above.
    Example: `srpo eval --policy runs/a/policies/010 --inits heldout --episodes 50`
    """
    from data.settings import from_options
    from stages.evaluate import EvalSettings, evaluate

    settings = from_options(EvalSettings, locals(), "eval")
    with progress("eval", "episodes") as tick:
        result = evaluate(policy, settings, store, progress=tick)
    emit(result, json, _show)


def _show(result: Mapping[str, Any]) -> None:
    title = "up to date" if result["up_to_date"] else f"{result['suite']}, initial states: {result['inits']}"
    out.print(rates_table(title, result))
    how = "greedy" if result["temperature"] == 0 else f"temperature {result['temperature']:g}"
    out.print(f"success {success(result)}, n={result['n']}, {how}, horizon {result['horizon']}, {result['look']} look")
    out.print(trained_line(result), soft_wrap=True)
    out.print("  ".join(f"{name} {version}" for name, version in result["versions"].items()))
    if not result["up_to_date"]:
        out.print(work(result))


def trained_line(result: Mapping[str, Any]) -> str:
    """How many of the episodes start where the policy was trained."""
    count = result["trained_on"]
    if count is None:
        return "overlap with training: unknown, the policy does not say where it was trained"
    return f"overlap with training: {count} of {result['n']} episodes start where the policy was trained"
