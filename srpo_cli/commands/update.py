"""`srpo update STORE... --policy P --out POLICY`: a better policy from rewarded rollouts."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from srpo_cli.console import emit, out, progress, table
from srpo_cli.options import Accelerate, Assign, Json, Label, PolicyIn, PolicyOut, Processes, Stores

ALGORITHM = """grpo: clipped, group-relative policy gradient; ppo: the same with a critic, fitted on the batch; awr:
advantage-weighted regression; awr-step: the same, by how a progress curve rises; bc: imitation of the successes."""


def command(
    stores: Stores,
    policy: PolicyIn,
    policy_out: PolicyOut,
    reward: Annotated[str, typer.Option(help="The label of the reward to learn from.")] = "paper",
    algorithm: Annotated[str, typer.Option(help=ALGORITHM)] = "grpo",
    reference: Annotated[
        Path | None,
        typer.Option(help="A policy folder; --set kl_coef keeps the new policy near it.", show_default=False),
    ] = None,
    accelerate: Accelerate = None,
    processes: Processes = None,
    save_every: Annotated[
        int, typer.Option(min=0, help="Optimizer steps from one checkpoint to the next; 0: none.")
    ] = 0,
    label: Label = None,
    assign: Assign = [],
    json: Json = False,
) -> None:
    """Train the policy that collected a store on its reward.

    Several stores (of one policy and temperature, collected with other seeds) are one batch; reward them together, too.
    The label goes into the first.

    `srpo settings --section update` lists what `--set` takes.

    Of grpo and ppo: clip_low, clip_high, dual_clip. Of grpo, ppo and awr: eps, negative_scale. Of grpo and awr:
    estimator, scale. Of ppo: gae_lambda. Of awr and awr-step: awr_temperature, awr_clip. awr-step wants `srpo encode
    --set prefixes=16` and a reward that compares embeddings (--preset paper).

    lora_rank trains LoRA adapters (peft) instead of the weights, lora_alpha scales them; the new folder holds them
    alone, and `srpo merge` makes a whole policy of it.

    Killed, the same command ends with the same weights, from its last checkpoint (--save-every) or from the start.
    `--accelerate eight_gpus_fsdp` (or one_gpu_lora, or a file of yours) starts the processes that an Accelerate config
    describes; on several machines start it by `accelerate launch` instead: docs/scale.md. activations: keep, recompute
    (the default) or offload what the backward pass needs.

    Example: `srpo update rollouts.zarr --policy policies/start --out policies/next --set negative_scale=0.3`
    """
    from data.settings import from_options
    from stages.learning.launching import launch_of
    from stages.learning.processes import run_together
    from stages.learning.settings import UpdateSettings
    from stages.update import update_policy

    if (launch := launch_of(accelerate, processes)).processes > 1:
        raise typer.Exit(run_together(sys.argv[1:], launch.processes, launch.environment))
    settings = from_options(UpdateSettings, locals(), "update")
    with progress("update", "minibatches") as tick:
        result = update_policy(
            stores[0],
            policy,
            policy_out,
            reward,
            settings,
            label,
            progress=tick,
            reference=reference,
            save_every=save_every,
            more=stores[1:],
        )
    emit(result, json, _show)


def _show(result: Mapping[str, Any]) -> None:
    if result["up_to_date"]:
        out.print(f"up to date: {result['out']} ({result['weights']}), update '{result['label']}'")
        return
    kept = f"{result['groups_kept']} of {result['groups']} groups"
    if not result["updated"]:
        out.print(f"nothing to learn: {kept} tell something; {result['out']} is a copy of the policy")
        return
    health = result["health"]
    rows = [[name.replace("_", " "), f"{value:.4g}"] for name, value in health.items()]
    if "samples_per_second" in result:
        rows.append(["queries a second", f"{result['samples_per_second']:.0f}"])
    title = f"update '{result['label']}': {kept}, {result['queries']} queries -> {result['out']} ({result['weights']})"
    out.print(table(title, ["figure", "value"], rows))
