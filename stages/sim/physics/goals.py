"""LIBERO's BDDL goals as numbers, so that success is known without LIBERO's environments.

`compile_goal` reads a built LIBERO environment once; `Goal` evaluates the result on any MjData of the reduced model.
The tests are those of envs/object_states/base_object_states.py, envs/objects/site_object.py and robosuite's
check_contact, evaluated on the same lagging kinematics: the last substep's, before its integration.
"""

from collections.abc import Callable
from typing import Any

import mujoco
import numpy as np

from data.errors import UserError

Spec = dict[str, Any]
Test = Callable[[mujoco.MjData], bool]

IN_SITE_SLACK, ON_SITE_SLACK, ON_SITE_HEIGHT, ON_OBJECT_RADIUS, UP_HEIGHT = 0.01, 0.005, 0.10, 0.03, 1.0
JOINT_TESTS = {"open": ("is_open", False), "close": ("is_close", True), "turnon": ("turn_on", False)}
JOINT_TESTS["turnoff"] = ("turn_off", True)
"""Predicate -> LIBERO's method for one joint, and whether every joint (else: any) must satisfy it."""


def compile_goal(env: Any, task_name: str) -> list[Spec]:
    """The conjunction that LIBERO checks, as plain JSON: names of bodies, sites, geoms, joints, and thresholds.

    Args:
        env: LIBERO's problem environment after its reset (`ControlEnv.env`).
        task_name: named in errors.

    Raises:
        UserError: a predicate that is not known here.
    """
    return [_compile(env, predicate, task_name) for predicate in env.parsed_problem["goal_state"]]


def _compile(env: Any, predicate: list[str], task_name: str) -> Spec:
    kind, things = predicate[0], predicate[1:]
    states = [env.object_states_dict[name] for name in things]
    target = states[-1] if states else None
    if kind in JOINT_TESTS:
        return _compile_joints(env, kind, things[0])
    if kind == "up":
        return {"kind": "up", **_place(env, things[0])}
    if kind in ("in", "on") and target is not None and target.object_state_type == "site":
        return _compile_site(env, kind, things[0], target)
    if kind == "on":
        bodies = {"upper": _body(env, things[0]), "lower": _body(env, things[1])}
        return {"kind": "on_object", **bodies, "contact": _contact(env, things[1], things[0])}
    goal = " ".join(predicate)
    raise UserError(f"{task_name}: the fast engine does not know the goal '{goal}'; use --engine libero")


def _compile_site(env: Any, kind: str, thing: str, target: Any) -> Spec:
    site = env.object_sites_dict[target.object_name]
    spec = {"kind": f"{kind}_site", "body": _body(env, thing), "site": target.object_name}
    spec["size"] = [float(x) for x in site.size]
    if kind == "on" and env.get_object(target.parent_name) is not None:
        spec["contact"] = _contact(env, target.parent_name, thing)
    return spec


def _compile_joints(env: Any, kind: str, thing: str) -> Spec:
    state = env.object_states_dict[thing]
    is_site = state.object_state_type == "site"
    owner = env.get_object(state.parent_name) if is_site else env.get_object(thing)
    joints = env.object_sites_dict[thing].joints if is_site else owner.joints
    method, every = JOINT_TESTS[kind]
    ranges = [x for values in owner.object_properties["articulation"].values() for x in values]
    threshold, above = _threshold(getattr(owner, method), ranges)
    return {"kind": "joints", "joints": list(joints), "every": every, "threshold": threshold, "above": above}


def _threshold(test: Callable[[float], bool], candidates: list[float]) -> tuple[float, bool]:
    """Where a one-joint test of LIBERO's flips, and whether it holds strictly above that value, found by probing it."""
    for value in candidates:
        below, at, above = bool(test(value - 1e-6)), bool(test(value)), bool(test(value + 1e-6))
        if below != above:
            return float(np.nextafter(value, -np.inf if above else np.inf) if at else value), above
    raise RuntimeError(f"no threshold among {candidates}")


def _body(env: Any, name: str) -> str:
    return str(env.get_object(name).root_body)


def _place(env: Any, name: str) -> Spec:
    is_site = env.object_states_dict[name].object_state_type == "site"
    return {"site": name} if is_site else {"body": _body(env, name)}


def _contact(env: Any, one: str, other: str) -> list[list[str]]:
    """The two objects' geoms that can collide."""
    model = env.sim.model
    solid = {model.geom_id2name(i) for i in range(model.ngeom) if model.geom_contype[i] or model.geom_conaffinity[i]}
    return [[name for name in env.get_object(thing).contact_geoms if name in solid] for thing in (one, other)]


class Goal:
    """A compiled goal bound to a model."""

    def __init__(self, specs: list[Spec], model: mujoco.MjModel) -> None:
        self._tests = [_bind(spec, model) for spec in specs]

    def __call__(self, data: mujoco.MjData) -> bool:
        """Whether every predicate holds."""
        return all(test(data) for test in self._tests)


def _bind(spec: Spec, model: mujoco.MjModel) -> Test:
    return _BINDERS[spec["kind"]](spec, model)


def _id(model: mujoco.MjModel, kind: str, name: str) -> int:
    found = mujoco.mj_name2id(model, getattr(mujoco.mjtObj, f"mjOBJ_{kind.upper()}"), name)
    if found < 0:
        raise RuntimeError(f"the compiled model has no {kind} '{name}'")
    return int(found)


def _bind_in_site(spec: Spec, model: mujoco.MjModel) -> Test:
    """The body's origin inside the site's box, rotated the way LIBERO does (|R size|), 1 cm deeper below."""
    site, body, size = _id(model, "site", spec["site"]), _id(model, "body", spec["body"]), np.array(spec["size"])
    deeper = np.array([0.0, 0.0, IN_SITE_SLACK])

    def test(data: mujoco.MjData) -> bool:
        half = np.abs(data.site_xmat[site].reshape(3, 3) @ size)
        centre, point = data.site_xpos[site], data.xpos[body]
        return bool(np.all(point > centre - half - deeper) and np.all(point < centre + half))

    return test


def _bind_on_site(spec: Spec, model: mujoco.MjModel) -> Test:
    """The body's origin over the site, at most 10 cm above it, and touching the site's owner if it has one."""
    site, body, size = _id(model, "site", spec["site"]), _id(model, "body", spec["body"]), np.array(spec["size"])
    touching = _bind_contact(spec["contact"], model) if "contact" in spec else None

    def test(data: mujoco.MjData) -> bool:
        delta = data.site_xmat[site].reshape(3, 3) @ (data.xpos[body] - data.site_xpos[site])
        above = size[2] - ON_SITE_SLACK < delta[2] < size[2] + ON_SITE_HEIGHT
        return bool(above and np.all(np.abs(delta[:2]) < size[:2]) and (touching is None or touching(data)))

    return test


def _bind_on_object(spec: Spec, model: mujoco.MjModel) -> Test:
    """One body above another, within 3 cm in the plane, and touching."""
    upper, lower = _id(model, "body", spec["upper"]), _id(model, "body", spec["lower"])
    touching = _bind_contact(spec["contact"], model)

    def test(data: mujoco.MjData) -> bool:
        high, low = data.xpos[upper], data.xpos[lower]
        return bool(low[2] <= high[2] and np.linalg.norm(low[:2] - high[:2]) < ON_OBJECT_RADIUS and touching(data))

    return test


def _bind_joints(spec: Spec, model: mujoco.MjModel) -> Test:
    """Hinge or slide positions against a threshold."""
    addresses = np.array([model.jnt_qposadr[_id(model, "joint", name)] for name in spec["joints"]])
    threshold, above = spec["threshold"], spec["above"]
    combine = np.all if spec["every"] else np.any

    def test(data: mujoco.MjData) -> bool:
        q = data.qpos[addresses]
        return bool(combine(q > threshold if above else q < threshold))

    return test


def _bind_up(spec: Spec, model: mujoco.MjModel) -> Test:
    kind = "site" if "site" in spec else "body"
    index = _id(model, kind, spec[kind])

    def test(data: mujoco.MjData) -> bool:
        place = data.site_xpos if kind == "site" else data.xpos
        return bool(place[index, 2] >= UP_HEIGHT)

    return test


def _bind_contact(groups: list[list[str]], model: mujoco.MjModel) -> Test:
    """A contact between a geom of one group and a geom of the other."""
    masks = np.zeros((2, model.ngeom), bool)
    for mask, names in zip(masks, groups, strict=True):
        mask[[_id(model, "geom", name) for name in names]] = True

    def test(data: mujoco.MjData) -> bool:
        pairs = data.contact.geom
        first, second = masks[:, pairs[:, 0]], masks[:, pairs[:, 1]]
        return bool(np.any((first[0] & second[1]) | (first[1] & second[0])))

    return test


_BINDERS: dict[str, Callable[[Spec, mujoco.MjModel], Test]] = {
    "in_site": _bind_in_site,
    "on_site": _bind_on_site,
    "on_object": _bind_on_object,
    "joints": _bind_joints,
    "up": _bind_up,
}
