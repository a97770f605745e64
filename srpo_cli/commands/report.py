"""`srpo report RUN|STORE... --out FILE.html`: one page that needs nothing but itself."""

from pathlib import Path
from typing import Annotated

import typer

from srpo_cli.console import emit, out, progress
from srpo_cli.options import Json


def command(
    sources: Annotated[
        list[str], typer.Argument(metavar="RUN|STORE...", help="Run directories or stores.", show_default=False)
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
    from srpo_cli.report.build import is_run, write_report

    if result_file is None:
        if len(sources) > 1 or not is_run(sources[0]):
            raise UserError("say where the report goes: --out FILE.html")
        result_file = Path(sources[0]) / "report.html"
    with progress("report", "parts") as tick:
        result = write_report(sources, result_file, tick)
    emit(result, json, lambda made: out.print(f"{made['out']}: {made['bytes'] / 1e6:.1f} MB"))
