"""The options that several commands share, so that they read and behave alike everywhere."""

from pathlib import Path
from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout, all else on stderr.")]
Assign = Annotated[
    list[str],
    typer.Option("--set", metavar="KEY=VALUE", help="Change one setting; may be given again.", show_default=False),
]
Store = Annotated[str, typer.Argument(metavar="STORE", help="A rollout store: a path or URL.", show_default=False)]
Stores = Annotated[list[str], typer.Argument(metavar="STORE", help="Rollout stores.", show_default=False)]
PolicyIn = Annotated[Path, typer.Option("--policy", help="A policy: its folder, or owner/name[@revision] on the Hub.")]
PolicyOut = Annotated[Path, typer.Option("--out", help="Where the trained policy goes.")]
Suite = Annotated[str, typer.Option(help="A LIBERO suite; `srpo suites` lists them.")]
Tasks = Annotated[str, typer.Option(help="Task numbers: 0,1 or 0-4 or all.")]
Inits = Annotated[str, typer.Option(help="Initial states: train (0-39), heldout (40-49), paper (0-49) or 0-9,12.")]
Seed = Annotated[int, typer.Option(help="Every random choice follows from it.")]
Workers = Annotated[int | None, typer.Option(help="Simulator processes; default: one a CPU core.", show_default=False)]
Look = Annotated[str, typer.Option(help="lite (cheap, readable) or full (LIBERO's own pixels).")]
Engine = Annotated[str, typer.Option(help="fast, or libero (LIBERO's own, slow).")]
Horizon = Annotated[
    int | None, typer.Option(help="Control steps at most; default: the suite's limit.", show_default=False)
]
Share = Annotated[str, typer.Option("--shard", metavar="I/N", help="Do share I (from 0) of N; others do theirs.")]
Accelerate = Annotated[
    str | None,
    typer.Option(
        metavar="CONFIG", help="Learn as this Accelerate config says: eight_gpus_fsdp, a file.", show_default=False
    ),
]
Processes = Annotated[
    int | None,
    typer.Option(
        min=1, help="Processes that learn together, one a GPU, say; default: the config's.", show_default=False
    ),
]
Label = Annotated[str | None, typer.Option(help="Name of the result in the store; default: from the settings.")]
