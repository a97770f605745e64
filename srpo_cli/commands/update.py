"""`srpo update STORE --policy P --out POLICY`: a better policy from rewarded rollouts."""

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from srpo_cli.console import emit, out, progress, table
from srpo_cli.options import Assign, Json, Label, PolicyIn, PolicyOut, Store


def command(
    store: Store,
    policy: PolicyIn,
    policy_out: PolicyOut,
    reward: Annotated[str, typer.Option(help="The label of the reward to learn from.")] = "paper",
    algorithm: Annotated[str, typer.Option(help="grpo: clipped, group-normalised policy gradient.")] = "grpo",
    label: Label = None,
    assign: Assign = [],
    json: Json = False,
) -> None:
    """Train the policy that collected a store on its reward.

    Settings (--set): epochs, minibatch, microbatch, lr, beta1, beta2, weight_decay, grad_norm, clip_low, clip_high,
    dual_clip, max_logprob_gap, estimator, eps, negative_scale, seed.
    Example: `srpo update rollouts.zarr --policy policies/start --out policies/next --set negative_scale=0.3`
    """
    from data.settings import build, parse_assignments
    from stages.update import UpdateSettings, update_policy

    settings = build(UpdateSettings, parse_assignments(assign), "update")
    with progress("update", "minibatches") as tick:
        result = update_policy(store, policy, policy_out, reward, settings, algorithm, label, progress=tick)
    emit(result, json, _show)


def _show(result: Mapping[str, Any]) -> None:
    if result["up_to_date"]:
        out.print(f"up to date: {result['out']} ({result['weights']}), update '{result['label']}'")
        return
    kept = f"{result['groups_kept']} of {result['groups']} groups"
    if not result["updated"]:
        out.print(f"nothing to learn: {kept} have rewards that differ; {result['out']} is a copy of the policy")
        return
    health = result["health"]
    rows = [[name.replace("_", " "), f"{value:.4g}"] for name, value in health.items()]
    if "samples_per_second" in result:
        rows.append(["queries a second", f"{result['samples_per_second']:.0f}"])
    title = f"update '{result['label']}': {kept}, {result['queries']} queries -> {result['out']} ({result['weights']})"
    out.print(table(title, ["figure", "value"], rows))
