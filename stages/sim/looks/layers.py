"""What rests before a camera at rest is drawn once, where a CPU rasterises: the `full` look in 3/4 of the time.

A layer holds the colour and depth of everything at rest, for every sample of every pixel. A picture is what has moved,
drawn as ever, with the layer put behind and before it, sample by sample, by depth. A pose counts as the same within
`SAME_POSE`: the pixels are those of a picture drawn whole, but for things that creep, by less than that. Mirrors and
what may show in them, transparent things and what may show behind them are in no layer.

Legend: G things: a model's geoms, followed by its sites.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import mujoco
import numpy as np

from stages.sim.looks.culling import SAME_POSE, is_opaque, mirrors, shows_in

LAYERS = 8
"""Layers kept: cameras x simulators that share a renderer."""
RECENT = 8
"""Pictures before, among which one looks for what has not moved since."""
WORTH = 0.9
"""A layer that holds less than this share of the triangles that could rest is not used any more."""
VERTEX = """#version 150 compatibility
void main() { gl_Position = gl_Vertex; }
"""
FRAGMENT = """#version 150 compatibility
#extension GL_ARB_texture_multisample : require
#extension GL_ARB_sample_shading : require
uniform sampler2DMS colour;
uniform sampler2DMS depth;
void main() {
    ivec2 place = ivec2(gl_FragCoord.xy);
    gl_FragDepth = texelFetch(depth, place, gl_SampleID).r;
    gl_FragColor = texelFetch(colour, place, gl_SampleID);
}
"""


@dataclass(eq=False)
class _Layer:
    """key: camera, size and what else must be equal; resting: (G,) bool; poses: (G, 12)."""

    key: bytes
    resting: np.ndarray
    poses: np.ndarray
    frame: int
    textures: tuple[int, int]


class Layers:
    """The layers of one MuJoCo context; the OpenGL context is current in every call."""

    def __init__(self, model: mujoco.MjModel, context: mujoco.MjrContext, groups: tuple[int, ...]) -> None:
        """Args: what is drawn: a model's geoms of these groups."""
        from OpenGL import GL

        self._gl: Any = GL
        self._model, self._context = model, context
        self._layers: list[_Layer] = []
        self._recent: deque[tuple[bytes, np.ndarray]] = deque(maxlen=RECENT)
        self._drawn = np.isin(model.geom_group, groups)
        self._weight = np.concatenate([self._drawn, np.zeros(model.nsite)])
        meshes = np.flatnonzero((model.geom_type == mujoco.mjtGeom.mjGEOM_MESH) & self._drawn)
        self._weight[meshes] = model.mesh_facenum[model.geom_dataid[meshes]]
        self._mirrors = mirrors(model, groups)
        glass = [not is_opaque(model, geom) and model.geom_rgba[geom, 3] > 0 for geom in range(model.ngeom)]
        self._glass = np.flatnonzero(self._drawn & glass).tolist()
        self._program = _program(GL)

    def draw(self, data: mujoco.MjData, camera: int, size: int, draw: Callable[[np.ndarray], None]) -> None:
        """Draw a picture into MuJoCo's offscreen buffer.

        Args:
            data: kinematics current.
            camera: a camera's id.
            size: pixels a side.
            draw: draws the things of a mask (G,) bool over a cleared buffer.
        """
        key = self._key(data, camera, size)
        poses = np.block([[data.geom_xpos, data.geom_xmat], [data.site_xpos, data.site_xmat]])
        resting, layer = self._resting(key, poses, data, camera), self._find(key, poses)
        self._remember(key, poses)
        held = layer.resting @ self._weight if layer else 0.0
        if resting is not None and held < WORTH * (resting @ self._weight):
            layer = self._make(key, resting, poses, size, draw)
        if layer is None:
            draw(np.ones(len(poses), bool))
            return
        self._layers.remove(layer)
        self._layers.append(layer)
        draw(~layer.resting)
        self._compose(layer)

    def free(self) -> None:
        """Give everything back."""
        while self._layers:
            self._drop(self._layers[0])
        self._gl.glDeleteProgram(self._program)

    def _key(self, data: mujoco.MjData, camera: int, size: int) -> bytes:
        view = np.concatenate([data.cam_xpos[camera], data.cam_xmat[camera], [size, camera]])
        return np.rint(view / SAME_POSE).astype(np.int64).tobytes() + self._model.site_rgba.tobytes()

    def _resting(self, key: bytes, poses: np.ndarray, data: mujoco.MjData, camera: int) -> np.ndarray | None:
        """What may be in a layer: not entangled, and unmoved since a recent picture, the one with most of it; none: the
        view is new."""
        alike = [np.abs(poses - before).max(axis=1) < SAME_POSE for other, before in self._recent if other == key]
        if not alike:
            return None
        best = max(alike, key=lambda still: float(still @ self._weight))
        return best & ~self._entangled(data, data.cam_xpos[camera])

    def _entangled(self, data: mujoco.MjData, eye: np.ndarray) -> np.ndarray:
        """Mirrors and what may show in them, transparent things and what may show behind them. A plane always may."""
        found = np.zeros(len(self._weight), bool)
        found[self._mirrors] = found[self._glass] = True
        for geom in np.flatnonzero(self._drawn & ~found[: len(self._drawn)]):
            centre, radius = data.geom_xpos[geom], float(self._model.geom_rbound[geom])
            found[geom] = bool(self._mirrors or self._glass) and (
                radius == 0
                or any(shows_in(self._model, data, mirror, eye, centre, radius) for mirror in self._mirrors)
                or any(self._shows_behind(data, glass, eye, centre, radius) for glass in self._glass)
            )
        return found

    def _shows_behind(
        self, data: mujoco.MjData, glass: int, eye: np.ndarray, centre: np.ndarray, radius: float
    ) -> bool:
        return is_behind(centre - eye, radius, data.geom_xpos[glass] - eye, float(self._model.geom_rbound[glass]))

    def _remember(self, key: bytes, poses: np.ndarray) -> None:
        self._recent.append((key, poses))

    def _find(self, key: bytes, poses: np.ndarray) -> _Layer | None:
        """The layer with most in it whose things are all where they were."""
        fits = [
            layer
            for layer in self._layers
            if layer.key == key and np.abs(poses - layer.poses)[layer.resting].max(initial=0.0) < SAME_POSE
        ]
        return max(fits, key=lambda layer: layer.resting @ self._weight, default=None)

    def _make(
        self, key: bytes, resting: np.ndarray, poses: np.ndarray, size: int, draw: Callable[[np.ndarray], None]
    ) -> _Layer:
        if len(self._layers) == LAYERS:
            self._drop(self._layers[0])
        draw(resting)
        gl, c = self._gl, self._context
        textures = gl.glGenTextures(2)
        frame = int(gl.glGenFramebuffers(1))
        gl.glBindFramebuffer(gl.GL_DRAW_FRAMEBUFFER, frame)
        formats = (
            (gl.GL_RGBA8, gl.GL_COLOR_ATTACHMENT0),
            (gl.GL_DEPTH32F_STENCIL8, gl.GL_DEPTH_STENCIL_ATTACHMENT),
        )
        for texture, (kind, place) in zip(textures, formats, strict=True):
            gl.glBindTexture(gl.GL_TEXTURE_2D_MULTISAMPLE, texture)
            gl.glTexImage2DMultisample(gl.GL_TEXTURE_2D_MULTISAMPLE, c.offSamples, kind, size, size, True)
            gl.glFramebufferTexture2D(gl.GL_DRAW_FRAMEBUFFER, place, gl.GL_TEXTURE_2D_MULTISAMPLE, texture, 0)
        gl.glBindTexture(gl.GL_TEXTURE_2D_MULTISAMPLE, 0)
        gl.glBindFramebuffer(gl.GL_READ_FRAMEBUFFER, c.offFBO)
        bits = gl.GL_COLOR_BUFFER_BIT | gl.GL_DEPTH_BUFFER_BIT
        gl.glBlitFramebuffer(0, 0, size, size, 0, 0, size, size, bits, gl.GL_NEAREST)
        gl.glBindFramebuffer(gl.GL_FRAMEBUFFER, c.offFBO)
        made = _Layer(key, resting, poses, frame, (int(textures[0]), int(textures[1])))
        self._layers.append(made)
        return made

    def _compose(self, layer: _Layer) -> None:
        """The layer's samples, where they are nearer than what is drawn (MuJoCo's depth is 1 at the eye)."""
        gl = self._gl
        gl.glPushAttrib(gl.GL_ALL_ATTRIB_BITS)
        for state in (gl.GL_CULL_FACE, gl.GL_BLEND, gl.GL_STENCIL_TEST, gl.GL_LIGHTING, gl.GL_CLIP_PLANE0):
            gl.glDisable(state)
        gl.glEnable(gl.GL_DEPTH_TEST)
        gl.glDepthFunc(gl.GL_GREATER)
        gl.glDepthMask(True)
        gl.glUseProgram(self._program)
        for unit, texture in enumerate(layer.textures):
            gl.glActiveTexture(gl.GL_TEXTURE0 + unit)
            gl.glBindTexture(gl.GL_TEXTURE_2D_MULTISAMPLE, texture)
        gl.glBegin(gl.GL_TRIANGLES)
        for corner in ((-1, -1), (3, -1), (-1, 3)):
            gl.glVertex2f(*corner)
        gl.glEnd()
        for unit in (1, 0):
            gl.glActiveTexture(gl.GL_TEXTURE0 + unit)
            gl.glBindTexture(gl.GL_TEXTURE_2D_MULTISAMPLE, 0)
        gl.glUseProgram(0)
        gl.glPopAttrib()

    def _drop(self, layer: _Layer) -> None:
        self._layers.remove(layer)
        self._gl.glDeleteFramebuffers(1, [layer.frame])
        self._gl.glDeleteTextures(list(layer.textures))


def is_behind(centre: np.ndarray, radius: float, glass: np.ndarray, size: float) -> bool:
    """Whether a ball may be seen through another one.

    Args:
        centre, radius: of the ball; (3,) from the eye.
        glass, size: centre and radius of the other.
    """
    far, near = float(np.linalg.norm(centre)), float(np.linalg.norm(glass))
    if near <= size or far <= radius:
        return True
    apart = np.arccos(np.clip(centre @ glass / (far * near), -1.0, 1.0))
    return bool(apart <= np.arcsin(radius / far) + np.arcsin(size / near) and far + radius >= near - size)


def _program(gl: Any) -> int:
    """The shaders that write a layer's samples."""
    from OpenGL.GL import shaders

    parts = [
        shaders.compileShader(text, kind)
        for text, kind in ((VERTEX, gl.GL_VERTEX_SHADER), (FRAGMENT, gl.GL_FRAGMENT_SHADER))
    ]
    program = int(shaders.compileProgram(*parts, validate=False))
    gl.glUseProgram(program)
    for unit, name in enumerate(("colour", "depth")):
        gl.glUniform1i(gl.glGetUniformLocation(program, name), unit)
    gl.glUseProgram(0)
    return program
