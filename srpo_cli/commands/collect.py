"""`srpo collect STORE`: roll a policy out and record every episode."""

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from srpo_cli.console import emit, out, progress
from srpo_cli.options import (
    Assign,
    Engine,
    Horizon,
    Inits,
    Json,
    Look,
    PolicyIn,
    Seed,
    Share,
    Store,
    Suite,
    Tasks,
    Workers,
)
from srpo_cli.tables.rates import rates_table, success, work


def command(
    store: Store,
    policy: PolicyIn,
    suite: Suite = "libero_object",
    tasks: Tasks = "all",
    groups: Annotated[int, typer.Option(help="Initial states a task.")] = 1,
    samples: Annotated[int, typer.Option(help="Episodes a group, which share their initial state.")] = 8,
    inits: Inits = "train",
    temperature: Annotated[float, typer.Option(help="Of the sampled action tokens; 0: the likeliest.")] = 1.0,
    seed: Seed = 0,
    workers: Workers = None,
    look: Look = "lite",
    engine: Engine = "fast",
    horizon: Horizon = None,
    earlier: Annotated[
        list[str], typer.Option(metavar="STORE", help="With --set draw=hard: of iterations before, oldest first.")
    ] = [],
    shard: Share = "0/1",
    assign: Assign = [],
    json: Json = False,
) -> None:
    """Roll a policy out in LIBERO: tasks x groups x samples episodes.

    Run again, it does what is missing; other options need another STORE. The number of workers changes nothing in it,
    nor do shards: any number of machines fill one STORE (a shared folder or a URL) at once, each with its own --shard.

    `srpo settings --section collect` lists what `--set` takes, besides the options above.

    Example: `srpo collect a.zarr --policy runs/a/policies/000 --tasks 2,9 --groups 4 --temperature 0.6`
    """
    from data.errors import UserError
    from data.settings import from_options
    from data.shards import Shard
    from stages.collect import CollectSettings, collect

    settings, share = from_options(CollectSettings, locals(), "collect"), Shard.parse(shard)
    if earlier and settings.draw != "hard":
        raise UserError("--earlier decides nothing without --set draw=hard")
    iterations = [[path] for path in earlier]
    with progress("collect", "episodes") as tick:
        result = collect(store, policy, settings, progress=tick, shard=share, earlier=iterations)
    emit(result, json, _show)


def _show(result: Mapping[str, Any]) -> None:
    if result["up_to_date"]:
        out.print(f"up to date: {result['n']} episodes, success {success(result)}")
    else:
        out.print(rates_table("collected", result))
        out.print(work(result))
    if result["shard_episodes"] < result["episodes"]:
        out.print(
            f"shard {result['shard']}: {result['shard_n']} of its {result['shard_episodes']} episodes are done; "
            f"the store holds {result['n']} of {result['episodes']}"
        )
