"""What `srpo collect` and `srpo eval` say of rolled out episodes: how many succeeded, and what they took."""

from collections.abc import Mapping
from typing import Any

from srpo_cli.console import interval, percent, table


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
