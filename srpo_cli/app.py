"""The table of commands. A command's module imports nothing heavy: what it needs, it imports when it runs."""

from importlib import import_module
from typing import Annotated

import typer

from srpo_cli import __version__

app = typer.Typer(
    name="srpo",
    help="Self-Referential Policy Optimization (arXiv 2511.15605) for robot policies in LIBERO.",
    epilog="A first run: `make loop ITER=12 PRESET=quick`. Every command has an example under `srpo COMMAND --help`.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode="markdown",
)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"srpo {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")] = False,
) -> None:
    """Self-Referential Policy Optimization (arXiv 2511.15605) for robot policies in LIBERO."""


COMMANDS: tuple[str, ...] = (
    "doctor",
    "suites",
    "demo",
    "pretrain",
    "sft",
    "collect",
    "encode",
    "reward",
    "update",
    "average",
    "merge",
    "eval",
    "loop",
    "settings",
    "inspect",
    "replay",
    "report",
    "bench",
)
"""In the order of `srpo --help`; `srpo_cli/commands/NAME.py` holds its function `command`, or its `group` of some."""

for name in COMMANDS:
    module = import_module(f"srpo_cli.commands.{name}")
    if hasattr(module, "group"):
        app.add_typer(module.group, name=name)
    else:
        app.command(name)(module.command)
