"""The compiled controller against a slow numpy version built on MuJoCo's own Jacobian and inertia functions."""

import mujoco
import numpy as np
import pytest

from stages.sim import provider
from stages.sim.physics import controller as c
from stages.sim.physics.stepping import SUBSTEPS
from stages.sim.simulator import Simulator
from stages.sim.tasks import suite_tasks


@pytest.fixture(scope="module")
def simulator() -> Simulator:
    return Simulator(suite_tasks("libero_object")[2])


def _rotation(vector: np.ndarray) -> np.ndarray:
    angle = np.linalg.norm(vector)
    K = np.cross(np.eye(3), vector / angle)
    return np.eye(3) + np.sin(angle) * K + (1 - np.cos(angle)) * K @ K


class Slow:
    """OSC_POSE with explicit inverses, one object an arm."""

    def __init__(self, sim: Simulator) -> None:
        self.m, self.d, self.site = sim.model.physics, sim.data, sim.model.site
        reset = sim.model.reset
        self.rest = reset[c.R_REST : c.RESET]
        self.goal, self.goal_R = reset[c.R_POS : c.R_ORI].copy(), reset[c.R_ORI : c.R_J].reshape(3, 3).copy()
        self.grip = np.zeros(2)

    def pose(self) -> tuple[np.ndarray, np.ndarray]:
        return self.d.site_xpos[self.site].copy(), self.d.site_xmat[self.site].reshape(3, 3).copy()

    def set_goal(self, action: np.ndarray) -> None:
        position, R = self.pose()
        a = np.clip(action[:6], -1, 1)
        self.goal = position + 0.05 * a[:3]
        if a[3:].any():
            self.goal_R = _rotation(0.5 * a[3:]) @ R

    def controls(self, gripper: float) -> np.ndarray:
        position, R = self.pose()
        jac, M = np.zeros((6, self.m.nv)), np.zeros((self.m.nv, self.m.nv))
        mujoco.mj_jacSite(self.m, self.d, jac[:3], jac[3:], self.site)
        mujoco.mj_fullM(self.m, M, self.d.qM)
        J, M = jac[:, :7], M[:7, :7]
        q, qd, inverse = self.d.qpos[:7], self.d.qvel[:7], np.linalg.inv(M)
        turn = 0.5 * sum(np.cross(R[:, k], self.goal_R[:, k]) for k in range(3))
        f = 150 * np.concatenate([self.goal - position, turn]) - 2 * np.sqrt(150) * (J @ qd)
        A = J @ inverse @ J.T
        wrench = np.concatenate([np.linalg.pinv(A[:3, :3]) @ f[:3], np.linalg.pinv(A[3:, 3:]) @ f[3:]])
        N = np.eye(7) - inverse @ J.T @ np.linalg.pinv(A) @ J
        null = N.T @ M @ (10 * (self.rest - q) - 2 * np.sqrt(10) * qd)
        torque = J.T @ wrench + self.d.qfrc_bias[:7] + null
        self.grip = np.clip(self.grip + np.array([-1, 1]) * 0.01 * np.sign(gripper), -1, 1)
        span = self.m.actuator_ctrlrange
        fingers = span[7:9].mean(axis=1) + (span[7:9, 1] - span[7:9, 0]) / 2 * self.grip
        return np.concatenate([np.clip(torque, span[:7, 0], span[:7, 1]), fingers])


def _run(sim: Simulator, actions: np.ndarray) -> float:
    """Largest difference of controls over an episode that our controller drives."""
    state = sim._controller
    slow, worst = Slow(sim), 0.0
    slow.goal, slow.goal_R = state[:3].copy(), state[3:12].reshape(3, 3).copy()
    slow.grip = state[c.GRIP : c.STALE].copy()
    for action in actions:
        for i in range(SUBSTEPS):
            mujoco.mj_step1(sim.model.physics, sim.data)
            if i == 0:
                slow.set_goal(action)
            expected = slow.controls(action[6])
            c.substep(state, sim.model.reset, action, i == 0, sim._arm)
            worst = max(worst, float(np.abs(sim.data.ctrl - expected).max()))
            mujoco.mj_step2(sim.model.physics, sim.data)
    return worst


@pytest.mark.parametrize(("turning", "tolerance"), [(0.0, 1e-9), (1.0, 1e-4)])
def test_equal_to_slow_version(simulator: Simulator, turning: float, tolerance: float) -> None:
    """Torques of tens of Nm, clipped at times; turns agree to single precision, all else to double."""
    simulator.reset(1)
    random = np.random.default_rng(0)
    actions = random.uniform(-1.5, 1.5, (25, 7))
    actions[:, 3:6] *= turning
    actions[::3, 3:6] = 0.0
    actions[5:8, 6] = 0.0
    assert _run(simulator, actions) < tolerance


def test_turns_equal_robosuite_bit_for_bit() -> None:
    provider.import_libero()
    from robosuite.utils.transform_utils import axisangle2quat, quat2mat

    for vector in np.random.default_rng(0).uniform(-0.5, 0.5, (300, 3)):
        np.testing.assert_array_equal(c._rotation(vector), quat2mat(axisangle2quat(vector)))


def test_zero_rotation_keeps_the_last_goal(simulator: Simulator) -> None:
    simulator.reset(0)
    simulator.step(np.array([0, 0, 0, 0.5, 0, 0, -1.0]))
    goal = simulator._controller[3:12].copy()
    simulator.step(np.array([0.5, 0, 0, 0, 0, 0, -1.0]))
    np.testing.assert_array_equal(simulator._controller[3:12], goal)
    simulator.step(np.array([0, 0, 0, 1e-9, 0, 0, -1.0]))
    assert np.abs(simulator._controller[3:12] - goal).max() > 1e-6


def test_gripper_command_ramps(simulator: Simulator) -> None:
    """From open (-1 after settling), 8 control steps to fully closed; 0 keeps."""
    simulator.reset(0)
    np.testing.assert_allclose(simulator._controller[12:14], [1, -1])
    ramp = []
    for command in (1, 1, 0, 1, 1, 1, 1, 1, 1):
        simulator.step(np.array([0, 0, 0, 0, 0, 0, command]))
        ramp.append(simulator._controller[12])
    np.testing.assert_allclose(ramp, [0.75, 0.5, 0.5, 0.25, 0, -0.25, -0.5, -0.75, -1.0], atol=1e-12)


def test_first_substep_uses_the_reset_pose(simulator: Simulator) -> None:
    """With the stale flag the torques do not depend on the present arm pose, but for gravity."""
    simulator.reset(0)
    mujoco.mj_forward(simulator.model.physics, simulator.data)
    first, second = c.initial_state(simulator.model.reset), c.initial_state(simulator.model.reset)
    simulator.data.qfrc_bias[:] = 0
    action = np.array([0.3, 0, 0, 0, 0, 0, 1.0])
    c.substep(first, simulator.model.reset, action, True, simulator._arm)
    one = simulator.data.ctrl.copy()
    simulator.data.qpos[:7] += 0.2
    mujoco.mj_forward(simulator.model.physics, simulator.data)
    simulator.data.qfrc_bias[:] = 0
    c.substep(second, simulator.model.reset, action, True, simulator._arm)
    np.testing.assert_array_equal(one, simulator.data.ctrl)
    expected = simulator.model.reset[:3] + np.array([0.05 * 0.3, 0, 0])
    np.testing.assert_allclose(first[:3], expected, atol=1e-15)
    assert first[c.STALE] == 0


@pytest.mark.parametrize("action", [np.zeros(6), np.zeros((1, 7)), np.array([0, 0, np.nan, 0, 0, 0, 1.0])])
def test_impossible_actions_are_refused(simulator: Simulator, action: np.ndarray) -> None:
    simulator.reset(0)
    with pytest.raises(ValueError, match="seven finite numbers"):
        simulator.step(action)
