"""`srpo report RUN|STORE... --out FILE.html`: one page that needs nothing but itself."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from srpo_cli.console import emit, out, percent, progress
from srpo_cli.options import Json


def command(
    sources: Annotated[
        list[str], typer.Argument(metavar="RUN|STORE", help="Run directories or stores.", show_default=False)
    ],
    result_file: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE.html", help="Default: report.html in the run.", show_default=False),
    ] = None,
    json: Json = False,
) -> None:
    """Write a report: success, rewards, health, time, pictures, settings and versions in one HTML file.

    Example: `srpo report runs/a --out a.html`
    """
    from data.errors import UserError
    from data.runs import is_run
    from data.store import RolloutStore
    from srpo_cli.report.build import write_report

    if result_file is None:
        if not is_run(sources[0]):
            RolloutStore.open(sources[0])
        if len(sources) > 1 or not is_run(sources[0]):
            raise UserError("say where the report goes: --out FILE.html")
        result_file = Path(sources[0]) / "report.html"
    with progress("report", "parts") as tick:
        result = write_report(sources, result_file, tick)
    emit(result, json, _show)


def _show(made: Mapping[str, Any]) -> None:
    for run, shares in made["shares"].items():
        parts = sorted(shares.items(), key=lambda part: -part[1])
        if parts:
            words = ", ".join(f"{name} {percent(share)}" for name, share in parts)
            out.print(f"{run}, wall time of the iterations: {words}", soft_wrap=True)
    out.print(f"{made['out']}: {made['bytes'] / 1e6:.1f} MB")
