"""`srpo bench`: how fast the parts are on this machine, beside what a user would run instead, in one run."""

import sys
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from data.errors import UserError, unknown
from srpo_cli.bench_tables import show_check, show_render, show_sim
from srpo_cli.console import emit, progress
from srpo_cli.options import Json, Suite, Tasks

WHAT = ("sim", "render")
COLLECT = (sys.executable, "-m", "srpo_cli", "collect")


def command(
    what: Annotated[str, typer.Argument(metavar="sim|render", help="What to measure.", show_default=False)],
    suite: Suite = "libero_object",
    tasks: Tasks = "all",
    look: Annotated[str, typer.Option(help="lite, full or both.")] = "both",
    libero_tasks: Annotated[int, typer.Option(help="On how many of the tasks LIBERO steps, or draws, too.")] = 2,
    episode_tasks: Annotated[int, typer.Option(help="sim: on how many of the tasks whole episodes are run.")] = 1,
    workers: Annotated[
        int | None,
        typer.Option(
            help="sim: the most processes (LIBERO's take 2 GB each); default: one a core.", show_default=False
        ),
    ] = None,
    steps: Annotated[int, typer.Option(help="sim: control steps a task.")] = 100,
    episodes: Annotated[
        int | None,
        typer.Option(
            help="sim: our episodes a worker; default 3. With --check: paired episodes in all; default 0.",
            show_default=False,
        ),
    ] = None,
    horizon: Annotated[
        int | None, typer.Option(help="sim: control steps an episode; default: the suite's.", show_default=False)
    ] = None,
    seconds: Annotated[
        float, typer.Option(help="sim: when LIBERO's loop is stopped in its episode; 0: never, it is run whole.")
    ] = 15.0,
    frames: Annotated[int, typer.Option(help="render: moments drawn a task.")] = 10,
    check: Annotated[bool, typer.Option("--check", help="sim: instead, whether it agrees with LIBERO.")] = False,
    json: Json = False,
) -> None:
    """Measure the simulator of a suite beside LIBERO and bare physics, in one run: about three minutes.

    **sim**: a control step (ours, bare `mj_step`, LIBERO's env.step without cameras); whole episodes, a random policy:
    LIBERO's loop (every camera drawn before every action) against ours; memory, start, threads against processes.
    **render**: a frame, ours and LIBERO's.

    With `--json`, `episode_s` is seconds an episode: the wall time of many, by all workers, divided by their number.
    `ratio_bare` is our step over bare physics, `ratio_episode` how many times as many episodes as LIBERO we run.
    Example: `srpo bench sim --suite libero_goal`
    """
    if what not in WHAT:
        raise unknown("benchmark", what, WHAT)
    if check:
        if what != "sim":
            raise UserError("only `srpo bench sim` has --check")
        _check(suite, tasks, episodes or 0, json)
        return
    given = {"suite": suite, "tasks": tasks, "look": look, "libero_tasks": libero_tasks}
    if what == "render":
        _render(given | {"frames": frames}, json)
        return
    given |= {"episode_tasks": episode_tasks, "workers": workers, "steps": steps, "horizon": horizon}
    _sim(given | {"seconds": seconds, "episodes": 3 if episodes is None else episodes}, json)


def _sim(given: Mapping[str, Any], json: bool) -> None:
    from data.settings import build
    from stages.bench.settings import SimSettings
    from stages.bench.sim import bench_sim

    settings = build(SimSettings, given, "bench")
    with progress("bench sim", "planned s") as tick:
        result = bench_sim(settings, COLLECT, tick)
    emit(result, json, show_sim)


def _render(given: Mapping[str, Any], json: bool) -> None:
    from data.settings import build
    from stages.bench.render import bench_render
    from stages.bench.settings import RenderSettings

    settings = build(RenderSettings, given, "bench")
    with progress("bench render", "tasks") as tick:
        result = bench_render(settings, tick)
    emit(result, json, show_render)


def _check(suite: str, tasks: str, episodes: int, json: bool) -> None:
    from stages.bench.agreement import check_suite

    with progress("bench sim --check", "tasks") as tick:
        result = check_suite(suite, tasks, episodes, tick)
    emit({"suite": suite, "check": result}, json, show_check)
