"""Frames of stored episodes, as encoders want them: rendered from the states, or what the policy saw.

Legend: N episodes, T control steps of an episode, C actions a query, n moments, S pixels a side.
"""

from typing import Literal

import cv2
import numpy as np

from data.errors import UserError, unknown
from data.store import RolloutStore
from stages.sim.looks.variation import Variation, draw_variation
from stages.sim.view import StateView

CAMERAS = ("agentview", "robot0_eye_in_hand")
Source = Literal["states", "images"]


class Clips:
    """Pictures of chosen moments of a store's episodes. Use it in the thread that made it, as it may draw."""

    def __init__(
        self, store: RolloutStore, camera: str, size: int, source: Source = "states", variation: int = -1
    ) -> None:
        """Args: the pictures' camera and side length; where they come from (see `step`); the seed of cameras and lights
        that differ from episode to episode, or -1.

        Raises:
            UserError: an unknown camera, or images that the store did not keep.
        """
        if camera not in CAMERAS:
            raise unknown("camera", camera, CAMERAS)
        if source == "images" and camera not in store.cameras():
            raise UserError(f"{store.path} kept no images of {camera}; render them instead: --set source=states")
        if source == "images" and variation >= 0:
            raise UserError("stored images cannot be varied; leave source or variation out")
        self.path = store.path
        self._store, self._camera, self._size, self._source = store, camera, size, source
        self._view = StateView(store.attrs["suite"], store.attrs["look"]) if source == "states" else None
        self._variation = variation
        self._length = store.steps() + 1 if source == "states" else store.queries()

    def moments(self, index: int) -> int:
        """How many moments of an episode there are to choose from: T + 1 states, or the queries' images."""
        return int(self._length[index])

    def step(self, moments: np.ndarray) -> np.ndarray:
        """The control steps that moments (n,) show; an image shows the start of its query, not the episode's end."""
        return moments if self._source == "states" else moments * int(self._store.attrs["chunk"])

    def frames(self, index: int, moments: np.ndarray) -> np.ndarray:
        """Moments (n,) of an episode -> (n, S, S, 3) uint8, upright."""
        if self._view:
            rows = self._store.states(index)[moments]
            task = int(self._store.plan.task[index])
            return self._view.frames(task, rows, self._camera, self._size, *self._varied(index))
        seen = self._store.group[f"query/image/{self._camera}"][index, : self.moments(index)]  # type: ignore[index]
        return np.stack([resized(picture, self._size) for picture in np.asarray(seen)[moments]])

    def _varied(self, index: int) -> tuple[Variation, ...]:
        """An episode's own variation, a function of the seed and the episode alone."""
        return (draw_variation([self._variation, index]),) if self._variation >= 0 else ()


def resized(picture: np.ndarray, size: int) -> np.ndarray:
    """(H, H, 3) uint8 -> (S, S, 3): area averages where it gets smaller, else bilinear."""
    if len(picture) == size:
        return picture
    how = cv2.INTER_AREA if len(picture) > size else cv2.INTER_LINEAR
    return cv2.resize(picture, (size, size), interpolation=how)
