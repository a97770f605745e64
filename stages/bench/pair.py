"""Both engines of one task, in the same state and stepped with the same actions.

T control steps, P predicates of the goal.
"""

from dataclasses import dataclass

import mujoco
import numpy as np

from stages.bench.truth import Truth
from stages.sim.physics import controller
from stages.sim.physics.goals import Goal
from stages.sim.simulator import NO_OP, Simulator, arm_views
from stages.sim.tasks import Task


@dataclass(frozen=True)
class Run:
    """What both engines did.

    arm, positions: (T+1,) f64, largest difference so far over the 7 arm joints, and over all of qpos (m, rad).
    ours, libero: (T,) bool, the goal after each step.
    predicates: differing predicates over all steps.
    lag: (T, 8) f64, our proprioception less the one LIBERO's step returned.
    """

    arm: np.ndarray
    positions: np.ndarray
    ours: np.ndarray
    libero: np.ndarray
    predicates: int
    lag: np.ndarray


class Pair:
    """A fast and a LIBERO engine."""

    def __init__(self, task: Task) -> None:
        """Raises UserError: as both engines."""
        self.task = task
        self.ours = Simulator(task)
        self.libero = Truth(task)
        physics, goal = self.ours.model.physics, self.ours.model.numbers["goal"]
        self._single = [Goal([spec], physics) for spec in goal]
        self._probe = Simulator(task)

    def close(self) -> None:
        """End LIBERO's engine."""
        self.libero.close()

    def reset(self, init: int) -> float:
        """The recorded initial state in both, then the no-op steps.

        Returns:
            The difference (Nm) of the first controls, which see the kinematics of the reset pose.
        """
        self.ours.reset(init)
        self.libero.start(init)
        difference = self.controls(np.array(NO_OP))
        self.libero.settle()
        return difference

    def put(self, row: np.ndarray) -> None:
        """Go on from another state (S,), the controllers keeping theirs."""
        self.ours.set_state(row)
        self.libero.set_state(row)

    def controls(self, action: np.ndarray) -> float:
        """Largest difference of the controls for `action` (7,) on equal states: LIBERO's, copied into ours."""
        model, data = self.ours.model, self._probe.data
        state = self.libero.controller()
        self._probe.set_state(self.libero.state())
        mujoco.mj_forward(model.physics, data)
        controls = np.zeros(model.physics.nu)
        arm = arm_views(model, data)._replace(ctrl=controls)
        controller.substep(state, model.reset, np.asarray(action, np.float64), True, arm)
        return float(np.abs(controls - self.libero.controls(action)).max())

    def proprio(self) -> float:
        """Largest difference of the proprioception of LIBERO's present state. (LIBERO's next observation may shift.)"""
        self._probe.set_state(self.libero.state())
        return float(np.abs(self._probe.proprio() - self.libero.proprio()).max())

    def run(self, actions: np.ndarray, until_success: bool = False) -> Run:
        """Take `actions` (T, 7) in both; `until_success`: an engine ends when its goal holds, as episodes do."""
        differences, flags, lag, predicates = [self._difference()], [], [], 0
        for action in actions:
            flags.append((self.ours.step(action), self.libero.step(action)))
            mine = [test(self.ours.data) for test in self._single]
            predicates += int(np.sum(np.array(mine) != np.array(self.libero.predicates())))
            differences.append(self._difference())
            lag.append(self.ours.proprio() - self.libero.observed())
            if until_success and all(np.any(flags, axis=0)):
                break
        worst = np.maximum.accumulate(np.array(differences), axis=0)
        ours, libero = np.array(flags, bool).T
        return Run(worst[:, 0], worst[:, 1], ours, libero, predicates, np.array(lag, np.float64))

    def _difference(self) -> tuple[float, float]:
        difference = np.abs(self.ours.state() - self.libero.state())[1 : 1 + int(self.ours.model.physics.nq)]
        return float(difference[: controller.ARM].max()), float(difference.max())
