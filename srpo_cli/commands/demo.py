"""`srpo demo STORE`: demonstrations by the scripted expert."""

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from srpo_cli.console import emit, out, percent, progress, table
from srpo_cli.options import Assign, Horizon, Inits, Json, Look, Seed, Store, Suite, Tasks


def command(
    store: Store,
    suite: Suite = "libero_object",
    tasks: Tasks = "all",
    per_task: Annotated[int, typer.Option(help="Demonstrations a task.")] = 5,
    inits: Inits = "train",
    noise: Annotated[float, typer.Option(help="On the executed motion, 0 to 1; the recorded label stays clean.")] = 0.3,
    seed: Seed = 0,
    workers: Annotated[
        int | None, typer.Option(help="Threads; default: one a CPU core, at most 4.", show_default=False)
    ] = None,
    look: Look = "lite",
    horizon: Horizon = None,
    assign: Assign = [],
    json: Json = False,
) -> None:
    """Make demonstrations with the scripted expert, for `srpo sft`.

    The expert knows every task of libero_object and libero_spatial.
    Run again, it does what is missing; other options need another STORE. The number of workers changes nothing in it.
    With `--set mistakes=0.7` most episodes go wrong on purpose, at different stages: for `srpo bench progress`;
    with `--set lapses=0.5` half of them miss the object or let it go once, and try again.

    Example: `srpo demo demos.zarr --tasks 2,9 --per-task 5`
    """
    from data.settings import from_options
    from stages.demo import DemoSettings, make_demos

    settings = from_options(DemoSettings, locals(), "demo")
    with progress("demo", "episodes") as tick:
        result = make_demos(store, settings, tick)
    emit(result, json, _show)


def _show(result: Mapping[str, Any]) -> None:
    if result["up_to_date"]:
        out.print(f"up to date: {result['n']} demonstrations, {result['successes']} successful")
        return
    parts = [*result["tasks"], {**result, "index": "all", "instruction": ""}]
    rows = [[p["index"], p["instruction"], p["n"], percent(p["rate"]), round(p["steps"])] for p in parts]
    out.print(table("demonstrations", ["task", "instruction", "episodes", "success", "steps"], rows))
    failed = result["n"] - result["successes"]
    left = f"; {failed} failed, which `srpo sft` leaves out" if failed else ""
    out.print(
        f"{result['made']} demonstrations in {result['seconds']:.1f} s ({result['episodes_per_second']:.1f}/s){left}"
    )
