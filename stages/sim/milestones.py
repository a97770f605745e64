"""How far a pick-and-place episode truly got, read from its stored states in the simulator.

Five milestones, each of which implies those before it:

    1 reached       the gripper is at the object
    2 grasped       both fingers touch it, and the gripper is not open
    3 lifted        both fingers touch it, and it is clear of where it stood
    4 above target  it is over the region where it counts as placed, held or falling
    5 placed        LIBERO's goal holds

Progress is the number of the last milestone that holds plus the fraction of the way to the next, in [0, 5]. It is known
at every control step, and falls when the object is dropped; `Progress.furthest` does not.

A stored state lies one substep after what LIBERO judged (`physics.goals`). MuJoCo moves positions with the velocities
stored beside them, so that one substep back is what it judged: every success ends at 5, every failure below.

Legend: T control steps, S size of a stored state row, G geoms. Metres, world frame, z up.
"""

from dataclasses import dataclass

import mujoco
import numpy as np

from data.errors import UserError
from stages.sim.handling.clearance import PADS
from stages.sim.physics.controller import ARM
from stages.sim.physics.goals import ON_OBJECT_RADIUS, Spec
from stages.sim.simulator import Simulator
from stages.sim.tasks import Task

MILESTONES = ("reached", "grasped", "lifted", "above target", "placed")
SUITES = ("libero_object", "libero_spatial")
REACHED = 0.02
"""From the middle between the fingertips to the object. The fingers' pads are 1.6 cm wide and high; an open gripper
around the object is nearer, one that still hovers is not."""
OPEN = 0.077
"""Distance between the fingers from which the gripper is open; at rest it is 0.0774 to 0.0808. A box whose long side
just fits in (0.080, the pudding) may touch both fingers without being held; one of 0.076 (butter) can be held so."""
LIFTED = 0.03
"""How far the object's lowest point is over where it began. One that is pushed, tilts or topples stays below."""
OPENING = 0.08
"""The way to a grasp: from a finger to the object, at most the gripper's whole opening."""
DROP = 0.20
"""The way from above the target down to it. Objects are carried up to 10 cm over the rim."""
ALMOST = 0.999
"""The largest fraction: a milestone counts only when it is passed."""
FINGERS = ("gripper0_leftfinger", "gripper0_rightfinger")


@dataclass(frozen=True)
class Progress:
    """Progress of an episode."""

    steps: np.ndarray
    """(T+1,) float64 in [0, 5], at each stored state"""

    @property
    def furthest(self) -> float:
        """The most that it ever was."""
        return float(self.steps.max())


@dataclass(frozen=True)
class _Scene:
    """What a state is measured by."""

    way: float
    """from the gripper to the object's surface"""
    bottom: float
    """height of the object's lowest point"""
    across: float
    """from the object to over the target, in the plane; 0 where it is"""
    above: float
    """height of the object over where it counts as placed"""
    over: bool
    """over the target, neither beside nor below it"""
    gap: float
    """from the finger that is farther from the object to its surface"""
    touched: bool
    """by both fingers"""
    opening: float
    """between the fingers"""


class Milestones:
    """Reads the progress of episodes of a task."""

    def __init__(self, task: Task) -> None:
        """Raises UserError: the task is not to put one object into the basket or onto the plate."""
        if task.suite not in SUITES:
            raise UserError(
                f"milestones of '{task.instruction}' are not known; they are those of picking up one object and placing"
                f" it, in {' and '.join(SUITES)}"
            )
        self._simulator = Simulator(task)
        self._physics, self._data = self._simulator.model.physics, self._simulator.data
        self._goal: Spec = self._simulator.model.numbers["goal"][0]
        self._body = self._physics.body(self._goal.get("body") or self._goal["upper"]).id
        self._object = self._solid({self._body})
        self._fingers = [self._solid(self._descendants(self._physics.body(name).id)) for name in FINGERS]
        self._pads = [self._physics.geom(name).id for name in PADS]

    def __call__(self, states: np.ndarray) -> Progress:
        """Progress at each of an episode's states (T+1, S), zero padding of rows allowed; the first one is the start.

        Raises:
            UserError: no state, or rows shorter than this task's states.
        """
        if states.ndim != 2 or not len(states):
            raise UserError(f"states must be (T+1, S) with at least one row, not {states.shape}")
        self._show(states[0])
        start = self._measure()
        return Progress(np.array([self._progress(row, start) for row in states]))

    def _progress(self, row: np.ndarray, start: _Scene) -> float:
        self._show(row)
        return 5.0 if self._simulator.model.goal(self._data) else _progress(self._measure(), start)

    def _show(self, row: np.ndarray) -> None:
        """Positions and contacts as LIBERO judged them: a substep before the stored state."""
        self._simulator.set_state(row)
        physics, data = self._physics, self._data
        mujoco.mj_integratePos(physics, data.qpos, data.qvel, -physics.opt.timestep)
        mujoco.mj_kinematics(physics, data)
        mujoco.mj_collision(physics, data)

    def _measure(self) -> _Scene:
        data = self._data
        bottom = float(self._heights(self._object)[0].min())
        across, above, over = self._to_basket() if "site" in self._goal else self._to_plate(bottom)
        return _Scene(
            way=self._distance(data.site_xpos[self._simulator.model.site]),
            bottom=bottom,
            across=across,
            above=above,
            over=over,
            gap=max(self._distance(data.geom_xpos[pad]) for pad in self._pads),
            touched=all(self._touches(finger) for finger in self._fingers),
            opening=float(np.subtract(*data.qpos[ARM : ARM + 2])),
        )

    def _to_basket(self) -> tuple[float, float, bool]:
        """Across, above and over, to the site's box as LIBERO turns it (`goals._bind_in_site`)."""
        site = self._physics.site(self._goal["site"]).id
        half = np.abs(self._data.site_xmat[site].reshape(3, 3) @ np.array(self._goal["size"]))
        apart = self._data.xpos[self._body] - self._data.site_xpos[site]
        across = float(np.linalg.norm(np.maximum(np.abs(apart[:2]) - half[:2], 0)))
        return across, max(0.0, float(apart[2] - half[2])), across == 0 and bool(apart[2] > -half[2])

    def _to_plate(self, bottom: float) -> tuple[float, float, bool]:
        """Across, above and over, to the body below, within the radius in which LIBERO counts it as on it."""
        lower = self._physics.body(self._goal["lower"]).id
        apart = self._data.xpos[self._body] - self._data.xpos[lower]
        across = max(0.0, float(np.hypot(*apart[:2])) - ON_OBJECT_RADIUS)
        top = float(self._heights(self._solid({lower}))[1].max())
        return across, max(0.0, bottom - top), across == 0 and bool(apart[2] >= 0)

    def _touches(self, finger: np.ndarray) -> bool:
        one, other = self._data.contact.geom.T
        own, of_object = (np.isin((one, other), geoms) for geoms in (finger, self._object))
        return bool(((own[0] & of_object[1]) | (own[1] & of_object[0])).any())

    def _distance(self, point: np.ndarray) -> float:
        """From a point (3,) to the nearest of the boxes around the object's geoms; 0 inside."""
        boxes = self._physics.geom_aabb[self._object]
        turns = self._data.geom_xmat[self._object].reshape(-1, 3, 3)
        local = np.einsum("gji,gj->gi", turns, point - self._data.geom_xpos[self._object])
        outside = np.maximum(np.abs(local - boxes[:, :3]) - boxes[:, 3:], 0)
        return float(np.linalg.norm(outside, axis=1).min())

    def _heights(self, geoms: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Lowest and highest points of the boxes around geoms, (G,) each."""
        boxes, up = self._physics.geom_aabb[geoms], self._data.geom_xmat[geoms].reshape(-1, 3, 3)[:, 2]
        centre = self._data.geom_xpos[geoms, 2] + np.einsum("gj,gj->g", up, boxes[:, :3])
        half = np.einsum("gj,gj->g", np.abs(up), boxes[:, 3:])
        return centre - half, centre + half

    def _solid(self, bodies: set[int]) -> np.ndarray:
        """The geoms of some bodies that can collide."""
        physics = self._physics
        solid = (physics.geom_contype > 0) | (physics.geom_conaffinity > 0)
        return np.flatnonzero(np.isin(physics.geom_bodyid, list(bodies)) & solid)

    def _descendants(self, body: int) -> set[int]:
        """A body and all that hangs on it (MuJoCo numbers parents first)."""
        found = {body}
        for child in range(body + 1, self._physics.nbody):
            if self._physics.body_parentid[child] in found:
                found.add(child)
        return found


def _progress(now: _Scene, start: _Scene) -> float:
    """Progress of a state in which the goal does not hold, in [0, 5)."""
    if now.over:
        return 4 + _share(now.above, DROP)
    raised = now.bottom - start.bottom
    if now.touched and raised >= LIFTED:
        return 3 + _share(now.across, start.across)
    if now.touched and now.opening < OPEN:
        return 2 + _share(LIFTED - raised, LIFTED)
    if now.way <= REACHED:
        return 1 + _share(now.gap, OPENING)
    return _share(now.way - REACHED, start.way - REACHED)


def _share(left: float, whole: float) -> float:
    """The share of the way that is done, in [0, 1)."""
    return min(max(1 - left / whole, 0.0), ALMOST) if whole > 0 else 0.0
