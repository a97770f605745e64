"""The `lite` look: LIBERO's model reduced to what collides, each kind of thing in one bright colour, robot as capsules.

Physics stays equal: geoms without contact carry no mass in LIBERO (inertiagrouprange 0 0), so removing or adding them
changes nothing that moves. Drawn besides: patches on the table where a region serves as a goal, and burners (sites).
"""

import xml.etree.ElementTree as ET
from typing import Any

import mujoco
import numpy as np

from stages.sim.models.palette import BURNER_OFF, TARGET, colour_of

HIDDEN_GROUP, ADDED_GROUP, MARK_GROUP = 5, 2, 3
SLICES = 10
SOLVER_TOLERANCE = 1e-12
PATCH, PATCH_THICKNESS = "target_", 0.001
BURNER_COVER = "_collision_burner"
AMBIENT = 0.3
ARENA = "64M"
"""Scratch memory of an MjData: a busy scene (230 contacts) uses 1 MB. LIBERO's limits of 5,000 contacts and constraints
would ask for 1.3 GB of address space each."""
UNTOUCHABLE = {"contype": "0", "conaffinity": "0", "group": str(ADDED_GROUP), "mass": "0"}
LIGHTS = 2
"""Kitchens have a third light, which burns the plain colours out."""


def reduce_xml(xml: str, targets: list[dict[str, Any]]) -> str:
    """LIBERO's XML without geoms that never touch, textures, materials, and meshes nobody uses any more.

    Args:
        xml: the model as LIBERO's environment writes it (every geom named).
        targets: where to lay a patch; see build.Built.
    """
    root = ET.fromstring(xml)
    if root.find(".//default") is not None:
        raise RuntimeError("LIBERO's XML has default classes; the reduction reads attributes of geoms alone")
    world = root.find("worldbody")
    asset = root.find("asset")
    assert world is not None and asset is not None
    _reduce_body(world)
    for body in world.iter("body"):
        _reduce_body(body)
    world.extend(_patch(i, target) for i, target in enumerate(targets))
    for size in root.findall("size"):
        size.attrib.clear()
        size.set("memory", ARENA)
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
        [_robot(model.body(i).name) for i in model.geom_bodyid]
    )
    model.geom_group[robot_mesh] = HIDDEN_GROUP
    model.opt.tolerance = SOLVER_TOLERANCE
    model.vis.quality.offsamples = 0
    model.vis.quality.numslices = model.vis.quality.numstacks = SLICES
    model.vis.quality.numquads = 1
    model.light_active[:-LIGHTS] = 0
    model.vis.headlight.ambient[:] = AMBIENT


def place_bodies(model: mujoco.MjModel, numbers: dict[str, Any]) -> None:
    """Put every body where LIBERO's reset had it, and show the sites it showed (both looks have the same of these)."""
    model.body_pos[:] = numbers["body_pos"]
    model.body_quat[:] = numbers["body_quat"]
    model.site_rgba[:] = numbers["site_rgba"]


def paint(model: mujoco.MjModel, numbers: dict[str, Any]) -> None:
    """Colour every geom by what it belongs to, and show the burners, which lie under a plate."""
    for geom, body in enumerate(model.geom_bodyid):
        name = model.geom(geom).name
        model.geom_rgba[geom] = TARGET if name.startswith(PATCH) else (*colour_of(model.body(body).name), 1.0)
        if name.endswith(BURNER_COVER):
            model.geom_group[geom] = HIDDEN_GROUP
    model.site_group[:] = HIDDEN_GROUP
    for burner in numbers["burners"]:
        for name in burner["sites"]:
            model.site(name).rgba, model.site(name).group = BURNER_OFF, MARK_GROUP


def _robot(body: str) -> bool:
    return body.startswith(("robot0_", "gripper0_"))


def _reduce_body(body: ET.Element) -> None:
    for geom in body.findall("geom"):
        if geom.get("contype", "1") == "0" and geom.get("conaffinity", "1") == "0":
            body.remove(geom)
            continue
        geom.attrib.pop("material", None)
        if _robot(body.get("name", "")) and geom.get("type") == "mesh":
            body.append(_capsule(geom))


def _capsule(geom: ET.Element) -> ET.Element:
    """A visible primitive that the compiler fits to a robot mesh: capsules for links, boxes for hand and fingers."""
    shape = "box" if geom.get("name", "").startswith("gripper0_") else "capsule"
    keep = {key: geom.get(key, "") for key in ("mesh", "pos", "quat") if geom.get(key)}
    return ET.Element("geom", {"name": f"{geom.get('name')}_{shape}", "type": shape, **keep, **UNTOUCHABLE})


def _patch(number: int, target: dict[str, Any]) -> ET.Element:
    """A thin box on the table that touches nothing."""
    numbers = {key: " ".join(str(x) for x in target[key]) for key in ("pos", "quat", "size")}
    return ET.Element("geom", {"name": f"{PATCH}{number}", "type": "box", **numbers, **UNTOUCHABLE})
