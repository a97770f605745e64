"""Replaying actions: the states that a list of actions leads to, by either engine."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data.errors import UserError
from stages.sim.engines import Engine, make_simulator
from stages.sim.tasks import Task


@dataclass(frozen=True)
class Replay:
    """What came of it.

    states: (T+1, S) f64: time, qpos, qvel; row 0 after the settling no-ops, row t after action t-1.
    success: (T,) bool, LIBERO's goal after each action.
    engine: the engine in its last state, for pictures.
    """

    states: np.ndarray
    success: np.ndarray
    engine: Engine


def replay(task: Task, init: int, actions: np.ndarray, engine: str = "fast", look: str | None = None) -> Replay:
    """Take `actions` (T, 7) from recorded initial state `init`; nothing ends early, success included.

    Raises:
        UserError: impossible actions, unknown engine, look or initial state.
    """
    actions = check_actions(actions, "actions")
    simulator = make_simulator(task, look or ("full" if engine == "libero" else "lite"), engine)
    simulator.reset(init)
    states, success = [simulator.state()], []
    for action in actions:
        success.append(simulator.step(action))
        states.append(simulator.state())
    return Replay(np.stack(states), np.array(success, bool), simulator)


def load_actions(path: Path) -> np.ndarray:
    """Actions (T, 7) f64 of an `.npy` file.

    Raises:
        UserError: missing, not such a file, or not finite numbers of that shape.
    """
    try:
        with path.open("rb") as file:
            loaded = np.lib.format.read_array(file, allow_pickle=False)
    except OSError as error:
        raise UserError(
            f"cannot read the actions {path} ({error.strerror}); give an .npy file of shape (T, 7)"
        ) from error
    except (ValueError, EOFError) as error:
        raise UserError(f"{path} is not an .npy array ({error}); write it with numpy.save, shape (T, 7)") from error
    return check_actions(loaded, str(path))


def check_actions(actions: np.ndarray, name: str) -> np.ndarray:
    """The same as (T, 7) f64.

    Raises:
        UserError: another shape, no action, or anything but finite numbers in [-1, 1].
    """
    actions = np.asarray(actions)
    if actions.ndim != 2 or actions.shape[1] != 7 or len(actions) == 0:
        raise UserError(
            f"{name} has shape {actions.shape}; wanted is (T, 7) with T >= 1: one action of 7 a control step"
        )
    if actions.dtype.kind not in "iuf":
        raise UserError(f"{name} holds {actions.dtype}; wanted are real numbers")
    actions = actions.astype(np.float64)
    bad = np.flatnonzero(~np.isfinite(actions).all(axis=1))
    if len(bad):
        raise UserError(f"{name}: action {bad[0]} holds NaN or infinity; wanted are finite numbers")
    far = np.flatnonzero((np.abs(actions) > 1).any(axis=1))
    if len(far):
        raise UserError(f"{name}: action {far[0]} leaves [-1, 1], to which LIBERO clips; clip it if that is meant")
    return actions


def smooth_actions(seed: int, steps: int) -> np.ndarray:
    """Smooth random actions (steps, 7): sines of 0.1-0.6 Hz, amplitude 0.5, the gripper's sign its command."""
    random = np.random.default_rng(seed)
    hertz, phase = random.uniform(0.1, 0.6, 7), random.uniform(0, 2 * np.pi, 7)
    return 0.5 * np.sin(2 * np.pi * hertz * np.arange(steps)[:, None] / 20 + phase)
