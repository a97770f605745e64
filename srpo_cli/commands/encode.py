"""`srpo encode STORE`: every finished episode as one vector of a world model."""

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from srpo_cli.console import emit, out, progress
from srpo_cli.options import Assign, Json, Label, Share, Store


def command(
    store: Store,
    world_model: Annotated[
        str,
        typer.Option(help="efficientnet-lite0, pixels, mini, a folder, a .pt file or a Hub id.", metavar="NAME"),
    ] = "efficientnet-lite0",
    label: Label = None,
    shard: Share = "0/1",
    assign: Assign = [],
    json: Json = False,
) -> None:
    """Encode every finished episode with a world model.

    Frames are rendered from the stored states at the encoder's own size. `mini` is what `srpo pretrain` made from the
    run's own rollouts; Hub ids are V-JEPA 2 and other vision or video models of transformers.

    `srpo settings --section encode` lists what `--set` takes.

    Example: `srpo encode a.zarr --world-model facebook/vjepa2-vitl-fpc64-256 --set frames=16`
    """
    from data.settings import build, parse_assignments
    from data.shards import Shard
    from stages.encode import EncodeSettings, encode_store

    settings = build(EncodeSettings, parse_assignments(assign), "encode")
    with progress("encode", "episodes") as tick:
        result = encode_store(store, world_model, label, settings, tick, Shard.parse(shard))
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
