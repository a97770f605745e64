"""`srpo reward STORE...|FILE.npz`: how near each failure came to the successes of its batch."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from srpo_cli.console import emit, err, out, table
from srpo_cli.options import Assign, Json, Label

if TYPE_CHECKING:
    from stages.progress.settings import RewardSettings


def command(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="STORE|FILE.npz",
            help="A rollout store, several that are one batch, or arrays of your own.",
            show_default=False,
        ),
    ],
    preset: Annotated[str, typer.Option(help="paper, siirl, cosine, path or binary.")] = "paper",
    embedding: Annotated[
        str | None, typer.Option(help="Which embedding to measure with; default: the only one.", show_default=False)
    ] = None,
    label: Label = None,
    earlier: Annotated[
        list[str],
        typer.Option(
            metavar="STORE",
            help="An earlier store of the run, for tasks without a success here; may be given again, oldest first.",
            show_default=False,
        ),
    ] = [],
    result_file: Annotated[
        Path | None, typer.Option("--out", metavar="OUT.npz", help="Where a FILE's rewards go.", show_default=False)
    ] = None,
    assign: Assign = [],
    as_json: Json = False,
) -> None:
    """Reward every episode: 1 for a success, up to alpha for a failure that came near one.

    `path` compares paths of moments: encode with --set moments=16. FILE.npz holds the arrays embedding (N, D), success
    (N,) and task (N,); for `path`, moments (N, m, d) in place of embedding.

    `srpo settings --section reward` lists what `--set` takes.

    Example: `srpo reward runs/a/rollouts/000.zarr --preset paper --set alpha=0.5 --set noise=keep`
    """
    from data.settings import parse_assignments
    from stages.progress.settings import reward_settings
    from stages.reward import reward_file, reward_store

    settings = reward_settings(preset, parse_assignments(assign))
    source, *more = sources
    is_file = source.endswith(".npz")
    _refuse_unused(settings, embedding, earlier)
    store_only = {"another source": more, "--embedding": embedding, "--label": label, "--earlier": earlier}
    _refuse_misplaced(is_file, store_only, result_file)
    if is_file:
        result = reward_file(source, result_file, settings)
    else:
        result = reward_store(source, settings, embedding, label, earlier, more)
    emit(result, as_json, _show)


def _refuse_unused(settings: "RewardSettings", embedding: str | None, earlier: Sequence[str]) -> None:
    from data.errors import UserError

    if embedding and not settings.needs_embedding:
        raise UserError("--embedding decides nothing with alpha=0 (binary): leave it out, or take another --preset")
    if earlier and not (settings.needs_embedding and settings.all_fail == "remembered"):
        raise UserError("--earlier decides nothing with alpha=0 (binary) or all_fail=zero (siirl): leave it out")


def _refuse_misplaced(is_file: bool, store_only: Mapping[str, Any], result_file: Path | None) -> None:
    from data.errors import UserError

    if result_file and not is_file:
        raise UserError("--out is for a FILE.npz; a store keeps its rewards under --label")
    given = [name for name, value in store_only.items() if value]
    if is_file and given:
        raise UserError(f"{', '.join(given)} is for a store; an .npz brings its own arrays, and --out names the result")


def _show(result: Mapping[str, Any]) -> None:
    where = f"'{result['label']}'" if "label" in result else result["out"]
    title = f"{'up to date' if result['up_to_date'] else 'rewards'}: {where}"
    columns = ["task", "name", "won", "lost", "centres", "failures get"]
    caption = "won, lost: episodes · centres: in brackets those that clustering found · failures get: min, mean, max"
    rows = [_row(task) for task in result["tasks"]]
    if "label" not in result:  # arrays, whose tasks have no names
        columns, rows = columns[:1] + columns[2:], [row[:1] + row[2:] for row in rows]
    out.print(table(title, columns, rows, caption))
    for task in result["tasks"]:
        if task["all_fail"] and task["source"] == "none" and result["settings"]["alpha"] > 0:
            err.print(f"task {task['task']}: no success to measure against, its {task['failures']} failures get 0")


def _row(task: Mapping[str, Any]) -> list[Any]:
    won = f"0 ({task['references']} remembered)" if task["source"] == "remembered" else task["successes"]
    rewards = "  ".join(f"{value:.3f}" for value in task["failure_reward"] or ()) or "-"
    centres = f"{task['centres']} ({task['clustered']})"
    return [task["task"], task.get("name", ""), won, task["failures"], centres, rewards]
