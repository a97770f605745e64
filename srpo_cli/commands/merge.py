"""`srpo merge POLICY --out DIR`: adapters folded into the policy they belong to."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from srpo_cli.console import emit, out
from srpo_cli.options import Json


def command(
    policy: Annotated[
        Path, typer.Argument(metavar="POLICY", help="A policy of adapters: folder or Hub id.", show_default=False)
    ],
    policy_out: Annotated[Path, typer.Option("--out", help="Where the whole policy goes.")],
    json: Json = False,
) -> None:
    """Fold the adapters of a policy into its weights: a whole policy, which loads without peft.

    Example: `srpo merge runs/spatial/policies/010 --out merged`
    """
    from stages.merge import merge_policy

    emit(merge_policy(policy, policy_out), json, _show)


def _show(result: Mapping[str, Any]) -> None:
    done = "up to date" if result["up_to_date"] else f"merged {result['policy']} with {result['base']}"
    out.print(f"{done}: {result['out']} ({result['weights']})")
