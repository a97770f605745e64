"""`srpo inspect STORE|RUN`: what is in it, one episode of it, and pictures of that episode."""

from pathlib import Path
from typing import Annotated, Any

import typer

from srpo_cli.console import emit
from srpo_cli.options import Json


def command(
    source: Annotated[
        str, typer.Argument(metavar="STORE|RUN", help="A rollout store or a run directory.", show_default=False)
    ],
    episode: Annotated[int | None, typer.Option(help="One episode of the store.", show_default=False)] = None,
    video: Annotated[
        Path | None, typer.Option(metavar="OUT.mp4", help="The episode in real time.", show_default=False)
    ] = None,
    image: Annotated[
        Path | None, typer.Option(metavar="OUT.png", help="Six moments of the episode.", show_default=False)
    ] = None,
    json: Json = False,
) -> None:
    """Show what a store or run holds, or one episode with pictures of it.

    Pictures are rendered from the stored states, in the store's look.
    Example: `srpo inspect runs/a/rollouts/000.zarr --episode 3 --image strip.png`
    """
    from data.errors import UserError
    from data.runs import Run
    from srpo_cli.report import text

    if episode is None and (video or image):
        raise UserError("pictures are of one episode; give --episode I")
    if _is_run(source):
        if episode is not None:
            raise UserError(f"{source} is a run; give one of its stores: `srpo inspect {source}/rollouts/000.zarr ...`")
        emit(_run_facts(Run.open(source)), json, text.show_run)
    elif episode is None:
        emit(_store_facts(source), json, text.show_store)
    else:
        emit(_episode_facts(source, episode, video, image), json, text.show_episode)


def _is_run(source: str) -> bool:
    return (Path(source) / "run.toml").is_file()


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
