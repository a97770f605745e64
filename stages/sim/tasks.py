"""LIBERO's suites, tasks and initial states, read from the installed package's files without importing LIBERO.

Task order, names and instructions are LIBERO's (benchmark/libero_suite_task_map.py, task order 0).
"""

import importlib.util
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from data.errors import UserError, unknown
from stages.sim.provider import package_root, provider

HORIZONS = {
    "libero_spatial": 220,
    "libero_object": 280,
    "libero_goal": 300,
    "libero_10": 520,
    "libero_90": 400,
}
SUITES = tuple(HORIZONS)
INITS = {"train": range(40), "heldout": range(40, 50), "paper": range(50)}
N_INITS = 50
FIXTURE_SEED = 0
"""LIBERO's reset places cabinets, stoves and racks at random; this seed fixes them, as LIBERO's evaluations do."""


@dataclass(frozen=True)
class Task:
    """One task: where its files are, what is asked, and the suite's limit of control steps (20 a second)."""

    suite: str
    index: int
    name: str
    instruction: str
    bddl_file: Path
    horizon: int


@cache
def _task_map() -> dict[str, list[str]]:
    path = package_root() / "benchmark" / "libero_suite_task_map.py"
    spec = importlib.util.spec_from_file_location("_libero_suite_task_map", path)
    if spec is None or spec.loader is None or not path.is_file():
        raise UserError(f"{path} is missing; reinstall {provider()[0]}")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return {suite: list(names) for suite, names in module.libero_task_map.items()}


def _instruction(name: str) -> str:
    """LIBERO's language from the file name: libero_10 and libero_90 names start with a scene (KITCHEN_SCENE3_...)."""
    return re.sub(r"^[A-Z_]+_SCENE\d+_", "", name).replace("_", " ")


def suite_tasks(suite: str) -> list[Task]:
    """Every task of a suite, in LIBERO's order.

    Raises:
        UserError: no such suite.
    """
    if suite not in HORIZONS:
        raise unknown("suite", suite, SUITES)
    folder = package_root() / "bddl_files" / suite
    return [
        Task(suite, i, name, _instruction(name), folder / f"{name}.bddl", HORIZONS[suite])
        for i, name in enumerate(_task_map()[suite])
    ]


def parse_range(spec: str, size: int, what: str) -> list[int]:
    """Numbers of a list such as `0-4,7`, in the order given, each once, all in [0, size).

    Raises:
        UserError: not such a list, or a number outside.
    """
    numbers: list[int] = []
    for part in spec.split(","):
        match = re.fullmatch(r"\s*(\d+)(?:\s*-\s*(\d+))?\s*", part)
        if match is None:
            raise UserError(f"{what} '{spec}': '{part.strip()}' is not a number or range; write for example 0,2 or 0-4")
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first or last >= size:
            raise UserError(f"{what} '{spec}': {part.strip()} is outside 0-{size - 1}")
        numbers += [n for n in range(first, last + 1) if n not in numbers]
    return numbers


def select_tasks(suite: str, spec: str) -> list[Task]:
    """Tasks named by `0,1`, `0-4` or `all`."""
    tasks = suite_tasks(suite)
    if spec == "all":
        return tasks
    return [tasks[i] for i in parse_range(spec, len(tasks), f"tasks of {suite}")]


def select_inits(spec: str) -> list[int]:
    """Initial states named by `train` (0-39), `heldout` (40-49), `paper` (0-49) or a list such as `0-9,12`."""
    if spec in INITS:
        return list(INITS[spec])
    if re.fullmatch(r"[A-Za-z]\w*", spec):
        raise unknown("set of initial states", spec, [*INITS, "0-9,12"])
    return parse_range(spec, N_INITS, "initial states")


def draw_inits(generator: np.random.Generator, inits: Sequence[int], count: int) -> np.ndarray:
    """`count` initial states drawn from `inits`: whole shuffles, one after the other, so that each comes as often."""
    shuffles = [generator.permutation(inits) for _ in range(-(-count // len(inits)))]
    return np.concatenate(shuffles)[:count]


def initial_states_file(task: Task) -> Path:
    """Where a task's initial states are recorded.

    Raises:
        UserError: nowhere.
    """
    path = package_root() / "init_files" / task.suite / f"{task.name}.pruned_init"
    for candidate in (path.with_name(path.name + ".npz"), path):
        if candidate.is_file():
            return candidate
    raise UserError(f"no initial states at {path}; reinstall {provider()[0]}")


@cache
def initial_states(task: Task) -> np.ndarray:
    """All recorded initial states of a task.

    Returns:
        (N, S) f64: time, qpos, qvel.

    Raises:
        UserError: the file is missing or holds something else.
    """
    path = initial_states_file(task)
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as archive:
            states = archive["states"]
    else:
        import torch  # hf-libero pickles arrays with torch; only that provider needs it

        states = np.asarray(torch.load(path, weights_only=False))
    if states.ndim != 2 or not np.isfinite(states).all():
        raise UserError(f"{path} does not hold a finite (N, S) array of states; reinstall {provider()[0]}")
    return np.asarray(states, np.float64)


def initial_state(task: Task, init: int) -> np.ndarray:
    """Recorded initial state `init` of a task, (S,) f64: time, qpos, qvel.

    Raises:
        UserError: the task has fewer.
    """
    states = initial_states(task)
    if not 0 <= init < len(states):
        raise UserError(f"{task.name} has initial states 0-{len(states) - 1}, not {init}")
    return states[init].copy()


def task_names(tasks: Sequence[Task]) -> list[dict[str, object]]:
    """What a store records of its tasks: index, name and instruction."""
    return [{"index": t.index, "name": t.name, "instruction": t.instruction} for t in tasks]
