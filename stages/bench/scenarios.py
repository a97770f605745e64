"""Starts from which physics alone carries a task into its goal, or out of it, whatever the goal is.

Proposals put the goal's bodies in, over or beside their targets and its joints around their thresholds, some moving;
our engine tries them, and one that makes the success flag flip is kept. Arm and gripper follow smooth random actions.
"""

from dataclasses import dataclass

import mujoco
import numpy as np

from stages.sim.physics.goals import Spec
from stages.sim.replay import smooth_actions
from stages.sim.simulator import SimulationDivergedError, Simulator

STEPS, PROPOSALS, TRIES, KICKS = 30, 6000, 300, 30
"""Control steps a scenario; proposals until one enters the goal, and how many of them are stepped; tries to undo it."""
CALM, BURST, DEPTH = 4.0, 5, 0.005
"""Speeds (m/s, rad/s) beyond CALM in the first BURST steps, or contacts deeper than DEPTH (m): things were put into one
another, a start to drop."""
REACH, DROP, ON_TOP = 1.15, 0.12, 0.02
"""How far out of a region (half sizes), how high over it (m), how far off a body's axis (m) things are put."""
PUSH, NEAR, KICK = 0.25, 0.15, 1.0
"""Speeds given (m/s, and ranges/s for joints), gently and hard; how near to a threshold a joint is put (ranges)."""
QUARTER_TURNS = np.sqrt(0.5) * np.array([[1.0, 1, 0, 0], [1, 0, 1, 0], [1, 0, 0, 1]])
"""Quaternions (3, 4) about x, y and z: some things fit only upright."""
PLACED = ("in_site", "on_site", "on_object")


@dataclass(frozen=True)
class Scenario:
    """A start and what is done from there.

    row: (S,) f64 state to put; changed: (S,) bool, where it is not that of the settled initial state.
    actions: (T, 7) f64.
    kind: `enters` if the goal comes to hold, `leaves` if it is lost, `misses` if it never holds.
    """

    row: np.ndarray
    changed: np.ndarray
    actions: np.ndarray
    kind: str

    def start(self, settled: np.ndarray) -> np.ndarray:
        """(S,) f64: another settled state with the same things moved to the same places."""
        return np.where(self.changed, self.row, settled)


def find_scenarios(simulator: Simulator, init: int, seed: int, kinds: tuple[str, ...]) -> list[Scenario]:
    """One scenario of every kind that some hundred tries bring, in the order of `kinds`.

    Args:
        simulator: used for trying; its state is lost.
        init: recorded initial state that the proposals change.
        seed: of proposals and actions.
        kinds: of `enters`, `leaves`, `misses`.
    """
    search = _Search(simulator, init, seed)
    for _ in range(PROPOSALS):
        if {"enters", "misses"} & set(kinds) <= set(search.found) or search.stepped >= TRIES:
            break
        search.attempt(propose(simulator, search.settled, search.random))
    for _ in range(KICKS):
        if "leaves" not in kinds or "leaves" in search.found or search.reached is None:
            break
        search.attempt(kick(simulator, search.reached, search.random))
    return [search.found[kind] for kind in kinds if kind in search.found]


class _Search:
    """Tries starts; remembers the first of each kind, and a state in which the goal came to hold."""

    def __init__(self, simulator: Simulator, init: int, seed: int) -> None:
        self._simulator, self._init = simulator, init
        self._actions = smooth_actions(seed, STEPS)
        self.random = np.random.default_rng(seed)
        self.found: dict[str, Scenario] = {}
        self.stepped = 0
        self.reached: np.ndarray | None = None
        simulator.reset(init)
        self.settled = simulator.state()

    def attempt(self, row: np.ndarray) -> None:
        """Step from a start, unless it is violent, and see what it leads to."""
        flags = self._flags(row)
        if not len(flags):
            return
        change = np.diff(flags.astype(int))
        kinds = {"misses": not flags.any(), "leaves": (change < 0).any()}
        kinds["enters"] = not flags[0] and (change > 0).any()
        for kind in (name for name, holds in kinds.items() if holds):
            self.found.setdefault(kind, Scenario(row, row != self.settled, self._actions, kind))
        if kinds["enters"] and flags[-1]:
            self.reached = self._simulator.state()

    def _flags(self, row: np.ndarray) -> np.ndarray:
        """(T,) bool: the goal after each action; none if things were put into one another."""
        simulator = self._simulator
        simulator.reset(self._init)
        simulator.set_state(row)
        mujoco.mj_fwdPosition(simulator.model.physics, simulator.data)
        if simulator.data.ncon and simulator.data.contact.dist.min() < -DEPTH:
            return np.zeros(0, bool)
        self.stepped += 1
        flags = []
        try:
            for i, action in enumerate(self._actions):
                flags.append(simulator.step(action))
                if i < BURST and np.abs(simulator.data.qvel).max() > CALM:
                    return np.zeros(0, bool)
        except SimulationDivergedError:
            return np.zeros(0, bool)
        return np.array(flags, bool)


def kick(simulator: Simulator, reached: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """(S,) f64: a state in which the goal holds, with speeds that may undo it: bodies thrown, joints sent back."""
    scene = _Scene(simulator, reached.copy())
    for spec in simulator.model.numbers["goal"]:
        if spec["kind"] == "joints":
            scene.send_back(spec, random)
        elif spec["kind"] in PLACED:
            up, angle, speed = random.random() < 0.5, random.uniform(0, 2 * np.pi), KICK * random.uniform(0.3, 2)
            way = np.array([0.2, 0.2, 1.0]) if up else np.array([np.cos(angle), np.sin(angle), 0.0])
            scene.throw(spec.get("body", spec.get("upper")), speed * way)
    return scene.row


def propose(simulator: Simulator, settled: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """(S,) f64: the settled state with everything that the goal names moved to about where it is wanted."""
    scene = _Scene(simulator, settled.copy())
    specs = simulator.model.numbers["goal"]
    named = {name for spec in specs for name in spec.get("joints", ())}
    for spec in specs:
        if spec["kind"] == "joints":
            scene.turn(spec, random)
        elif "site" in spec and random.random() < 0.7:
            scene.open(spec["site"], named, random)
    for spec in _receivers_first(specs):
        scene.place(spec, random)
    return scene.row


def _receivers_first(specs: list[Spec]) -> list[Spec]:
    """Bodies to place, those on which others are to stand before those others."""
    lower = {spec["lower"] for spec in specs if "lower" in spec}
    placed = [spec for spec in specs if spec["kind"] in PLACED]
    return sorted(placed, key=lambda spec: spec.get("body", spec.get("upper")) not in lower)


class _Scene:
    """A state that is being changed, with its kinematics."""

    def __init__(self, simulator: Simulator, row: np.ndarray) -> None:
        self._simulator, self.row = simulator, row
        self._model, self._data = simulator.model.physics, simulator.data
        self._nq = int(self._model.nq)

    def turn(self, spec: Spec, random: np.random.Generator) -> None:
        """Joints of a goal to either side of their threshold, close or less close to it, at rest or moving."""
        for name in spec["joints"]:
            joint = self._model.joint(name).id
            low, high = self._range(joint)
            away = NEAR * random.uniform(0, 1) ** 4 * random.choice([-1, 1])
            near = spec["threshold"] + away * (high - low)
            speed = KICK * (high - low) * random.normal() * (random.random() < 0.7)
            self._set(joint, float(np.clip(near, low, high)), speed)

    def open(self, site: str, named: set[str], random: np.random.Generator) -> None:
        """Joints that carry a region (drawers, doors), unless the goal names them, to anywhere in their range."""
        body = int(self._model.site(site).bodyid[0])
        while body > 0:
            first = int(self._model.body_jntadr[body])
            for joint in range(first, first + int(self._model.body_jntnum[body])):
                free = self._model.jnt_type[joint] == mujoco.mjtJoint.mjJNT_FREE
                if not free and self._model.joint(joint).name not in named:
                    self._set(joint, random.uniform(*self._range(joint)), 0.0)
            body = int(self._model.body_parentid[body])

    def place(self, spec: Spec, random: np.random.Generator) -> None:
        """A free body in, over or beside its region, or over the body that is to bear it."""
        self._simulator.set_state(self.row)
        mujoco.mj_kinematics(self._model, self._data)
        if spec["kind"] == "on_object":
            body, base = spec["upper"], self._data.xpos[self._model.body(spec["lower"]).id]
            offset = np.append(random.normal(0, ON_TOP, 2), random.uniform(0, DROP))
        else:
            body, site = spec["body"], self._model.site(spec["site"]).id
            size, base = np.array(spec["size"]), self._data.site_xpos[site]
            offset = size * random.uniform(-REACH, REACH, 3)
            if spec["kind"] == "on_site" or random.random() < 0.5:
                offset[2] = size[2] + random.uniform(0, DROP)
            offset = self._data.site_xmat[site].reshape(3, 3) @ offset
        address = 1 + int(self._model.jnt_qposadr[self._free_joint(body)])
        self.row[address : address + 3] = base + offset
        if random.random() < 0.5:
            quat = self.row[address + 3 : address + 7]
            mujoco.mju_mulQuat(quat, QUARTER_TURNS[random.integers(3)], quat.copy())
        self.throw(body, PUSH * random.normal(size=3) * (random.random() < 0.6))

    def throw(self, body: str, velocity: np.ndarray) -> None:
        """Give a free body a velocity (3,) and no spin."""
        dof = 1 + self._nq + int(self._model.jnt_dofadr[self._free_joint(body)])
        self.row[dof : dof + 6] = 0.0
        self.row[dof : dof + 3] = velocity

    def send_back(self, spec: Spec, random: np.random.Generator) -> None:
        """Joints of a goal towards their threshold, from the side where it holds."""
        for name in spec["joints"]:
            joint = self._model.joint(name).id
            low, high = self._range(joint)
            speed = 3 * KICK * (high - low) * random.uniform(0, 1) * (-1 if spec["above"] else 1)
            self.row[1 + self._nq + int(self._model.jnt_dofadr[joint])] = speed

    def _free_joint(self, body: str) -> int:
        joint = int(self._model.body_jntadr[self._model.body(body).id])
        if joint < 0 or self._model.jnt_type[joint] != mujoco.mjtJoint.mjJNT_FREE:
            raise RuntimeError(f"{self._simulator.task.name}: the goal's {body} cannot move freely")
        return joint

    def _range(self, joint: int) -> tuple[float, float]:
        if not self._model.jnt_limited[joint]:
            return -1.0, 1.0
        low, high = self._model.jnt_range[joint]
        return float(low), float(high)

    def _set(self, joint: int, position: float, speed: float) -> None:
        self.row[1 + int(self._model.jnt_qposadr[joint])] = position
        self.row[1 + self._nq + int(self._model.jnt_dofadr[joint])] = speed
