"""`srpo bench`: how fast the parts are on this machine, beside what a user would run instead, in one run."""

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from data.errors import unknown
from srpo_cli.console import emit, out, table
from srpo_cli.options import Json, Suite

WHAT = ("sim", "render")


def command(
    what: Annotated[str, typer.Argument(metavar="sim|render", help="What to measure.", show_default=False)],
    suite: Suite = "libero_object",
    task: Annotated[int, typer.Option(help="Task number.")] = 2,
    steps: Annotated[int, typer.Option(help="Control steps, or frames, to time.")] = 200,
    json: Json = False,
) -> None:
    """Measure a control step (ours, bare physics, LIBERO's env.step, alternating), or a frame in each look.

    Example: `srpo bench sim --task 2`
    """
    from stages.sim.bench import bench_render, bench_start, bench_step
    from stages.sim.tasks import select_tasks

    if what not in WHAT:
        raise unknown("benchmark", what, WHAT)
    if task < 0 or steps < 1:
        raise typer.BadParameter(f"--task must be 0 or more and --steps 1 or more, not {task} and {steps}")
    select_tasks(suite, str(task))
    if what == "sim":
        emit(bench_step(suite, task, steps) | {"start": bench_start(suite, task)}, json, _show_sim)
    else:
        emit(bench_render(suite, task, steps), json, _show_render)


def _show_sim(result: Mapping[str, Any]) -> None:
    rows = [
        ["bare physics, 25 x mj_step", result["bare_ms"], 1.0],
        ["srpo", result["ours_ms"], result["ratio"]],
        ["LIBERO's env.step, no cameras", result["libero_ms"], result["libero_ms"] / result["bare_ms"]],
    ]
    title = f"{result['suite']} task {result['task']}, {result['steps']} control steps"
    start = f"start of a process, everything cached: {result['start']['cached_s']:.2f} s"
    out.print(table(title, ["a control step", "ms (median)", "x bare"], rows, caption=start))


def _show_render(result: Mapping[str, Any]) -> None:
    rows = [[look, shot, ms] for look in ("lite", "full") for shot, ms in result[look].items()]
    title = f"{result['suite']} task {result['task']}, {result['frames']} frames drawn and read back"
    out.print(table(title, ["look", "camera, pixels", "ms (median)"], rows))
