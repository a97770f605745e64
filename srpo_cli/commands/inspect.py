"""`srpo inspect STORE|RUN`: what is in it, one episode of it, its failures, what a reward did, and pictures."""

from pathlib import Path
from typing import Annotated, Any

import typer

from srpo_cli.console import emit
from srpo_cli.options import Json

COUNT = 2
"""failures of each kind that --reward shows of a task"""


def command(
    source: Annotated[
        str, typer.Argument(metavar="STORE|RUN", help="A rollout store or a run directory.", show_default=False)
    ],
    episode: Annotated[int | None, typer.Option(help="One episode of the store.", show_default=False)] = None,
    reward: Annotated[
        str | None,
        typer.Option(
            metavar="LABEL", help="What a reward measured against, and the failures it ranks.", show_default=False
        ),
    ] = None,
    count: Annotated[
        int | None,
        typer.Option(min=1, help=f"Best failures of a task, as many worst; default: {COUNT}.", show_default=False),
    ] = None,
    failures: Annotated[
        bool, typer.Option("--failures", help="How far the failures truly got, from which states.")
    ] = False,
    video: Annotated[
        Path | None, typer.Option(metavar="OUT.mp4", help="The episode in real time.", show_default=False)
    ] = None,
    image: Annotated[
        Path | None,
        typer.Option(metavar="OUT.png", help="Six moments of the episode, or filmstrips.", show_default=False),
    ] = None,
    json: Json = False,
) -> None:
    """Show what a store or run holds, one episode, its failures, or what a reward did; with pictures.

    Pictures are rendered from the stored states, in the store's look. With --reward they are filmstrips of each task:
    a typical success (the reference nearest to its centre), the best and the worst failures.

    Example: `srpo inspect runs/a/rollouts/000.zarr --episode 3 --image strip.png`

    Example: `srpo inspect runs/a/rollouts/000.zarr --reward paper --image ranks.png`

    Example: `srpo inspect runs/a/eval/060.zarr --failures`
    """
    from data.runs import Run, is_run
    from srpo_cli.report import text

    _refuse_misplaced(source, episode, reward, failures, {"video": video, "image": image, "count": count})
    if is_run(source):
        emit(_run_facts(Run.open(source)), json, text.show_run)
    elif reward is not None:
        _show_reward(source, reward, count or COUNT, image, json)
    elif failures:
        _show_failures(source, json)
    elif episode is None:
        emit(_store_facts(source), json, text.show_store)
    else:
        emit(_episode_facts(source, episode, video, image), json, text.show_episode)


def _refuse_misplaced(
    source: str, episode: int | None, reward: str | None, failures: bool, extras: dict[str, Any]
) -> None:
    """Options that belong to others: extras are video, image and count, None where they are not given."""
    from data.errors import UserError
    from data.runs import is_run

    if (episode is not None) + (reward is not None) + failures > 1:
        raise UserError("give one of --episode I, --reward LABEL and --failures")
    if is_run(source) and (failures or any(given is not None for given in (episode, reward, *extras.values()))):
        raise UserError(f"{source} is a run; give one of its stores: `srpo inspect {source}/rollouts/000.zarr ...`")
    if extras["video"] and episode is None:
        raise UserError("a video is of one episode; give --episode I")
    if extras["image"] and episode is None and reward is None:
        raise UserError("pictures are of one episode or of a reward; give --episode I or --reward LABEL")
    if extras["count"] and reward is None:
        raise UserError("--count is for --reward LABEL")


def _run_facts(run: Any) -> dict[str, Any]:
    from srpo_cli.report.history import iterations

    return {
        "path": str(run.folder),
        "finished": run.finished(),
        "settings": run.settings(),
        "iterations": iterations(run.metrics()),
    }


def _store_facts(source: str) -> dict[str, Any]:
    from data.store import RolloutStore
    from srpo_cli.report.overview import store_overview

    return store_overview(RolloutStore.open(source))


def _episode_facts(source: str, index: int, video: Path | None, image: Path | None) -> dict[str, Any]:
    from data.store import RolloutStore
    from srpo_cli.report.overview import episode_details

    store = RolloutStore.open(source)
    facts = episode_details(store, index)
    if video or image:
        facts |= _draw(store, index, video, image)
    return facts


def _show_reward(source: str, label: str, count: int, image: Path | None, json: bool) -> None:
    from data.store import RolloutStore
    from srpo_cli.report.reward_facts import reward_facts, with_views
    from srpo_cli.report.reward_text import show_reward
    from srpo_cli.report.rewarded import read_reward

    store = RolloutStore.open(source)
    rewarded = read_reward(store, label)
    facts = with_views(store, rewarded) if json else reward_facts(rewarded)
    if image:
        from srpo_cli.report.films import save_films

        facts |= {"strips": save_films(store, facts["tasks"], count, image), "image": str(image)}
    emit(facts, json, lambda shown: show_reward(shown, count))


def _show_failures(source: str, json: bool) -> None:
    from data.store import RolloutStore
    from srpo_cli.console import progress
    from srpo_cli.report.failures import failure_facts, show_failures

    with progress("failures", "episodes") as tick:
        facts = failure_facts(RolloutStore.open(source), tick)
    emit(facts, json, show_failures)


def _draw(store: Any, index: int, video: Path | None, image: Path | None) -> dict[str, Any]:
    from srpo_cli.report.pictures import EpisodeView, check_target

    for target, suffix in ((video, ".mp4"), (image, ".png")):
        if target:
            check_target(target, suffix)
    view = EpisodeView(store)
    written: dict[str, Any] = {}
    if image:
        view.save_strip(index, image)
        written["image"] = str(image)
    if video:
        written |= {"video": str(video), "video_frames": view.video(index, video)}
    return written
