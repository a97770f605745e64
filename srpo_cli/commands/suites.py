"""`srpo suites [SUITE]`: LIBERO's suites, or one suite's tasks."""

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from srpo_cli.console import emit, out, table
from srpo_cli.options import Json


def command(
    suite: Annotated[str | None, typer.Argument(metavar="SUITE", help="Show its tasks.", show_default=False)] = None,
    json: Json = False,
) -> None:
    """List LIBERO's suites, or the tasks of one.

    Example: `srpo suites libero_object`
    """
    from stages.sim.tasks import N_INITS, SUITES, suite_tasks

    if suite is None:
        sizes = {name: suite_tasks(name) for name in SUITES}
        rows = [
            {"suite": name, "tasks": len(tasks), "horizon": tasks[0].horizon, "first": tasks[0].instruction}
            for name, tasks in sizes.items()
        ]
        emit({"suites": rows, "initial_states": N_INITS}, json, _show_suites)
        return
    tasks = suite_tasks(suite)
    rows = [{"index": task.index, "name": task.name, "instruction": task.instruction} for task in tasks]
    emit({"suite": suite, "horizon": tasks[0].horizon, "initial_states": N_INITS, "tasks": rows}, json, _show_tasks)


def _show_suites(result: Mapping[str, Any]) -> None:
    rows = [[row["suite"], row["tasks"], row["horizon"], row["first"]] for row in result["suites"]]
    caption = f"{result['initial_states']} initial states a task; horizon in control steps of 50 ms"
    out.print(table("LIBERO", ["suite", "tasks", "horizon", "first task"], rows, caption))


def _show_tasks(result: Mapping[str, Any]) -> None:
    rows = [[row["index"], row["instruction"]] for row in result["tasks"]]
    caption = f"horizon {result['horizon']} control steps, {result['initial_states']} initial states a task"
    out.print(table(result["suite"], ["task", "instruction"], rows, caption))
