"""The facts of `overview` and `history` as tables on a terminal."""

from collections.abc import Mapping
from typing import Any

from srpo_cli.console import interval, out, percent, table
from srpo_cli.report.history import failure_reward, value
from srpo_cli.report.words import label_words, store_words

ITERATION_COLUMNS = ("it", "success", "95 %", "eval", "reward", "used", "KL", "clip", "entr", "s")
ITERATION_NOTE = (
    "eval: of the policy after the update, or of the mean of the last ones · reward: mean of the failures · "
    "used: groups in the update, of all · KL, clipped share, entropy: a token · s: of all stages"
)


def show_store(facts: Mapping[str, Any]) -> None:
    """A store: one line of what was asked, a row a task, a row a label."""
    out.print(f"[bold]{facts['path']}[/bold]: {store_words(facts)}")
    rows = [_task_row(str(task["index"]), task["instruction"], task) for task in facts["tasks"]]
    if len(rows) > 1:
        rows.append(_task_row("all", "", facts))
    columns = ["task", "instruction", "done", "success", "95 % interval", "steps"]
    groups = f"{facts['groups']['mixed']} of {facts['groups']['all']} groups hold both outcomes"
    errors = f"{facts['errors']} episodes ended in an error; " if facts["errors"] else ""
    out.print(table("episodes", columns, rows, errors + groups))
    labels = [[stage, *label_words(stage, label)] for stage, made in facts["labels"].items() for label in made]
    if labels:
        out.print(table("labels", ["stage", "label", "settings"], labels))


def show_episode(facts: Mapping[str, Any]) -> None:
    """An episode: what was asked, what happened, its actions, its reward under each label."""
    asked = f"initial state {facts['init_state']}, group {facts['group']}, seed {facts['seed']}"
    out.print(f"[bold]episode {facts['episode']}[/bold]: {facts['instruction']} ({asked})")
    if "steps" not in facts:
        out.print(facts["status"])
        return
    outcome = "success" if facts["success"] else "failure"
    out.print(f"{outcome} after {facts['steps']} control steps ({facts['seconds']:.1f} s), {facts['queries']} queries")
    if "logprob" in facts:
        out.print(f"log-prob a token: mean {facts['logprob']['mean']:.3f}, lowest {facts['logprob']['min']:.3f}")
    rows = [[name, *column.values()] for name, column in facts["actions"].items()]
    out.print(table("actions", ["", "min", "mean", "max"], rows))
    if facts["rewards"]:
        rewards = [_reward_row(label, row) for label, row in facts["rewards"].items()]
        out.print(table("rewards", ["label", "reward", "distance", "centre"], rewards))
    if facts["encoded"]:
        out.print(f"encoded as {', '.join(facts['encoded'])}")
    for kind in ("image", "video"):
        if kind in facts:
            out.print(f"{kind}: {facts[kind]}")


def show_run(facts: Mapping[str, Any]) -> None:
    """A run: a row an iteration."""
    out.print(f"[bold]{facts['path']}[/bold]: {facts['finished']} iterations finished")
    if not facts["iterations"]:
        out.print("no metrics yet")
        return
    rows = [iteration_row(row) for row in facts["iterations"]]
    out.print(table("iterations", list(ITERATION_COLUMNS), rows, ITERATION_NOTE))


def _task_row(number: str, instruction: str, row: Mapping[str, Any]) -> list[str]:
    done = f"{row['done']}/{row['asked']}"
    success = f"{row['successes']} = {percent(row['rate'])}"
    return [number, instruction, done, success, interval(row["interval"]), f"{row['steps']:.0f}"]


def _reward_row(label: str, row: Mapping[str, Any]) -> list[str]:
    numbers = ["-" if row[name] is None else f"{row[name]:.3f}" for name in ("reward", "distance")]
    centre = "is a reference" if row["is_reference"] else "-" if row["reference"] < 0 else str(row["reference"])
    return [label, *numbers, centre]


def iteration_row(row: Mapping[str, Any]) -> list[str]:
    """An iteration in the order of `ITERATION_COLUMNS`."""
    total = sum(float(part.get("seconds") or 0) for part in row.values() if isinstance(part, Mapping))
    bounds, rewards = value(row, "collect", "interval"), failure_reward(row)
    used, groups = value(row, "update", "groups_kept"), value(row, "update", "groups")
    return [
        str(row["iteration"]),
        _form(value(row, "collect", "rate"), ".0%"),
        f"{bounds[0]:.0%}-{bounds[1]:.0%}".replace("%-", "-") if bounds else "-",
        _form(value(row, "eval", "rate"), ".0%"),
        _form(rewards and rewards[1], ".2f"),
        "-" if used is None else f"{used}/{groups}",
        _form(value(row, "update", "approx_kl"), ".4f"),
        _form(value(row, "update", "clip_fraction"), ".1%"),
        _form(value(row, "update", "entropy"), ".2f"),
        f"{total:.0f}",
    ]


def _form(number: float | None, form: str) -> str:
    return "-" if number is None else format(float(number), form)
