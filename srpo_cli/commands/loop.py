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


def command(
    run: RunFolder,
    preset: Preset = "laptop",
    iterations: Iterations = 200,
    track: Track = None,
    assign: Assign = [],
    json: Json = False,
) -> None:
    """Post-train a policy: demonstrations, imitation, then iterations of collect, encode, reward, update.

    Stopped at any moment, the same command goes on where it was. `--set section.key=value` changes one setting.

    Example: `srpo loop runs/try --preset quick --iterations 12 --set update.lr=2e-4`
    """
    from stages.loop import run_loop
    from stages.recipe import load_recipe

    console = err if json else out
    lines = Lines(lambda text: console.print(text, soft_wrap=True, markup=False))
    result = run_loop(run, load_recipe(preset, assign), iterations, progress, lines.tell, track)
    emit(result, json, lambda r: out.print(f"{r['run']}: {r['iterations']} iterations; see `srpo report {r['run']}`"))
