"""Triangles that leave no trace in a picture are not drawn, where a CPU rasterises: the `full` look in 2/3 of the time.

LIBERO's scanned objects bring 300,000 triangles a scene, most of them far smaller than a pixel. MuJoCo draws a mesh by
calling a display list. Here that list calls one of these instead, and the pixels stay the same, bit for bit:

    nothing      the mesh is outside the view
    its traces   the triangles that face the camera and may cover a sample point of a pixel; compiled when a mesh is
                 seen in a pose for the second time (things at rest before a fixed camera)
    all of it    otherwise, and where a mirror (the stove's metal top) may show it

Legend: F faces, V vertices.
"""

import math
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any

import mujoco
import numpy as np

from stages.sim.provider import use_cache_folders

use_cache_folders()

import numba  # noqa: E402  (reads NUMBA_CACHE_DIR when imported)

SAME_POSE = 1e-5
"""Metres, and entries of a rotation matrix, to which a pose is the same: 0.004 pixels of LIBERO's views at 256."""
SLACK = 0.05
"""Pixels by which a triangle may be off where it is thought to be: the above, and the rasteriser's grid of 1/256."""
POSES = 12
"""Poses kept a mesh."""
WORTH = 500
"""Faces below which a mesh is left alone."""


@dataclass
class _Mesh:
    """corners, normals: (F, 9) f32, texture: (F, 6) f32, what OpenGL draws; whole: the list of all of it."""

    geom: int
    corners: np.ndarray
    normals: np.ndarray
    texture: np.ndarray
    whole: int
    seen: OrderedDict[bytes, int] = field(default_factory=OrderedDict)
    """pose -> its list; 0 while it was seen only once"""
    shown: int = -1


class Culling:
    """The lists of a model's meshes in one MuJoCo context; the OpenGL context is current in every call."""

    def __init__(self, model: mujoco.MjModel, context: mujoco.MjrContext, groups: tuple[int, ...]) -> None:
        """Takes over the opaque, textured meshes of these geom groups (a fraction of a second)."""
        from OpenGL import GL  # chooses its platform when imported: after the context is made

        self._gl: Any = GL
        self._model, self._base = model, context.baseMesh
        self._arrays = (GL.GL_VERTEX_ARRAY, GL.GL_NORMAL_ARRAY, GL.GL_TEXTURE_COORD_ARRAY)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, context)
        count = int(GL.glGetIntegerv(GL.GL_SAMPLES))
        places = [np.ravel(GL.glGetMultisamplefv(GL.GL_SAMPLE_POSITION, i))[:2] for i in range(count)]
        self._samples = np.array(places or [np.array([0.5, 0.5])], float)
        self._meshes = {mesh: self._take(mesh, geom) for mesh, geom in _drawn_once(model, groups).items()}
        self._mirrors = mirrors(model, groups)

    def show(self, data: mujoco.MjData, camera: int, size: int, drawn: np.ndarray) -> None:
        """Have every mesh's list call what a camera sees of it in the present pose.

        Args:
            data: kinematics current.
            camera: a camera's id.
            size: pixels a side.
            drawn: (G,) bool, the geoms that are drawn at all.
        """
        eye, turn = data.cam_xpos[camera], data.cam_xmat[camera].reshape(3, 3)
        slope = float(np.tan(np.deg2rad(self._model.cam_fovy[camera]) / 2))
        for index, mesh in self._meshes.items():
            if not drawn[mesh.geom]:
                continue
            centre, radius = data.geom_xpos[mesh.geom], float(self._model.geom_rbound[mesh.geom])
            place = turn.T @ (centre - eye)
            if any(shows_in(self._model, data, mirror, eye, centre, radius) for mirror in self._mirrors):
                self._call(index, mesh, mesh.whole)
            elif is_outside(place, radius, slope):
                self._call(index, mesh, 0)
            else:
                axes = turn.T @ data.geom_xmat[mesh.geom].reshape(3, 3)
                self._call(index, mesh, self._choose(mesh, axes, place, slope, size) or mesh.whole)

    def free(self) -> None:
        """Give the lists back."""
        for mesh in self._meshes.values():
            for name in (mesh.whole, *mesh.seen.values()):
                self._gl.glDeleteLists(name, 1)
        self._meshes = {}

    def _call(self, index: int, mesh: _Mesh, name: int) -> None:
        if mesh.shown == name:
            return
        mesh.shown = name
        self._gl.glNewList(self._base + 2 * index, self._gl.GL_COMPILE)
        if name:
            self._gl.glCallList(name)
        self._gl.glEndList()

    def _choose(self, mesh: _Mesh, axes: np.ndarray, place: np.ndarray, slope: float, size: int) -> int:
        """The list of what shows in a pose; 0 if this is the first time."""
        pose = np.rint(np.array([*axes.ravel(), *place, slope, size]) / SAME_POSE).astype(np.int64).tobytes()
        if pose not in mesh.seen:
            mesh.seen[pose] = 0
            if len(mesh.seen) > POSES:
                self._gl.glDeleteLists(mesh.seen.popitem(last=False)[1], 1)
        elif not mesh.seen[pose]:
            corners = mesh.corners.reshape(-1, 3, 3) @ axes.T + place
            mesh.seen[pose] = self._compile(mesh, np.flatnonzero(traces(corners, slope, size, self._samples)))
        mesh.seen.move_to_end(pose)
        return mesh.seen[pose]

    def _take(self, mesh: int, geom: int) -> _Mesh:
        m = self._model
        first, count = int(m.mesh_faceadr[mesh]), int(m.mesh_facenum[mesh])
        faces = slice(first, first + count)
        corners = m.mesh_vert[m.mesh_vertadr[mesh] + m.mesh_face[faces]].reshape(count, 9)
        normals = m.mesh_normal[m.mesh_normaladr[mesh] + m.mesh_facenormal[faces]].reshape(count, 9)
        texture = m.mesh_texcoord[m.mesh_texcoordadr[mesh] + m.mesh_facetexcoord[faces]].reshape(count, 6)
        made = _Mesh(geom, corners, normals, texture, 0)
        made.whole = self._compile(made, np.arange(count))
        return made

    def _compile(self, mesh: _Mesh, faces: np.ndarray) -> int:
        gl = self._gl
        corners, normals, texture = mesh.corners[faces], mesh.normals[faces], mesh.texture[faces]
        for array in self._arrays:
            gl.glEnableClientState(array)
        gl.glVertexPointer(3, gl.GL_FLOAT, 0, corners)
        gl.glNormalPointer(gl.GL_FLOAT, 0, normals)
        gl.glTexCoordPointer(2, gl.GL_FLOAT, 0, texture)
        name = int(gl.glGenLists(1))
        gl.glNewList(name, gl.GL_COMPILE)
        if len(faces):
            gl.glDrawArrays(gl.GL_TRIANGLES, 0, 3 * len(faces))
        gl.glEndList()
        for array in self._arrays:
            gl.glDisableClientState(array)
        return name


def applies(model: mujoco.MjModel, groups: tuple[int, ...]) -> bool:
    """Whether a CPU draws, no shadow is cast, and every mirror is a box (MuJoCo mirrors in its top only)."""
    from OpenGL import GL

    boxes = all(model.geom_type[geom] == mujoco.mjtGeom.mjGEOM_BOX for geom in mirrors(model, groups))
    return b"llvmpipe" in GL.glGetString(GL.GL_RENDERER) and boxes and not model.light_castshadow.any()


def mirrors(model: mujoco.MjModel, groups: tuple[int, ...]) -> list[int]:
    """The planes and boxes that reflect."""
    flat = np.isin(model.geom_type, (mujoco.mjtGeom.mjGEOM_PLANE, mujoco.mjtGeom.mjGEOM_BOX))
    drawn = np.flatnonzero(flat & np.isin(model.geom_group, groups) & (model.geom_matid >= 0))
    return [int(geom) for geom in drawn if model.mat_reflectance[model.geom_matid[geom]] > 0]


def _drawn_once(model: mujoco.MjModel, groups: tuple[int, ...]) -> dict[int, int]:
    """Mesh -> the one geom that draws it, of those that are opaque, large, and bring texture coordinates."""
    geoms: dict[int, list[int]] = {}
    for geom in np.flatnonzero((model.geom_type == mujoco.mjtGeom.mjGEOM_MESH) & np.isin(model.geom_group, groups)):
        geoms.setdefault(int(model.geom_dataid[geom]), []).append(int(geom))
    return {
        mesh: drawn[0]
        for mesh, drawn in geoms.items()
        if len(drawn) == 1
        and model.mesh_texcoordadr[mesh] >= 0
        and model.mesh_facenum[mesh] >= WORTH
        and is_opaque(model, drawn[0])
    }


def is_opaque(model: mujoco.MjModel, geom: int) -> bool:
    material = model.geom_matid[geom]
    return bool(model.geom_rgba[geom, 3] == 1 and (material < 0 or model.mat_rgba[material, 3] == 1))


def is_outside(place: np.ndarray, radius: float, slope: float) -> bool:
    """Whether a ball is wholly outside the square pyramid of a view.

    Args:
        place: (3,) its centre before the camera: right, up, back, in metres.
        radius: of the ball.
        slope: tangent of half the view's angle.
    """
    x, y, depth = abs(place[0]), abs(place[1]), -place[2]
    return bool(depth < -radius or max(x, y) - slope * depth > radius * np.sqrt(1.0 + slope * slope))


def shows_in(
    model: mujoco.MjModel, data: mujoco.MjData, mirror: int, eye: np.ndarray, centre: np.ndarray, radius: float
) -> bool:
    """Whether an eye (3,) may see a ball at `centre` (3,), both of the world, in the mirror that is a geom."""
    pose, origin = data.geom_xmat[mirror].reshape(3, 3), data.geom_xpos[mirror]
    return is_mirrored(pose.T @ (eye - origin), pose.T @ (centre - origin), radius, model.geom_size[mirror])


def is_mirrored(eye: np.ndarray, centre: np.ndarray, radius: float, size: np.ndarray) -> bool:
    """Whether an eye may see a ball in the mirror on top of a box.

    Args:
        eye, centre: (3,) of the eye and of the ball, in the box's frame.
        radius: of the ball.
        size: (3,) half the box's sides.
    """
    height = eye[2] - size[2]
    above = centre[2] - size[2]
    if height <= 0 or above < -radius:
        return False
    for axis in (0, 1):
        for way in (1.0, -1.0):
            # The plane through the mirrored eye and one edge of the mirror.
            slope = (size[axis] - way * eye[axis]) / height
            beyond = way * (centre[axis] - eye[axis]) - slope * (above + height)
            if beyond > radius * np.sqrt(1.0 + slope * slope):
                return False
    return True


@numba.njit(cache=True, error_model="numpy")
def traces(corners: np.ndarray, slope: float, size: int, samples: np.ndarray) -> np.ndarray:
    """Which triangles may change a picture: (F,) bool, true where in doubt.

    Args:
        corners: (F, 3, 3) f64 before the camera: right, up, back, in metres.
        slope: tangent of half the view's angle.
        size: pixels a side.
        samples: (n, 2) sample points of a pixel, in pixels.
    """
    kept = np.ones(len(corners), np.bool_)
    focal = size / (2.0 * slope)
    x, y = np.empty(3), np.empty(3)
    for f in range(len(corners)):
        c = corners[f]
        if max(c[0, 2], c[1, 2], c[2, 2]) > -0.02:
            continue
        for i in range(3):
            x[i] = size / 2.0 - focal * c[i, 0] / c[i, 2]
            y[i] = size / 2.0 - focal * c[i, 1] / c[i, 2]
        low_x, high_x, low_y, high_y = x.min() - SLACK, x.max() + SLACK, y.min() - SLACK, y.max() + SLACK
        back = (x[1] - x[0]) * (y[2] - y[0]) - (x[2] - x[0]) * (y[1] - y[0])
        longest = max(high_x - low_x, high_y - low_y)
        if back < -SLACK * longest or high_x < 0.0 or high_y < 0.0 or low_x > size or low_y > size:
            kept[f] = False
        elif longest < 2.0:
            kept[f] = _covers(low_x, high_x, low_y, high_y, samples)
    return kept


@numba.njit(cache=True, error_model="numpy")
def _covers(low_x: float, high_x: float, low_y: float, high_y: float, samples: np.ndarray) -> bool:
    """Whether a rectangle (in pixels) holds a sample point of any pixel."""
    for column in range(math.floor(low_x), math.floor(high_x) + 1):
        for row in range(math.floor(low_y), math.floor(high_y) + 1):
            for k in range(len(samples)):
                u, v = column + samples[k, 0], row + samples[k, 1]
                if low_x <= u <= high_x and low_y <= v <= high_y:
                    return True
    return False
