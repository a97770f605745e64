"""Compiled goals against LIBERO's own check, on states made to fall on both sides of every predicate."""

import mujoco
import numpy as np
import pytest

from data.errors import UserError
from stages.sim.engine_libero import LiberoEngine
from stages.sim.physics.goals import Goal, compile_goal
from stages.sim.simulator import Simulator
from stages.sim.tasks import initial_states, suite_tasks

WORLD = """
<mujoco><worldbody>
  <site name="region" type="box" size=".1 .1 .05" pos="0 0 .05"/>
  <body name="thing"><freejoint/><geom name="thing_g" size=".02"/></body>
  <body name="door"><joint name="hinge" axis="0 0 1"/><geom name="door_g" size=".01" pos="1 1 1"/></body>
</worldbody></mujoco>
"""


@pytest.fixture
def world() -> tuple[mujoco.MjModel, mujoco.MjData]:
    model = mujoco.MjModel.from_xml_string(WORLD)
    return model, mujoco.MjData(model)


def _holds(world: tuple[mujoco.MjModel, mujoco.MjData], spec: dict, position: list[float], hinge: float = 0.0) -> bool:
    model, data = world
    data.qpos[:3], data.qpos[7] = position, hinge
    mujoco.mj_forward(model, data)
    return Goal([spec], model)(data)


def test_in_site_is_a_box_one_centimetre_deeper(world) -> None:
    spec = {"kind": "in_site", "body": "thing", "site": "region", "size": [0.1, 0.1, 0.05]}
    assert _holds(world, spec, [0.09, -0.09, 0.01])
    assert _holds(world, spec, [0, 0, -0.009])
    assert not _holds(world, spec, [0, 0, -0.011])
    assert not _holds(world, spec, [0, 0, 0.101])
    assert not _holds(world, spec, [0.101, 0, 0.05])


def test_joint_thresholds(world) -> None:
    spec = {"kind": "joints", "joints": ["hinge"], "every": True, "threshold": 0.5, "above": True}
    assert _holds(world, spec, [0, 0, 1], 0.51)
    assert not _holds(world, spec, [0, 0, 1], 0.5)


def test_conjunction_and_height(world) -> None:
    up = {"kind": "up", "body": "thing"}
    assert _holds(world, up, [0, 0, 1.0])
    assert not _holds(world, up, [0, 0, 0.99])
    door = {"kind": "joints", "joints": ["hinge"], "every": True, "threshold": 0.5, "above": True}
    model, data = world
    data.qpos[2], data.qpos[7] = 1.0, 0.6
    mujoco.mj_forward(model, data)
    assert Goal([up, door], model)(data)
    data.qpos[7] = 0.4
    assert not Goal([up, door], model)(data)


def test_unknown_predicate_is_refused() -> None:
    class Env:
        parsed_problem = {"goal_state": [["stack", "a", "b"]]}  # noqa: RUF012
        object_states_dict = {"a": None, "b": type("S", (), {"object_state_type": "object"})}  # noqa: RUF012

    with pytest.raises(UserError, match="stack a b.*--engine libero"):
        compile_goal(Env(), "some_task")


def _states(simulator: Simulator, count: int) -> np.ndarray:
    """Recorded states with things moved onto one another and hinges turned anywhere in their range."""
    model = simulator.model.physics
    random = np.random.default_rng(0)
    rows = initial_states(simulator.task)[random.integers(0, 50, count)].copy()
    free = [int(model.jnt_qposadr[j]) + 1 for j in range(model.njnt) if model.jnt_type[j] == mujoco.mjtJoint.mjJNT_FREE]
    hinges = [j for j in range(9, model.njnt) if model.jnt_type[j] != mujoco.mjtJoint.mjJNT_FREE]
    for row in rows:
        for j in hinges:
            low, high = model.jnt_range[j] if model.jnt_limited[j] else (-1.0, 1.0)
            row[1 + int(model.jnt_qposadr[j])] = random.uniform(low - 0.02, high + 0.02)
        simulator.set_state(row)
        mujoco.mj_kinematics(model, simulator.data)
        for address in free:
            places = [
                simulator.data.site_xpos[random.integers(model.nsite)],
                row[free[random.integers(len(free))] :][:3],
            ]
            if random.random() < 0.8:
                spread = random.choice([0.01, 0.03, 0.1])
                row[address : address + 3] = places[random.integers(2)] + random.normal(0, spread, 3)
    return rows


CASES = [
    ("libero_object", 2),
    ("libero_spatial", 0),  # On plate
    ("libero_goal", 0),  # Open
    ("libero_goal", 7),  # TurnOn
    ("libero_goal", 1),  # On, with a site or an object
    ("libero_10", 3),  # In and Close
    ("libero_90", 0),  # Close
    ("libero_90", 39),  # TurnOff
    ("libero_10", 4),  # On and On
]


@pytest.mark.slow
@pytest.mark.parametrize(("suite", "index"), CASES)
def test_equal_to_libero(suite: str, index: int) -> None:
    """Every single predicate, and the whole goal, on 400 made-up states."""
    task = suite_tasks(suite)[index]
    simulator, engine = Simulator(task), LiberoEngine(task)
    engine._reset_env()
    rows = _states(simulator, 400)
    hits = _compare(simulator, engine, simulator.model.numbers["goal"], rows)
    engine.close()
    assert (hits > 0).all(), hits
    assert (hits < len(rows)).all(), hits


@pytest.mark.slow
def test_up_is_as_in_libero() -> None:
    """No task of the five suites asks for Up: LIBERO's environment is given a goal of its own."""
    task = suite_tasks("libero_goal")[0]
    simulator, engine = Simulator(task), LiberoEngine(task)
    engine._reset_env()
    problem = engine._env.env
    body, region = "akita_black_bowl_1", "wooden_cabinet_1_top_side"
    problem.parsed_problem["goal_state"] = [["up", body], ["up", region]]
    goal = compile_goal(problem, task.name)
    assert [sorted(spec) for spec in goal] == [["body", "kind"], ["kind", "site"]]
    random = np.random.default_rng(0)
    rows = initial_states(task)[random.integers(0, 50, 60)].copy()
    model = simulator.model.physics
    height = 3 + int(model.joint(f"{body}_joint0").qposadr[0])
    rows[:, height] = random.choice([0.5, 0.98, np.nextafter(1.0, 0), 1.0, 1.02], len(rows))
    hits = _compare(simulator, engine, goal, rows)
    engine.close()
    assert 10 < hits[0] < 50
    assert hits[1] == len(rows), "the cabinet's top is always up there"


def _compare(simulator: Simulator, engine: LiberoEngine, goal: list[dict], rows: np.ndarray) -> np.ndarray:
    """Every single predicate, and the conjunction, in states (N, S); how often each holds."""
    env = engine._env.env
    single = [Goal([spec], simulator.model.physics) for spec in goal]
    whole, hits = Goal(goal, simulator.model.physics), np.zeros(len(goal), int)
    for row in rows:
        simulator.set_state(row)
        mujoco.mj_forward(simulator.model.physics, simulator.data)
        engine._env.set_state(row)
        engine._env.sim.forward()
        theirs = [bool(env._eval_predicate(predicate)) for predicate in env.parsed_problem["goal_state"]]
        ours = [test(simulator.data) for test in single]
        assert ours == theirs
        assert whole(simulator.data) == all(theirs) == env._check_success()
        hits += ours
    return hits
