"""Drawing: one offscreen OpenGL context a process, one MuJoCo renderer a model and look, serving any number of MjData.

`full` draws what LIBERO's OffScreenRenderEnv draws; `lite` drops shadows, reflections and multisampling.
"""

import mujoco
import numpy as np

from data.errors import UserError, unknown
from stages.sim.looks.culling import Culling, applies
from stages.sim.looks.gl import gl_context
from stages.sim.models.lite import MARK_GROUP

CAMERAS = ("agentview", "robot0_eye_in_hand")
LOOKS = ("lite", "full")
MAX_SIZE = 1024
FULL_GROUPS, LITE_GROUPS = (1, 2), (0, 1, 2)


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

    def render(self, data: mujoco.MjData, camera: str, size: int) -> np.ndarray:
        """A square image, upright for a person.

        Args:
            data: kinematics current (mj_kinematics, mj_comPos, mj_camlight).
            camera: `agentview` or `robot0_eye_in_hand`.
            size: pixels a side, at most 1024.

        Returns:
            (size, size, 3) u8.

        Raises:
            UserError: unknown camera, impossible size, or no OpenGL.
        """
        check_request(camera, size)
        self._gl.make_current()
        self._make_room(size)
        self._camera.fixedcamid = self._model.camera(camera).id
        category = mujoco.mjtCatBit.mjCAT_ALL
        mujoco.mjv_updateScene(self._model, data, self._options, None, self._camera, category, self._scene)
        view = mujoco.MjrRect(0, 0, size, size)
        # Another model's renderer may have drawn last, and mjr_render would go on in its framebuffer.
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self._context)
        if self._culling:
            self._culling.show(data, self._camera.fixedcamid, size)
        mujoco.mjr_render(view, self._scene, self._context)
        pixels = np.empty((size, size, 3), np.uint8)
        mujoco.mjr_readPixels(pixels, None, view, self._context)
        return np.ascontiguousarray(pixels[::-1])

    def close(self) -> None:
        """Free what it holds in OpenGL; it is of no use afterwards."""
        if self._context is not None:
            self._gl.make_current()
            if self._culling:
                self._culling.free()
            self._context.free()
            self._context = None

    def _make_room(self, size: int) -> None:
        """An offscreen buffer of at least this size; made anew only when a larger image is asked for."""
        if self._context is not None and size <= self._size:
            return
        if self._culling:
            self._culling.free()
        if self._context is not None:
            self._context.free()
        self._size = size if self._lite else max(size, 256)
        self._model.vis.global_.offwidth = self._model.vis.global_.offheight = self._size
        self._context = mujoco.MjrContext(self._model, mujoco.mjtFontScale.mjFONTSCALE_150)
        if not self._lite and applies(self._model, FULL_GROUPS):
            self._culling = Culling(self._model, self._context, FULL_GROUPS)
