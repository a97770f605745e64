"""Pictures of stored episodes: moments spread over one, as a strip (PNG) or a video (MP4).

Legend: F moments, t + 1 stored states, H = W pixels a side.
"""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from data.errors import UserError
from data.store import RolloutStore
from stages.sim.view import StateView
from stages.world_models.base import frame_indices

STRIP_FRAMES, STRIP_SIZE = 6, 192
BAND = 22
"""pixels below a frame for its caption"""
FONT, BOLD, FONT_SIZE = cv2.FONT_HERSHEY_SIMPLEX, cv2.FONT_HERSHEY_DUPLEX, 0.45
VIDEO_SIZE, VIDEO_FPS = 256, 20.0


@dataclass(frozen=True)
class Strip:
    """Moments of one episode in order of time."""

    steps: np.ndarray
    """(F,) the control step each was taken after"""
    frames: np.ndarray
    """(F, H, W, 3) uint8"""

    def row(self, gap: int = 4) -> np.ndarray:
        """The frames side by side on white: (H, W, 3) uint8."""
        spacer = np.full((self.frames.shape[1], gap, 3), 255, np.uint8)
        parts = [part for frame in self.frames for part in (frame, spacer)][:-1]
        return np.concatenate(parts, axis=1)

    def png(self) -> bytes:
        """`row` as PNG."""
        return encode_png(self.row())

    def words(self) -> str:
        """`After 0, 40, 80 control steps.`"""
        return f"After {', '.join(map(str, self.steps))} control steps."

    def captioned(self) -> "Strip":
        """The same with the control step written under each frame."""
        named = [caption(frame, f"step {step}") for frame, step in zip(self.frames, self.steps, strict=True)]
        return Strip(self.steps, np.stack(named))


class EpisodeView:
    """Renders the episodes of one store; building a task takes a second, each picture a few milliseconds."""

    def __init__(self, store: RolloutStore, camera: str = "agentview") -> None:
        self._store, self._camera = store, camera
        self._view = StateView(store.attrs["suite"], store.attrs["look"])

    def strip(self, index: int, frames: int = STRIP_FRAMES, size: int = STRIP_SIZE) -> Strip:
        """Moments of episode `index`, spread evenly, both ends included."""
        states = self._store.read(index, images=False).state
        steps = frame_indices(len(states), frames)
        task = int(self._store.plan.task[index])
        return Strip(steps, self._view.frames(task, states[steps], self._camera, size))

    def save_strip(self, index: int, out: Path) -> None:
        """`strip` as a PNG file, the control step written under each frame.

        Raises:
            UserError: the file cannot be written.
        """
        check_target(out, ".png")
        write_png(out, self.strip(index).captioned().row())

    def video(self, index: int, out: Path, size: int = VIDEO_SIZE) -> int:
        """Every moment of episode `index` as an MP4 in real time; returns how many frames it has.

        Raises:
            UserError: the file cannot be written.
        """
        states = self._store.read(index, images=False).state
        task = int(self._store.plan.task[index])
        check_target(out, ".mp4")
        writer = cv2.VideoWriter(str(out), cv2.VideoWriter.fourcc(*"mp4v"), VIDEO_FPS, (size, size))
        if not writer.isOpened():
            raise UserError(f"cannot write a video to {out}; check the folder and the free space")
        try:
            for state in states:
                frame = self._view.frames(task, state[None], self._camera, size)[0]
                writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
        finally:
            writer.release()
        return len(states)


def caption(frame: np.ndarray, text: str) -> np.ndarray:
    """(H, W, 3) with a white band of `BAND` pixels below that holds `text`."""
    return np.concatenate([frame, band(frame.shape[1], text)])


def band(width: int, text: str, bold: bool = False) -> np.ndarray:
    """(BAND, width, 3): `text` on white, squeezed where it is too long."""
    shown, font = np.full((BAND, width, 3), 255, np.uint8), BOLD if bold else FONT
    (taken, _), _ = cv2.getTextSize(text, font, FONT_SIZE, 1)
    size = FONT_SIZE * min(1.0, (width - 8) / max(taken, 1))
    cv2.putText(shown, text, (4, BAND - 7), font, size, (20, 20, 20) if bold else (60, 60, 60), 1, cv2.LINE_AA)
    return shown


def write_png(out: Path, picture: np.ndarray) -> None:
    """(H, W, 3) uint8 RGB to a file.

    Raises:
        UserError: it cannot be written.
    """
    try:
        out.write_bytes(encode_png(picture))
    except OSError as error:
        raise UserError(f"cannot write {out} ({error.strerror}); choose another file") from error


def encode_png(picture: np.ndarray) -> bytes:
    """(H, W, 3) uint8 RGB as PNG."""
    whole, data = cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    if not whole:
        raise RuntimeError(f"OpenCV could not encode a picture of shape {picture.shape} as PNG")
    return data.tobytes()


def check_target(out: Path, suffix: str) -> None:
    """Refuse a file name that does not end as it should, or a folder that is not there.

    Raises:
        UserError: either.
    """
    if out.suffix.lower() != suffix:
        raise UserError(f"{out} must end in {suffix}")
    if not out.parent.is_dir():
        raise UserError(f"no folder {out.parent}; make it first")
    if out.is_dir():
        raise UserError(f"{out} is a folder; name a file in it")
