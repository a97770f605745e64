"""`srpo pretrain STORE...`: a world model from the run's own rollouts."""

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from srpo_cli.console import emit, out, progress
from srpo_cli.options import Assign, Json, Stores


def command(
    stores: Stores,
    model_out: Annotated[
        str | None,
        typer.Option(
            "--out", help="Where the model goes; default: world_model in the first store's run.", show_default=False
        ),
    ] = None,
    assign: Assign = [],
    json: Json = False,
) -> None:
    """Train `mini`, a small V-JEPA 2, on every finished episode, without labels.

    A masked part of each clip is predicted from the rest, in features. `srpo encode STORE --world-model mini` finds the
    model. It computes on the CPU, seven minutes with two cores.

    Settings (--set): steps, batch, lr, size, patch, frames, width, layers, masked, blocks, ema, seed, threads, cameras,
    moments and more.

    Example: `srpo pretrain runs/first/rollouts/000.zarr --set seed=1`
    """
    from data.settings import build, parse_assignments
    from stages.pretrain import PretrainSettings, pretrain_stores

    settings = build(PretrainSettings, parse_assignments(assign), "pretrain")
    with progress("pretrain", "steps") as tick:
        result = pretrain_stores(stores, model_out, settings, tick)
    emit(result, json, _show)


def _show(result: Mapping[str, Any]) -> None:
    if result["up_to_date"]:
        out.print(f"up to date: {result['out']} ({result['weights']}), {result['episodes']} episodes")
        return
    loss = f"loss {result['loss_first']:.3f} to {result['loss']:.3f}, effective rank {result['effective_rank']:.1f}"
    out.print(
        f"trained {result['out']} ({result['weights']}) on {result['episodes']} episodes: {loss}, "
        f"{result['seconds']:.0f} s ({result['steps_per_second']:.1f} steps/s)"
    )
