"""Drawing: one offscreen OpenGL context a process, one MuJoCo renderer a model and look, serving any number of MjData.

`full` draws what LIBERO's OffScreenRenderEnv draws; `lite` drops shadows, reflections and multisampling.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import mujoco
import numpy as np

from data.errors import UserError, unknown
from stages.sim.looks.culling import Culling, applies
from stages.sim.looks.gl import gl_context
from stages.sim.looks.layers import Layers
from stages.sim.looks.variation import FIXED_CAMERA, Variation, add_noise, change_lights, moved_camera
from stages.sim.models.lite import MARK_GROUP

CAMERAS = ("agentview", "robot0_eye_in_hand")
LOOKS = ("lite", "full")
MAX_SIZE = 1024
FULL_GROUPS, LITE_GROUPS = (1, 2), (0, 1, 2)
HIDDEN = 5
"""The group of geoms and sites that are not drawn (MuJoCo has 0 to 5, LIBERO uses 0 to 2)."""


def check_request(camera: str, size: int) -> None:
    """Raises UserError: unknown camera or impossible size."""
    if camera not in CAMERAS:
        raise unknown("camera", camera, CAMERAS)
    if not 1 <= size <= MAX_SIZE:
        raise UserError(f"image size {size} is outside 1-{MAX_SIZE}")


class Renderer:
    """Draws states of one model in one look."""

    def __init__(self, model: mujoco.MjModel, look: str) -> None:
        if look not in LOOKS:
            raise unknown("look", look, LOOKS)
        self._gl = gl_context()
        self._gl.make_current()
        self._model = model
        self._size, self._lite = 0, look == "lite"
        self._context: mujoco.MjrContext | None = None
        self._culling: Culling | None = None
        self._layers: Layers | None = None
        self._scene = mujoco.MjvScene(model, maxgeom=model.ngeom + model.nsite)
        self._camera = mujoco.MjvCamera()
        self._camera.type = mujoco.mjtCamera.mjCAMERA_FIXED
        self._options = mujoco.MjvOption()
        if look == "lite":
            self._options.geomgroup[:] = [group in LITE_GROUPS for group in range(6)]
            self._options.sitegroup[:] = [group == MARK_GROUP for group in range(6)]
            self._scene.flags[:] = 0
            model.vis.quality.shadowsize = 0  # no shadow is drawn: 64 MB of shadow map a task saved
        else:
            self._options.geomgroup[0] = 0
        self._options.geomgroup[HIDDEN] = self._options.sitegroup[HIDDEN] = 0

    def render(self, data: mujoco.MjData, camera: str, size: int, variation: Variation | None = None) -> np.ndarray:
        """A square image, upright for a person.

        Args:
            data: kinematics current (mj_kinematics, mj_comPos, mj_camlight).
            camera: `agentview` or `robot0_eye_in_hand`.
            size: pixels a side, at most 1024.
            variation: another place of the camera, light and noise.

        Returns:
            (size, size, 3) u8.

        Raises:
            UserError: unknown camera, impossible size, or no OpenGL.
        """
        check_request(camera, size)
        if variation is None:
            return self._draw(data, camera, size)
        moved = variation if camera == FIXED_CAMERA else Variation()
        with moved_camera(data, self._model.camera(camera).id, moved):
            picture = self._draw(data, camera, size, variation)
        return add_noise(picture, variation, data.time)

    def _draw(self, data: mujoco.MjData, camera: str, size: int, variation: Variation | None = None) -> np.ndarray:
        self._gl.make_current()
        self._make_room(size)
        self._camera.fixedcamid = self._model.camera(camera).id
        view = mujoco.MjrRect(0, 0, size, size)
        if self._layers is None or variation is not None:
            self._draw_things(data, view, np.ones(self._model.ngeom + self._model.nsite, bool), variation)
        else:
            self._layers.draw(data, self._camera.fixedcamid, size, partial(self._draw_things, data, view))
        pixels = np.empty((size, size, 3), np.uint8)
        mujoco.mjr_readPixels(pixels, None, view, self._context)
        return np.ascontiguousarray(pixels[::-1])

    def _draw_things(
        self, data: mujoco.MjData, view: mujoco.MjrRect, drawn: np.ndarray, variation: Variation | None = None
    ) -> None:
        """Draw some of the geoms and sites, (geoms + sites,) bool, over a cleared buffer."""
        with self._only(drawn):
            category = mujoco.mjtCatBit.mjCAT_ALL
            mujoco.mjv_updateScene(self._model, data, self._options, None, self._camera, category, self._scene)
        if variation is not None:
            change_lights(self._scene, variation)
        # Another model's renderer may have drawn last, and mjr_render would go on in its framebuffer.
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self._context)
        if self._culling:
            self._culling.show(data, self._camera.fixedcamid, view.width, drawn)
        mujoco.mjr_render(view, self._scene, self._context)

    @contextmanager
    def _only(self, drawn: np.ndarray) -> Iterator[None]:
        """Hide the other geoms and sites for the moment."""
        groups = self._model.geom_group, self._model.site_group
        before = [group.copy() for group in groups]
        for group, shown in zip(groups, np.split(drawn, [self._model.ngeom]), strict=True):
            group[~shown] = HIDDEN
        try:
            yield
        finally:
            for group, values in zip(groups, before, strict=True):
                group[:] = values

    def close(self) -> None:
        """Free what it holds in OpenGL; it is of no use afterwards."""
        if self._context is not None:
            self._gl.make_current()
            self._free_lists()
            self._context.free()
            self._context = None

    def _free_lists(self) -> None:
        for part in (self._layers, self._culling):
            if part:
                part.free()

    def _make_room(self, size: int) -> None:
        """An offscreen buffer of at least this size; made anew only when a larger image is asked for."""
        if self._context is not None and size <= self._size:
            return
        self._free_lists()
        if self._context is not None:
            self._context.free()
        self._size = size if self._lite else max(size, 256)
        self._model.vis.global_.offwidth = self._model.vis.global_.offheight = self._size
        self._context = mujoco.MjrContext(self._model, mujoco.mjtFontScale.mjFONTSCALE_150)
        if not self._lite and applies(self._model, FULL_GROUPS):
            self._culling = Culling(self._model, self._context, FULL_GROUPS)
            self._layers = Layers(self._model, self._context, FULL_GROUPS)
