"""`srpo sft STORE... --out POLICY`: an imitation start from demonstrations."""

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from srpo_cli.console import emit, out, percent, progress
from srpo_cli.options import Assign, Json, PolicyOut, Stores


def command(
    stores: Stores,
    policy_out: PolicyOut,
    policy: Annotated[
        str, typer.Option(help="mini for a new policy; the folder or Hub id of one to go on with.")
    ] = "mini",
    assign: Assign = [],
    json: Json = False,
) -> None:
    """Train a policy to imitate demonstrations.

    Only finished, successful episodes count; pictures are rendered from the stored states.
    lora_rank trains adapters instead of weights (see `srpo update --help`).

    `srpo settings --section sft` lists what `--set` takes.

    Example: `srpo sft demos.zarr --out policies/start --set steps=500`

    Example: `srpo sft demos.zarr --policy checkpoint --out tuned --set lr=2e-5 --set batch=8` (a pretrained policy)
    """
    from data.settings import build, parse_assignments
    from stages.learning.processes import alone
    from stages.sft import SftSettings, train_sft

    alone("sft")
    settings = build(SftSettings, parse_assignments(assign), "sft")
    with progress("sft", "steps") as tick:
        result = train_sft(stores, policy_out, settings, policy, progress=tick)
    emit(result, json, _show)


def _show(result: Mapping[str, Any]) -> None:
    if result["up_to_date"]:
        out.print(f"up to date: {result['out']} ({result['weights']}), {result['demonstrations']} demonstrations")
        return
    out.print(
        f"trained {result['out']} ({result['weights']}) on {result['demonstrations']} demonstrations of "
        f"{len(result['tasks'])} tasks, {result['moments']} moments: loss {result['loss']:.3f} nats a token, "
        f"{percent(result['accuracy'])} of the tokens, {result['samples_per_second']:.0f} moments/s"
    )
