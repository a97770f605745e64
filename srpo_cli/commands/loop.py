"""`srpo loop`: the whole of SRPO, a line an iteration."""

from pathlib import Path
from typing import Annotated

import typer

from srpo_cli.console import emit, err, out, progress
from srpo_cli.options import Assign, Json
from srpo_cli.tables.loop import Lines

RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="The run's folder, made or gone on with.")]
Preset = Annotated[str, typer.Option(help="A preset that comes with srpo (laptop, quick, ...) or a TOML file.")]
Iterations = Annotated[int, typer.Option(help="Iterations in all, earlier calls included; 0: the start.")]
Track = Annotated[
    str | None,
    typer.Option(help="Show the metrics in tensorboard or wandb as well: RUN/trackers.", show_default=False),
]

Start = Annotated[
    str | None, typer.Option("--policy", help="Start from this policy: a folder or Hub id.", show_default=False)
]


def command(
    run: RunFolder,
    preset: Preset = "laptop",
    policy: Start = None,
    iterations: Iterations = 200,
    track: Track = None,
    assign: Assign = [],
    json: Json = False,
) -> None:
    """Post-train a policy: demonstrations, imitation, then iterations of collect, encode, reward, update.

    With `--policy` the run starts from that policy instead of demonstrations (setting run.policy). Stopped at any
    moment, the same command goes on where it was. `--set section.key=value` changes one setting. `collect.refill=N`
    (dynamic sampling): groups that teach nothing are replaced by further ones, in N rounds at most.

    Examples: `srpo loop runs/try --preset quick --iterations 12 --set update.lr=2e-4`,
    `srpo loop runs/on --preset quick --policy runs/try/policies/012`
    """
    from stages.loop import run_loop
    from stages.recipe import load_recipe

    console = err if json else out
    lines = Lines(lambda text: console.print(text, soft_wrap=True, markup=False))
    start = [f"run.policy={policy}"] if policy else []
    result = run_loop(run, load_recipe(preset, [*assign, *start]), iterations, progress, lines.tell, track)
    emit(result, json, lambda r: out.print(f"{r['run']}: {r['iterations']} iterations; see `srpo report {r['run']}`"))
