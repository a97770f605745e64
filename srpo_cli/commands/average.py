"""`srpo average POLICY... --out DIR`: the mean of policies' weights."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from srpo_cli.console import emit, out
from srpo_cli.options import Json


def command(
    policies: Annotated[
        list[Path], typer.Argument(metavar="POLICY", help="Policies: folders or Hub ids.", show_default=False)
    ],
    policy_out: Annotated[Path, typer.Option("--out", help="Where the mean goes.")],
    json: Json = False,
) -> None:
    """Make one policy of several of a run: the mean of their weights.

    Example: `srpo average runs/a/policies/0{80,90,99} --out mean`
    """
    from stages.average import average_policies

    emit(average_policies(policies, policy_out), json, _show)


def _show(result: Mapping[str, Any]) -> None:
    done = "up to date" if result["up_to_date"] else f"the mean of {len(result['policies'])} policies"
    out.print(f"{done}: {result['out']} ({result['weights']})")
