"""Building a task once through LIBERO's own environment class: its XML, and the numbers that stepping needs.

Fixtures (cabinets, stoves, racks) are placed by the environment's reset, not by the XML nor by the recorded initial
state, with numpy's global generator; `FIXTURE_SEED` fixes them.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mujoco
import numpy as np

from data.errors import UserError
from stages.sim.models.lite import PATCH_THICKNESS, dress, paint, place_bodies, reduce_xml
from stages.sim.physics.controller import ARM
from stages.sim.physics.goals import Spec, compile_goal
from stages.sim.provider import assets_root, import_libero, quiet
from stages.sim.tasks import FIXTURE_SEED, Task, initial_states_file, suite_tasks


@dataclass(frozen=True)
class Built:
    """What is cached of a task: the full XML, the reduced compiled model, numbers, and the files they were made from.

    numbers: JSON-able; `reset` (117,) the controller's reset bundle, `body_pos` (B, 3) and `body_quat` (B, 4) after the
    reset with `fixture_seed`, `site_rgba` (S, 4), `goal` the compiled predicates, `burners` [site, joint, threshold] of
    visible burners, `targets` thin boxes (pos (3), quat (4), size (3)) where a region of the table serves as a goal.
    """

    xml: str
    lite: mujoco.MjModel
    numbers: dict[str, Any]
    sources: list[Path]


def build(task: Task) -> Built:
    """Make the task's environment, reset it with the fixed seed, and take everything from it (seconds).

    Raises:
        UserError: an asset is missing, or the goal is of an unknown kind.
    """
    import_libero()
    generator = np.random.get_state()  # noqa: NPY002  (LIBERO places fixtures with the global generator)
    try:
        with quiet():
            env = _environment(task)
            xml = env.env.model.get_xml()
            full = env.sim.model._model
            goal = compile_goal(env.env, task.name)
            numbers = _numbers(env, full, goal) | {"targets": _targets(env, task)}
    finally:
        np.random.set_state(generator)  # noqa: NPY002
    return Built(xml, _lite(xml, numbers), numbers, _sources(env.env, task, xml))


def _environment(task: Task) -> Any:
    from libero.libero.envs.env_wrapper import ControlEnv

    try:
        env = ControlEnv(bddl_file_name=str(task.bddl_file), use_camera_obs=False, has_offscreen_renderer=False)
        env.seed(FIXTURE_SEED)
        env.reset()
    except (FileNotFoundError, ValueError) as error:
        if isinstance(error, FileNotFoundError) or "opening file" in str(error).lower():
            line = " ".join(str(error).split())
            raise UserError(f"{task.name}: {assets_root()} lacks an asset ({line}); mend LIBERO_ASSETS") from error
        raise
    return env


def _numbers(env: Any, full: mujoco.MjModel, goal: list[Spec]) -> dict[str, Any]:
    arm = env.robots[0].controller
    _check_layout(env, full)
    posture = env.robots[0].init_qpos
    parts = (arm.ee_pos, arm.ee_ori_mat, arm.J_full, arm.mass_matrix, arm.joint_pos, posture)
    return {
        "reset": np.concatenate([np.asarray(part, float).ravel() for part in parts]).tolist(),
        "fixture_seed": FIXTURE_SEED,
        "body_pos": full.body_pos.tolist(),
        "body_quat": full.body_quat.tolist(),
        "site_rgba": full.site_rgba.tolist(),
        "goal": goal,
        "burners": _burners(env.env),
    }


def _burners(env: Any) -> list[dict[str, Any]]:
    """Sites that LIBERO shows while a stove is on."""
    found = []
    for state in env.tracking_object_states_change:
        if state.has_turnon_affordance:
            owner = env.get_object(state.object_name)
            sites = [name for name, _ in owner.object_properties["vis_site_names"].values()]
            threshold = min(owner.object_properties["articulation"]["default_turnon_ranges"])
            found.append({"sites": sites, "joint": owner.joints[-1], "threshold": threshold})
    return found


def _check_layout(env: Any, full: mujoco.MjModel) -> None:
    """The compiled controller relies on the arm being dofs, joints and actuators 0-6, and the fingers actuators 7-8."""
    robot = env.robots[0]
    chain = all(int(full.dof_parentid[i]) == i - 1 and int(full.dof_Madr[i]) == i * (i + 1) // 2 for i in range(ARM))
    order = [list(map(int, x)) for x in (robot._ref_joint_pos_indexes, robot._ref_joint_vel_indexes)]
    order.append(list(map(int, robot._ref_joint_actuator_indexes)))
    fingers = list(map(int, robot._ref_joint_gripper_actuator_indexes))
    if not chain or any(indexes != list(range(ARM)) for indexes in order) or fingers != [ARM, ARM + 1]:
        raise RuntimeError(f"the robot is not dofs 0-6 and actuators 0-8: {order}, {fingers}")
    if robot.controller.new_update:
        raise RuntimeError("the controller has no cached reset pose")


def _targets(env: Any, task: Task) -> list[dict[str, list[float]]]:
    """Regions of the table that this scene offers as a goal, to this task or to another of the suite.

    All of a scene's tasks show the same marks, so that none gives the instruction away.
    """
    goals = _words(*(other.bddl_file.read_text().partition("(:goal")[2] for other in suite_tasks(task.suite)))
    start = _words(task.bddl_file.read_text().partition("(:init")[2].partition("(:goal")[0])
    scene = env.env
    sites = scene.object_sites_dict.items()
    names = [name for name, site in sites if scene.get_object(site.parent_name) is None and name in goals - start]
    return [_patch(env.sim.model._model, env.sim.data._data, name) for name in names]


def _patch(model: mujoco.MjModel, data: mujoco.MjData, name: str) -> dict[str, list[float]]:
    """The footprint of a site on the top of the table, which may lie above the site."""
    site, quat = data.site(name), np.empty(4)
    mujoco.mju_mat2Quat(quat, site.xmat)
    above = site.xpos + np.array([0.0, 0.0, 1.0])
    tables = [
        i for i in range(model.ngeom) if "table" in model.body(model.geom_bodyid[i]).name and model.geom_contype[i]
    ]
    depths = [_depth(model, data, geom, above) for geom in tables]
    top = above[2] - min((depth for depth in depths if depth >= 0), default=1.0)
    return {
        "pos": [*site.xpos[:2].tolist(), top],
        "quat": quat.tolist(),
        "size": [*model.site(name).size[:2].tolist(), PATCH_THICKNESS],
    }


def _depth(model: mujoco.MjModel, data: mujoco.MjData, geom: int, point: np.ndarray) -> float:
    """How far below a point a geom begins; negative if it is not there."""
    place = data.geom_xpos[geom], data.geom_xmat[geom], model.geom_size[geom]
    return float(mujoco.mju_rayGeom(*place, point, np.array([0.0, 0.0, -1.0]), int(model.geom_type[geom])))


def _words(*texts: str) -> set[str]:
    return {word for text in texts for word in re.findall(r"\w+", text)}


def _sources(env: Any, task: Task, xml: str) -> list[Path]:
    """The files used: the XML of the scene and the objects, meshes and textures, and the initial states."""
    parts = [env.model.mujoco_arena, *env.model.mujoco_objects, *env.model.mujoco_robots]
    names = [*(str(part.file) for part in parts), *re.findall(r'file="([^"]+)"', xml)]
    return sorted({Path(name).resolve() for name in names} | {initial_states_file(task)})


def _lite(xml: str, numbers: dict[str, Any]) -> mujoco.MjModel:
    model = mujoco.MjModel.from_xml_string(reduce_xml(xml, numbers["targets"]))
    place_bodies(model, numbers)
    dress(model)
    paint(model, numbers)
    return model
