"""A task's models, made once: in this process, and in the user's cache folder for the next one.

The cache entry of a task holds `lite.mjb` (compiled, about 3 MB, bound to the mujoco version), `full.xml` (LIBERO's own
model; its textures are read from the assets when the full look is wanted) and `task.json` (numbers). With it neither
robosuite nor LIBERO's environments are imported.
"""

import json
import os
import shutil
import tempfile
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import mujoco
import numpy as np

from data.cache import cache_dir
from data.errors import UserError
from data.lineage import digest
from stages.sim import lite
from stages.sim.controller import initial_state
from stages.sim.goals import Goal
from stages.sim.provider import assets_root, check_versions
from stages.sim.tasks import Task

RECIPE = 3
"""Raised whenever what is built or cached changes."""
GRIP_SITE, HAND_BODY = "gripper0_grip_site", "robot0_right_hand"


class TaskModel:
    """The compiled models of a task and all that is shared by its simulators in this process.

    Attributes:
        physics: the reduced model; every simulator steps this one, whatever its look.
        reset: (117,) f64, see controller.py.
        settled: initial state -> (MuJoCo integration state, controller state) after the settling no-ops.
    """

    def __init__(self, task: Task, folder: Path) -> None:
        self.task = task
        self._folder = folder
        self.numbers: dict[str, Any] = json.loads((folder / "task.json").read_text())
        self.physics = mujoco.MjModel.from_binary_path(str(folder / "lite.mjb"))
        self.reset = np.array(self.numbers["reset"])
        self.controller = initial_state(self.reset)
        self.goal = Goal(self.numbers["goal"], self.physics)
        self.site = self.physics.site(GRIP_SITE).id
        self.hand = self.physics.body(HAND_BODY).id
        self.root = int(self.physics.body_rootid[self.physics.site_bodyid[self.site]])
        self.settled: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    @property
    def state_size(self) -> int:
        """S: time, qpos and qvel."""
        return 1 + int(self.physics.nq) + int(self.physics.nv)

    @cached_property
    def full(self) -> mujoco.MjModel:
        """LIBERO's own model with every mesh and texture (272 MB), compiled on first use."""
        try:
            model = mujoco.MjModel.from_xml_path(str(self._folder / "full.xml"))
        except ValueError as error:
            line = " ".join(str(error).split())
            raise UserError(f"{self.task.name}: cannot load the full look ({line}); check LIBERO_ASSETS") from error
        lite.place_bodies(model, self.numbers)
        return model

    def look(self, name: str) -> mujoco.MjModel:
        """The model that is drawn in a look."""
        return self.physics if name == "lite" else self.full


@cache
def task_model(task: Task) -> TaskModel:
    """The model of a task, from this process, from the cache folder, or built (seconds) and cached.

    Raises:
        UserError: wrong versions, missing assets, or an unknown goal.
    """
    folder = cache_dir("models") / f"{task.suite}-{task.index}-{_key(task)}"
    if not (folder / "task.json").is_file():
        _fill(task, folder)
    return TaskModel(task, folder)


def _key(task: Task) -> str:
    import importlib.util

    robosuite = importlib.util.find_spec("robosuite")
    places = [str(assets_root()), str(robosuite.origin if robosuite else "")]
    return digest(RECIPE, check_versions(), task.bddl_file.read_bytes(), places)


def _fill(task: Task, folder: Path) -> None:
    """Write a cache entry beside its place, then move it there: whoever comes second drops its own copy."""
    from stages.sim.build import build  # imports robosuite and LIBERO: only when something must be built

    built = build(task)
    try:
        temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{task.suite}-{task.index}-"))
    except OSError as error:
        raise UserError(
            f"cannot write in {folder.parent} ({error.strerror}); set SRPO_CACHE to another folder"
        ) from error
    try:
        if folder.exists() and not (folder / "task.json").is_file():
            shutil.rmtree(folder)
        mujoco.mj_saveModel(built.lite, str(temporary / "lite.mjb"), None)
        (temporary / "full.xml").write_text(built.xml)
        (temporary / "task.json").write_text(json.dumps(built.numbers))
        os.rename(temporary, folder)
    except OSError:
        if not (folder / "task.json").is_file():
            raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
