"""`srpo doctor`: is this machine ready, and if not, what to do."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from data.errors import UserError
from srpo_cli.console import emit, out
from srpo_cli.options import Json

ClearCache = Annotated[bool, typer.Option("--clear-cache", help="Remove what srpo keeps in the cache folder first.")]
Folder = Annotated[
    Path | None,
    typer.Option(
        "--policy", help="Whether a policy (folder or Hub id) keeps docs/policies.md, too.", show_default=False
    ),
]


def command(policy: Folder = None, clear_cache: ClearCache = False, json: Json = False) -> None:
    """Check this machine: versions, LIBERO and its assets, rendering, GPU, disk, cache, kinds of policies.

    Its output is what to paste into a report of a problem. Ends with 2 if something has to be mended.

    Example: `srpo doctor`
    """
    from srpo_cli import checks

    cleared = {"cleared_mb": round(checks.clear_cache(), 1)} if clear_cache else {}
    found = checks.run_checks(policy)
    bad = [check for check in found if not check.ok]
    emit({"ok": not bad, **cleared, "checks": [asdict(check) for check in found]}, json, show)
    if bad:
        raise UserError(f"{bad[0].name}: {bad[0].found}; {bad[0].mend}")


def show(result: Mapping[str, Any]) -> None:
    """A line a check, and its details below."""
    if "cleared_mb" in result:
        out.print(f"cache cleared: {result['cleared_mb']:.0f} MB")
    for check in result["checks"]:
        mark = "[green]ok  [/]" if check["ok"] else "[red]mend[/]"
        out.print(f"{mark} {check['name']:<12} {check['found']}", soft_wrap=True)
        for line in check["details"]:
            out.print(f"     {'':<12} {line}", soft_wrap=True)
        if not check["ok"]:
            out.print(f"     {'':<12} -> {check['mend']}", soft_wrap=True)
