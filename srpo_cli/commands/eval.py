"""`srpo eval`: how often a policy succeeds, against another one, or over the iterations of a run, with intervals."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from srpo_cli.console import emit, err, out, progress
from srpo_cli.options import Assign, Engine, Horizon, Inits, Json, Look, Seed, Suite, Tasks, Workers
from srpo_cli.tables.rates import rates_table, success, work


def command(
    context: typer.Context,
    policy: Annotated[
        Path | None,
        typer.Option(help="A policy: its folder, or owner/name[@revision] on the Hub.", show_default=False),
    ] = None,
    against: Annotated[
        Path | None, typer.Option(help="Another policy, run on the same episodes.", show_default=False)
    ] = None,
    run: Annotated[
        Path | None, typer.Option(help="Instead: a run's folder; all its kept policies.", show_default=False)
    ] = None,
    every: Annotated[
        int | None, typer.Option(help="With --run: each K-th policy and the last.", metavar="K", show_default=False)
    ] = None,
    averages: Annotated[
        bool, typer.Option("--averages", help="With --run: the start and the means that the run evaluated.")
    ] = False,
    image: Annotated[
        Path | None, typer.Option(metavar="OUT.png", help="With --run: success as a curve.", show_default=False)
    ] = None,
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
        str | None,
        typer.Option(
            "--out", metavar="STORE", help="Keep the episodes; with --against or --run a folder.", show_default=False
        ),
    ] = None,
    assign: Assign = [],
    json: Json = False,
) -> None:
    """Evaluate a policy: success with n and its 95 % Wilson interval, per task and in all.

    Says how many of the episodes start where the policy was trained, and the versions that decide the physics.

    `--against B` runs both policies on the same tasks, initial states and seeds and pairs the episodes: in which only
    one succeeds, the difference with its 95 % interval (Newcombe 1998, method 10) and McNemar's exact test. `--out DIR`
    keeps DIR/WEIGHTS.zarr, one a policy, named by a hash of its weights: any number of comparisons share a DIR.

    `--run RUN` evaluates every kept policy RUN/policies/NNN on the same episodes, a line each; with `--averages` its
    start and the means RUN/averages/NNN, which `laptop` evaluates. What is asked is the [eval] of RUN/run.toml but for
    the options given here (where these are --suite, --tasks or --inits, --episodes has its default again). It keeps
    RUN/eval/LABEL/NNN.zarr, with `--out DIR` DIR/NNN.zarr.

    Stopped at any moment, the same command with `--out`, or with `--run`, goes on where it was.

    `srpo settings --section eval` lists what `--set` takes, besides the options above.

    Example: `srpo eval --policy runs/a/policies/010 --inits heldout --episodes 50`

    Example: `srpo eval --policy runs/a/policies/010 --against runs/a/policies/000 --tasks 2,9 --out pair`

    Example: `srpo eval --run runs/a --every 10 --image curve.png`
    """
    _check(policy, against, run, {"--every": every, "--averages": averages or None, "--image": image})
    options = {name: value for name, value in locals().items() if name != "context"}
    if run:
        given = {name: value for name, value in options.items() if _typed(context, name)}
        _run(run, 1 if every is None else every, averages, image, store, {**given, "assign": assign}, json)
        return
    from data.settings import from_options
    from stages.evaluate import EvalSettings, evaluate

    settings = from_options(EvalSettings, options, "eval")
    if policy and against:
        _compare(policy, against, settings, store, json)
    elif policy:
        with progress("eval", "episodes") as tick:
            result, _ = evaluate(policy, settings, store, progress=tick)
        emit(result, json, _show)


def _check(policy: Path | None, against: Path | None, run: Path | None, of_run: Mapping[str, Any]) -> None:
    """Refuse what does not go together.

    Args:
        of_run: options that go with `--run`, as given or none.

    Raises:
        UserError: neither or both of --policy and --run, or an option of the one with the other.
    """
    from data.errors import UserError

    if (policy is None) == (run is None):
        raise UserError("say what to evaluate: --policy FOLDER or --run RUN, one of them")
    if run and against:
        raise UserError("--against goes with --policy; --run compares every policy with the run's first by itself")
    for name, value in of_run.items():
        if value is not None and not run:
            raise UserError(f"{name} goes with --run RUN, which evaluates many policies")


def _typed(context: typer.Context, name: str) -> bool:
    """Whether an option was given on the command line."""
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def _compare(policy: Path, against: Path, settings: Any, out_folder: str | None, json: bool) -> None:
    from srpo_cli.tables.eval import show_comparison
    from stages.compare import compare

    emit(compare(policy, against, settings, progress, out_folder), json, show_comparison)


def _run(
    folder: Path,
    every: int,
    averages: bool,
    image: Path | None,
    out_folder: str | None,
    options: Mapping[str, Any],
    json: bool,
) -> None:
    from data.runs import Run
    from data.settings import from_options, parse_assignments
    from srpo_cli.report.pictures import check_target
    from srpo_cli.tables.eval_curve import CurveLines, draw_curve, show_end
    from stages.evaluate import EvalSettings
    from stages.evaluate_run import evaluate_run, own_settings

    if image:
        check_target(image, ".png")
    run, console = Run.open(folder), err if json else out
    own = own_settings(run, {*options, *parse_assignments(options["assign"])})
    settings = from_options(EvalSettings, options, "eval", own)
    lines = CurveLines(lambda text: console.print(text, soft_wrap=True, markup=False))
    result = evaluate_run(run, settings, progress, lines.tell, every, out_folder, averages)
    if image:
        draw_curve(result, image)
    emit(result, json, show_end)


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
    told = f"overlap with training: {count} of {result['n']} episodes start where the policy was trained"
    known = result["trained_suites"]
    return told if not known or result["suite"] in known else f"{told}, on {', '.join(known)}"
