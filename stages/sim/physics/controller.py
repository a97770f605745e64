"""robosuite 1.4.0's OSC_POSE arm controller and Panda gripper, compiled, one call per 2 ms substep.

The same equations as controllers/osc.py, controllers/base_controller.py, utils/control_utils.py and
models/grippers/panda_gripper.py, with what is particular there:
  - a rotation command of exactly zero keeps the previous goal orientation instead of holding the present one;
  - the first substep after a reset sees the kinematics of the reset pose (`ResetPose`), only gravity is current;
  - the gripper command integrates by 0.01 every substep.
"""

import math
import os
from typing import NamedTuple

import numpy as np

from stages.sim.provider import use_cache_folders

use_cache_folders()

import numba  # noqa: E402  (reads NUMBA_CACHE_DIR when imported)

numba.config.CACHE_DIR = os.environ["NUMBA_CACHE_DIR"]  # type: ignore[attr-defined]

ARM = 7
GOAL_POS, GOAL_ORI, GRIP, STALE, STATE = 0, 3, 12, 14, 15
"""Layout of the controller's state (15,) f64: goal position 3, goal orientation 9, gripper 2, stale flag."""
R_POS, R_ORI, R_J, R_M, R_Q, R_REST, RESET = 0, 3, 12, 54, 103, 110, 117
"""Layout of the reset bundle (117,) f64: site position 3, orientation 9, J (6, 7), M (7, 7), q 7, rest posture 7."""


class Arm(NamedTuple):
    """What the controller reads and writes of one MjData: views, so that nothing is copied.

    S sites, B bodies, V dofs, U actuators; the arm is dofs and actuators 0-6 (a chain), the fingers actuators 7-8.
    """

    site: int
    """id of the gripper's site"""
    root: int
    """id of the root body of its tree"""
    qpos: np.ndarray
    qvel: np.ndarray
    """(V,)"""
    site_xpos: np.ndarray
    """(S, 3)"""
    site_xmat: np.ndarray
    """(S, 9)"""
    cdof: np.ndarray
    """(V, 6)"""
    com: np.ndarray
    """(B, 3)"""
    inertia: np.ndarray
    """MuJoCo's qM"""
    bias: np.ndarray
    """(V,)"""
    span: np.ndarray
    """(U, 2) control ranges"""
    ctrl: np.ndarray
    """(U,) written"""


KP, KD = 150.0, 2.0 * math.sqrt(150.0)
NULL_KP, NULL_KD = 10.0, 2.0 * math.sqrt(10.0)
STEP_POS, STEP_ORI, GRIP_SPEED = 0.05, 0.5, 0.01


def initial_state(reset: np.ndarray) -> np.ndarray:
    """The controller's state (15,) right after an environment reset: goal at the reset pose, gripper in the middle."""
    state = np.zeros(STATE)
    state[GOAL_POS:GOAL_ORI] = reset[R_POS:R_ORI]
    state[GOAL_ORI:GRIP] = reset[R_ORI:R_J]
    state[STALE] = 1.0
    return state


@numba.njit(cache=True, error_model="numpy")
def _cholesky(a: np.ndarray, n: int) -> None:
    """In place: the lower triangle of `a` (n, n) becomes its Cholesky factor."""
    for j in range(n):
        for k in range(j):
            a[j, j] -= a[j, k] * a[j, k]
        a[j, j] = math.sqrt(a[j, j])
        for i in range(j + 1, n):
            for k in range(j):
                a[i, j] -= a[i, k] * a[j, k]
            a[i, j] /= a[j, j]


@numba.njit(cache=True, error_model="numpy")
def _solve(factor: np.ndarray, x: np.ndarray, n: int) -> None:
    """In place: x (n,) becomes A^-1 x, for A = factor factor^T."""
    for i in range(n):
        for k in range(i):
            x[i] -= factor[i, k] * x[k]
        x[i] /= factor[i, i]
    for i in range(n - 1, -1, -1):
        for k in range(i + 1, n):
            x[i] -= factor[k, i] * x[k]
        x[i] /= factor[i, i]


@numba.njit(cache=True, error_model="numpy")
def _rotation(v: np.ndarray) -> np.ndarray:
    """The rotation matrix (3, 3) of an axis-angle vector (3,), through a quaternion in single precision.

    transform_utils.py's axisangle2quat is exact, its quat2mat rounds to f32: 1e-8 that contacts would blow up.
    """
    angle = math.sqrt(v[0] * v[0] + v[1] * v[1] + v[2] * v[2])
    q = np.empty(4, np.float32)
    q[0] = math.cos(angle / 2.0)
    for i in range(3):
        q[1 + i] = v[i] / angle * math.sin(angle / 2.0)
    scale = math.sqrt(2.0 / np.dot(q, q))
    p = np.empty((4, 4), np.float32)
    for i in range(4):
        q[i] = q[i] * scale
    for i in range(4):
        for j in range(4):
            p[i, j] = q[i] * q[j]
    r = np.empty((3, 3))
    r[0, 0] = 1.0 - p[2, 2] - p[3, 3]
    r[1, 1] = 1.0 - p[1, 1] - p[3, 3]
    r[2, 2] = 1.0 - p[1, 1] - p[2, 2]
    r[0, 1], r[1, 0] = p[1, 2] - p[3, 0], p[1, 2] + p[3, 0]
    r[0, 2], r[2, 0] = p[1, 3] + p[2, 0], p[1, 3] - p[2, 0]
    r[1, 2], r[2, 1] = p[2, 3] - p[1, 0], p[2, 3] + p[1, 0]
    return r


@numba.njit(cache=True, error_model="numpy")
def _set_goal(state: np.ndarray, action: np.ndarray, position: np.ndarray, orientation: np.ndarray) -> None:
    """The goal of a control step: the pose moved by the clipped, scaled action (7,) (osc.py set_goal)."""
    turn = np.empty(3)
    for i in range(3):
        state[GOAL_POS + i] = position[i] + STEP_POS * min(max(action[i], -1.0), 1.0)
        turn[i] = STEP_ORI * min(max(action[3 + i], -1.0), 1.0)
    if turn[0] == 0.0 and turn[1] == 0.0 and turn[2] == 0.0:
        return
    r = _rotation(turn)
    for i in range(3):
        for j in range(3):
            total = 0.0
            for k in range(3):
                total += r[i, k] * orientation[3 * k + j]
            state[GOAL_ORI + 3 * i + j] = total


@numba.njit(cache=True, error_model="numpy")
def _wrench(
    state: np.ndarray, position: np.ndarray, orientation: np.ndarray, J: np.ndarray, qd: np.ndarray
) -> np.ndarray:
    """Desired acceleration (6,): PD on the position error and on 0.5 sum of R_c x Rgoal_c (orientation_error)."""
    f = np.empty(6)
    e = np.zeros(6)
    g = state[GOAL_ORI:GRIP]
    r = orientation
    for c in range(3):
        e[3] += 0.5 * (r[3 + c] * g[6 + c] - r[6 + c] * g[3 + c])
        e[4] += 0.5 * (r[6 + c] * g[c] - r[c] * g[6 + c])
        e[5] += 0.5 * (r[c] * g[3 + c] - r[3 + c] * g[c])
    for i in range(3):
        e[i] = state[GOAL_POS + i] - position[i]
    for i in range(6):
        v = 0.0
        for j in range(ARM):
            v += J[i, j] * qd[j]
        f[i] = KP * e[i] - KD * v
    return f


@numba.njit(cache=True, error_model="numpy")
def _torques(
    J: np.ndarray, M: np.ndarray, f: np.ndarray, q: np.ndarray, qd: np.ndarray, rest: np.ndarray, bias: np.ndarray
) -> np.ndarray:
    """J^T [Lp F; Lo T] + gravity + N^T M (10 (q0 - q) - 2 sqrt(10) qd), with N = I - M^-1 J^T L J.

    Lp, Lo, L are the inverses of the position block, the orientation block, and all of J M^-1 J^T.
    """
    pose = np.zeros(ARM)
    for i in range(ARM):
        for j in range(ARM):
            pose[i] += M[i, j] * (NULL_KP * (rest[j] - q[j]) - NULL_KD * qd[j])
    factor = M.copy()
    _cholesky(factor, ARM)
    X = J.copy()
    for i in range(6):
        _solve(factor, X[i], ARM)
    A = np.zeros((6, 6))
    null = np.zeros(6)
    for i in range(6):
        for k in range(ARM):
            null[i] += X[i, k] * pose[k]
            for j in range(6):
                A[i, j] += J[i, k] * X[j, k]
    for block in range(2):
        part = A[3 * block : 3 * block + 3, 3 * block : 3 * block + 3].copy()
        _cholesky(part, 3)
        _solve(part, f[3 * block : 3 * block + 3], 3)
    _cholesky(A, 6)
    _solve(A, null, 6)
    torque = np.empty(ARM)
    for i in range(ARM):
        torque[i] = bias[i] + pose[i]
        for k in range(6):
            torque[i] += J[k, i] * (f[k] - null[k])
    return torque


@numba.njit(cache=True, error_model="numpy")
def _jacobian(cdof: np.ndarray, arm_point: np.ndarray) -> np.ndarray:
    """Site Jacobian (6, 7) of the arm dofs from MuJoCo's `cdof` (rotation 3, translation 3 about the root's com)."""
    J = np.empty((6, ARM))
    p = arm_point
    for j in range(ARM):
        a, b, c = cdof[j, 0], cdof[j, 1], cdof[j, 2]
        J[0, j] = cdof[j, 3] + b * p[2] - c * p[1]
        J[1, j] = cdof[j, 4] + c * p[0] - a * p[2]
        J[2, j] = cdof[j, 5] + a * p[1] - b * p[0]
        J[3, j], J[4, j], J[5, j] = a, b, c
    return J


@numba.njit(cache=True, error_model="numpy")
def _mass(qM: np.ndarray) -> np.ndarray:
    """Joint-space inertia (7, 7) of the arm: MuJoCo stores row i as M[i, i], M[i, i-1], ... M[i, 0]."""
    M = np.empty((ARM, ARM))
    start = 0
    for i in range(ARM):
        for k in range(i + 1):
            M[i, i - k] = qM[start + k]
            M[i - k, i] = qM[start + k]
        start += i + 1
    return M


@numba.njit(cache=True, error_model="numpy")
def substep(
    state: np.ndarray,
    reset: np.ndarray,
    action: np.ndarray,
    first: bool,
    arm: Arm,
) -> None:
    """Write the controls of one substep, between mj_step1 and mj_step2.

    Args:
        state: (15,) f64, the controller's own state, updated.
        reset: (117,) f64, kinematics of the reset pose.
        action: (7,) f64: pose change in [-1, 1], gripper (-1 opens, +1 closes).
        first: whether this substep begins a control step, so that `action` sets a new goal.
        arm: what it reads of MjData, and `ctrl`, which it writes.
    """
    if state[STALE] != 0.0:
        state[STALE] = 0.0
        position, orientation = reset[R_POS:R_ORI], reset[R_ORI:R_J]
        J, M = reset[R_J:R_M].copy().reshape(6, ARM), reset[R_M:R_Q].copy().reshape(ARM, ARM)
        q, qd = reset[R_Q:R_REST], np.zeros(ARM)
    else:
        position, orientation = arm.site_xpos[arm.site], arm.site_xmat[arm.site]
        J, M = _jacobian(arm.cdof, position - arm.com[arm.root]), _mass(arm.inertia)
        q, qd = arm.qpos[:ARM], arm.qvel[:ARM]
    if first:
        _set_goal(state, action, position, orientation)
    torque = _torques(J, M, _wrench(state, position, orientation, J, qd), q, qd, reset[R_REST:RESET], arm.bias)
    for i in range(ARM):
        arm.ctrl[i] = min(max(torque[i], arm.span[i, 0]), arm.span[i, 1])
    for i in range(2):
        grip = state[GRIP + i] + (2 * i - 1) * GRIP_SPEED * np.sign(action[6])
        state[GRIP + i] = min(max(grip, -1.0), 1.0)
        low, high = arm.span[ARM + i, 0], arm.span[ARM + i, 1]
        arm.ctrl[ARM + i] = 0.5 * (high + low) + 0.5 * (high - low) * state[GRIP + i]
