"""`srpo loop`: the whole of SRPO, a line an iteration."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from data.errors import UserError
from srpo_cli.console import emit, err, out, progress
from srpo_cli.options import Accelerate, Assign, Json, Processes
from srpo_cli.tables.loop import Lines
from srpo_cli.tables.plan import show_plan

if TYPE_CHECKING:
    from stages.learning.launching import Launch
    from stages.plan.machine import Machine
    from stages.recipe import Recipe

RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="The run's folder, made or gone on with.")]
Preset = Annotated[
    str | None,
    typer.Option(
        help="laptop, quick, openvla, or a TOML file; default: laptop, or what the run was started with.",
        show_default=False,
    ),
]
Iterations = Annotated[int, typer.Option(help="Iterations in all, earlier calls included; 0: the start.")]
Track = Annotated[
    str | None,
    typer.Option(help="Show the metrics in tensorboard or wandb as well: RUN/trackers.", show_default=False),
]

Start = Annotated[
    str | None, typer.Option("--policy", help="Start from this policy: a folder or Hub id.", show_default=False)
]

Plan = Annotated[bool, typer.Option("--plan", help="Print what the run will take, and whether it fits; run nothing.")]
Memory = Annotated[
    float | None, typer.Option(help="Plan for GPUs of so many GB instead of this machine.", show_default=False)
]
Devices = Annotated[int, typer.Option(help="Plan for so many of them, weights shared out (FSDP).")]


def command(
    run: RunFolder,
    preset: Preset = None,
    policy: Start = None,
    iterations: Iterations = 200,
    track: Track = None,
    accelerate: Accelerate = None,
    processes: Processes = None,
    plan: Plan = False,
    memory: Memory = None,
    devices: Devices = 1,
    assign: Assign = [],
    json: Json = False,
) -> None:
    """Post-train a policy: demonstrations, imitation, then iterations of collect, encode, reward, update.

    With `--policy` the run starts from that policy instead of demonstrations (setting run.policy). Stopped at any
    moment, the same command goes on where it was; so does one without --preset and --set, with the run's own settings.

    `--set section.key=value` changes one setting. `collect.refill=N` (dynamic sampling): groups that teach nothing are
    replaced by further ones, in N rounds at most. Updates are done by `--processes N`, or as `--accelerate CONFIG` says
    (docs/scale.md); all else by one process.

    `srpo settings` lists the settings.

    Example: `srpo loop runs/try --preset quick --iterations 12 --set update.lr=2e-4`

    Example: `srpo loop runs/on --preset quick --policy runs/try/policies/012`

    Example: `srpo loop runs/big --plan --preset openvla --policy DIR --memory 80 --devices 8`
    """
    from stages.learning.launching import launch_of
    from stages.learning.processes import alone
    from stages.loop import check_request, run_loop

    alone("loop")
    launch = launch_of(accelerate, processes)
    console = err if json else out
    lines = Lines(lambda text: console.print(text, soft_wrap=True, markup=False))
    start = [f"run.policy={policy}"] if policy else []
    recipe = _recipe(run, preset, [*assign, *start])
    if plan:
        check_request(run, recipe, iterations, track)
        _plan(run, recipe, iterations, _machine(memory, devices, launch), json)
        return
    if memory is not None or devices != 1:
        raise UserError("--memory and --devices change a plan only: add --plan")
    result = run_loop(run, recipe, iterations, progress, lines.tell, track, launch)
    emit(result, json, lambda r: out.print(f"{r['run']}: {r['iterations']} iterations; see `srpo report {r['run']}`"))


def _recipe(run: Path, preset: str | None, assignments: list[str]) -> "Recipe":
    """What is asked for; where nothing is, what the run was started with."""
    from data.runs import Run, is_run
    from stages.recipe import load_recipe, own_recipe

    if preset is None and not assignments and is_run(run):
        return own_recipe(Run(run).settings())
    return load_recipe(preset or "laptop", assignments)


def _machine(memory: float | None, devices: int, launch: "Launch") -> "Machine":
    """The machine to plan for."""
    from stages.plan.machine import imagined, this_machine

    if memory is None and devices != 1:
        raise UserError("--devices needs --memory, the GB of each")
    return this_machine(launch.processes, launch.shares_out) if memory is None else imagined(memory, devices)


def _plan(run: Path, recipe: "Recipe", iterations: int, machine: "Machine", json: bool) -> None:
    """Print the plan; what does not fit is the error that the run itself would end with."""
    from stages.plan.plan import plan_run

    found = plan_run(run, recipe, iterations, machine)
    emit(found, json, show_plan)
    if found["problems"]:
        raise UserError("; ".join(found["problems"]))
