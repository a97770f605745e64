"""`srpo collect STORE`: roll a policy out and record every episode."""

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from srpo_cli.console import emit, interval, out, percent, progress, table
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


def success(result: Mapping[str, Any]) -> str:
    """`45.0 % (95 %: 30.7-60.2 %)`, and how many episodes are in no rate: `, 2 skipped for an error`."""
    skipped = f", {result['skipped']} skipped for an error" if result["skipped"] else ""
    return f"{percent(result['rate'])} (95 %: {interval(result['interval'])}){skipped}"


def rates_table(title: str, result: Mapping[str, Any]) -> Any:
    """Success per task and in all."""
    rows = [[task["index"], task["instruction"], *_cells(task)] for task in result["tasks"]]
    rows.append(["all", "", *_cells(result)])
    return table(title, ["task", "instruction", "episodes", "success", "95 %", "steps"], rows)


def work(result: Mapping[str, Any]) -> str:
    """What it took: `64 episodes in 12.1 s (5.3/s), the policy at work for 4.0 s on 3.2 queries at a time, without any
    for 5.1 s; begun again: crash 1`."""
    lost = ", ".join(f"{cause} {count}" for cause, count in result["retries"].items() if count)
    again = f"; begun again: {lost}" if lost else ""
    skipped = ", ".join(f"episode {episode} ({error})" for episode, error in result["errors"].items())
    without = f"; without {skipped}" if skipped else ""
    busy, idle = result["policy_seconds"], result["idle_seconds"]
    return (
        f"{result['collected']} episodes in {result['seconds']:.1f} s ({result['episodes_per_second']:.1f}/s), the "
        f"policy at work for {busy:.1f} s on {result['queries_per_batch']:.1f} queries at a time, without any for "
        f"{idle:.1f} s"
        f"{again}{without}{first_look(result)}"
    )


def first_look(result: Mapping[str, Any]) -> str:
    """What a large policy's first query showed, as the end of a line."""
    if "action_argmax" not in result:
        return ""
    share, mass = percent(result["action_argmax"]), percent(result["action_mass"])
    return f"; on the first frame {share} of the likeliest tokens are actions, which have {mass} of the probability"


def _cells(part: Mapping[str, Any]) -> list[Any]:
    return [part["n"], percent(part["rate"]), interval(part["interval"]), round(part["steps"])]
