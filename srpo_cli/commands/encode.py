"""`srpo encode STORE`: every finished episode as one vector of a world model."""

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from srpo_cli.console import emit, out, progress
from srpo_cli.options import Assign, Json, Label, Store


def command(
    store: Store,
    world_model: Annotated[str, typer.Option(help="efficientnet-lite0 or pixels.")] = "efficientnet-lite0",
    label: Label = None,
    assign: Assign = [],
    json: Json = False,
) -> None:
    """Encode every finished episode with a world model.

    Frames are rendered from the stored states at the encoder's own size. Settings (--set): frames, size, camera.
    Example: `srpo encode runs/a/rollouts/000.zarr --world-model pixels --set frames=9`
    """
    from data.settings import build, parse_assignments
    from stages.encode import EncodeSettings, encode_store

    settings = build(EncodeSettings, parse_assignments(assign), "encode")
    with progress("encode", "episodes") as tick:
        result = encode_store(store, world_model, label, settings, tick)
    emit(result, json, _show)


def _show(result: Mapping[str, Any]) -> None:
    if result["up_to_date"]:
        out.print(f"up to date: {result['episodes']} episodes encoded as '{result['label']}'")
        return
    kept = f", {result['kept']} kept" if result["kept"] else ""
    out.print(
        f"encoded {result['encoded']} episodes as '{result['label']}' ({result['dim']} numbers each{kept}): "
        f"{result['seconds']:.1f} s, {result['episodes_per_second']:.1f} episodes/s"
    )
