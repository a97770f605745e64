"""The `lite` look: LIBERO's model reduced to what collides, each thing in one bright colour, the robot as capsules.

Physics stays equal: geoms without contact carry no mass in LIBERO (inertiagrouprange 0 0), so removing or adding them
changes nothing that moves.
"""

import xml.etree.ElementTree as ET
from collections.abc import Iterator
from typing import Any

import mujoco
import numpy as np

HIDDEN_GROUP, ADDED_GROUP = 5, 2
SLICES = 10
SOLVER_TOLERANCE = 1e-12
DARK, TOP, SATURATION = 0.15, 0.9, 2.0
FLOOR, TABLE = 0.45, 0.6
LIGHTS = 2
"""Kitchens have a third light, which burns the plain colours out."""


def reduce_xml(xml: str, full: mujoco.MjModel) -> str:
    """LIBERO's XML without geoms that never touch, textures, materials, and meshes nobody uses any more.

    Args:
        xml: the model as LIBERO's environment writes it (every geom named).
        full: the same, compiled, read for colours.
    """
    root = ET.fromstring(xml)
    if root.find(".//default") is not None:
        raise RuntimeError("LIBERO's XML has default classes; the reduction reads attributes of geoms alone")
    colours = _body_colours(full)
    world = root.find("worldbody")
    assert world is not None
    for body, parents in _bodies(world, ["world"]):
        _reduce_body(body, parents, full, colours)
    asset = root.find("asset")
    assert asset is not None
    used = {geom.get("mesh") for geom in root.iter("geom")}
    for element in list(asset):
        if element.tag != "mesh" or element.get("name") not in used:
            asset.remove(element)
    return ET.tostring(root, encoding="unicode")


def dress(model: mujoco.MjModel) -> None:
    """Settings of a compiled lite model: robot meshes hidden behind their capsules, few slices, no multisampling.

    The contact solver goes on to 1e-12: robosuite solves every substep three times, each from the last solution, and so
    ends far below its tolerance of 1e-8; one solve that goes on agrees with it to 1e-11 and costs nothing measurable.
    """
    robot_mesh = (model.geom_type == mujoco.mjtGeom.mjGEOM_MESH) & np.array(
        [model.body(i).name.startswith(("robot0_", "gripper0_")) for i in model.geom_bodyid]
    )
    model.geom_group[robot_mesh] = HIDDEN_GROUP
    model.opt.tolerance = SOLVER_TOLERANCE
    model.vis.quality.offsamples = 0
    model.vis.quality.numslices = model.vis.quality.numstacks = SLICES
    model.vis.quality.numquads = 1
    model.light_active[:-LIGHTS] = 0


def place_bodies(model: mujoco.MjModel, numbers: dict[str, Any]) -> None:
    """Put every body where LIBERO's reset had it, and show the sites it showed (both looks have the same of these)."""
    model.body_pos[:] = numbers["body_pos"]
    model.body_quat[:] = numbers["body_quat"]
    model.site_rgba[:] = numbers["site_rgba"]


def _bodies(element: ET.Element, parents: list[str]) -> Iterator[tuple[ET.Element, list[str]]]:
    """Every body below `element`, the world included, with the names from the world down to it."""
    yield element, parents
    for child in element.findall("body"):
        yield from _bodies(child, [*parents, child.get("name", "")])


def _reduce_body(body: ET.Element, parents: list[str], full: mujoco.MjModel, colours: dict[str, np.ndarray]) -> None:
    robot = parents[-1].startswith(("robot0_", "gripper0_"))
    for geom in body.findall("geom"):
        if geom.get("contype", "1") == "0" and geom.get("conaffinity", "1") == "0":
            body.remove(geom)
            continue
        rgba = _geom_colour(geom, parents, full, colours)
        geom.attrib.pop("material", None)
        geom.set("rgba", " ".join(f"{x:.4f}" for x in (*rgba, 1.0)))
        if robot and geom.get("type") == "mesh":
            body.append(_capsule(geom))


def _capsule(geom: ET.Element) -> ET.Element:
    """A visible primitive that the compiler fits to a robot mesh: capsules for links, boxes for hand and fingers."""
    shape = "box" if geom.get("name", "").startswith("gripper0_") else "capsule"
    keep = {key: geom.get(key, "") for key in ("mesh", "pos", "quat", "rgba") if geom.get(key)}
    fixed = {"contype": "0", "conaffinity": "0", "group": str(ADDED_GROUP), "mass": "0"}
    return ET.Element("geom", {"name": f"{geom.get('name')}_{shape}", "type": shape, **keep, **fixed})


def _geom_colour(
    geom: ET.Element, parents: list[str], full: mujoco.MjModel, colours: dict[str, np.ndarray]
) -> np.ndarray:
    """A collision geom's colour: the floor's own, else what its body, or the nearest body above, looks like."""
    index = mujoco.mj_name2id(full, mujoco.mjtObj.mjOBJ_GEOM, geom.get("name", ""))
    if geom.get("type") == "plane":
        return np.full(3, FLOOR)
    if "table" in parents[-1]:
        return _muted(_body_mean(full, index))
    if geom.get("material"):
        return _brighten(_mean_colour(full, index))
    for name in reversed(parents):
        if name in colours:
            return colours[name]
    return np.asarray(full.geom_rgba[index, :3], float)


def _body_colours(full: mujoco.MjModel) -> dict[str, np.ndarray]:
    """Body name -> (3,) mean colour of its visible geoms (those that never touch)."""
    seen: dict[str, list[np.ndarray]] = {}
    for i in range(full.ngeom):
        if full.geom_contype[i] == 0 and full.geom_conaffinity[i] == 0 and full.geom_bodyid[i] > 0:
            seen.setdefault(full.body(full.geom_bodyid[i]).name, []).append(_brighten(_mean_colour(full, i)))
    return {name: np.mean(colours, axis=0) for name, colours in seen.items()}


def _body_mean(full: mujoco.MjModel, geom: int) -> np.ndarray:
    """Mean colour (3,) of everything that is seen of a geom's body."""
    body = full.geom_bodyid[geom]
    seen = [int(i) for i in np.flatnonzero(full.geom_bodyid == body) if full.geom_matid[i] >= 0]
    return np.asarray(np.mean([_mean_colour(full, i) for i in seen or [geom]], axis=0))


def _mean_colour(full: mujoco.MjModel, geom: int) -> np.ndarray:
    """Mean colour (3,) in [0, 1] of a geom's material, texels darker than 15 % left out (unused texture area)."""
    material = full.geom_matid[geom]
    if material < 0:
        return np.asarray(full.geom_rgba[geom, :3], float)
    tint = np.asarray(full.mat_rgba[material, :3], float)
    texture = int(full.mat_texid[material, mujoco.mjtTextureRole.mjTEXROLE_RGB])
    if texture < 0:
        return tint
    start, channels = int(full.tex_adr[texture]), int(full.tex_nchannel[texture])
    count = int(full.tex_width[texture]) * int(full.tex_height[texture])
    texels = full.tex_data[start : start + count * channels].reshape(count, channels)[:: max(1, count // 65536), :3]
    texels = texels.astype(float) / 255
    lit = texels[texels.max(axis=1) >= DARK]
    return tint * (lit if len(lit) else texels).mean(axis=0)


def _muted(rgb: np.ndarray) -> np.ndarray:
    """For what things stand on: scaled to a brightest channel of 0.6."""
    return np.asarray(rgb * (TABLE / max(float(rgb.max()), 1e-3)))


def _brighten(rgb: np.ndarray) -> np.ndarray:
    """Scaled to a brightest channel of 0.9, with twice the saturation."""
    peak = max(float(rgb.max()), 1e-3)
    bright = rgb * (TOP / peak)
    return np.clip(bright.max() - SATURATION * (bright.max() - bright), 0.05, 1.0)
