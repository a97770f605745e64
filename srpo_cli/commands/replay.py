"""`srpo replay`: where a list of actions leads, by our engine or by LIBERO's own."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from data.errors import UserError
from srpo_cli.console import emit, out
from srpo_cli.options import Json, Suite

if TYPE_CHECKING:
    import numpy as np

PICTURES = (".png", ".jpg", ".jpeg")


def command(
    suite: Suite,
    task: Annotated[int, typer.Option(help="Task number.")],
    actions: Annotated[Path, typer.Option(help=".npy of shape (T, 7): 6 pose changes in [-1, 1], and the gripper.")],
    out_file: Annotated[Path, typer.Option("--out", help="Where the states go: .npy, (T+1, time + qpos + qvel).")],
    init: Annotated[int, typer.Option(help="Recorded initial state, 0-49.")] = 0,
    engine: Annotated[str, typer.Option(help="fast (ours) or libero (its own OffScreenRenderEnv, slow).")] = "fast",
    look: Annotated[str | None, typer.Option(help="lite or full; libero draws full only.", show_default=False)] = None,
    image: Annotated[
        Path | None, typer.Option(help="Picture of the last moment: .png or .jpg.", show_default=False)
    ] = None,
    camera: Annotated[
        str | None, typer.Option(help="Its camera: agentview (the default) or robot0_eye_in_hand.", show_default=False)
    ] = None,
    size: Annotated[int | None, typer.Option(help="Its pixels a side; default: 256.", show_default=False)] = None,
    json: Json = False,
) -> None:
    """Replay actions from a recorded initial state and write one state a control step, plus the first.

    The first row is the state after LIBERO's ten settling no-ops; `--engine libero` is the independent truth.

    Example: `srpo replay --suite libero_object --task 2 --init 0 --actions a.npy --out states.npy --image last.png`
    """
    import numpy as np

    from stages.sim.looks.render import check_request
    from stages.sim.replay import load_actions, replay
    from stages.sim.tasks import select_tasks

    if task < 0:
        raise UserError(f"--task {task} is not a task number; `srpo suites {suite}` lists them")
    chosen = select_tasks(suite, str(task))[0]
    wanted = load_actions(actions)
    if image is None and (camera is not None or size is not None):
        raise UserError("--camera and --size are of a picture; add --image OUT.png")
    camera, size = camera or "agentview", 256 if size is None else size
    check_request(camera, size)
    _check_targets(out_file, image)
    done = replay(chosen, init, wanted, engine, look)
    _write(out_file, lambda path: _save(path, done.states))
    if image is not None:
        picture = done.engine.render(camera, size)
        _write(image, lambda path: _draw(path, picture))
    first = int(np.argmax(done.success)) if done.success.any() else None
    result = {"task": chosen.name, "init": init, "engine": engine, "steps": len(wanted), "first_success": first}
    emit({**result, "out": str(out_file), "image": str(image) if image else None}, json, _show)


def _check_targets(out_file: Path, image: Path | None) -> None:
    if out_file.suffix != ".npy":
        raise UserError(f"--out {out_file}: the states go to a file that ends in .npy")
    if image is not None and image.suffix.lower() not in PICTURES:
        raise UserError(f"--image {image}: a picture ends in {', '.join(PICTURES)}")


def _show(result: Mapping[str, Any]) -> None:
    first = result["first_success"]
    end = "never succeeded" if first is None else f"first success after action {first}"
    out.print(f"{result['steps']} actions by the {result['engine']} engine, {end}; states in {result['out']}")
    if result["image"]:
        out.print(f"last moment in {result['image']}")


def _write(path: Path, write: Callable[[Path], None]) -> None:
    """Write beside the place, then move there: no half file is ever seen."""
    temporary = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        write(temporary)
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise UserError(f"cannot write {path} ({error.strerror or error}); choose another place") from error


def _save(path: Path, states: "np.ndarray") -> None:
    import numpy as np

    with path.open("wb") as file:
        np.save(file, states)


def _draw(path: Path, picture: "np.ndarray") -> None:
    import cv2

    encoded, data = cv2.imencode(path.suffix, picture[:, :, ::-1])
    if not encoded:
        raise RuntimeError(f"OpenCV could not encode {path.suffix}")
    path.write_bytes(data.tobytes())
