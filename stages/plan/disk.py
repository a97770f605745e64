"""How many bytes a run's folder grows to, and how many are free where it is.

An episode is counted to its horizon. Once the run has rollouts, theirs are measured.
"""

import math
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from data.runs import Run
from data.store import Layout
from stages.collect import plan_rollouts
from stages.evaluate import planned
from stages.recipe import EvalRecipe, Recipe, RunSettings
from stages.sim.settings import RolloutSettings
from stages.sim.tasks import select_tasks
from stages.sim.workers.filling import rollout_request

COMPRESSED = {"lite": 0.2, "full": 0.6}
"""share of an image's bytes that the store keeps, by look; measured on libero_object: 0.17-0.19 and 0.47-0.66"""
MOMENT = 4 * 1280
"""bytes of a moment's vector, of which the embedding is made too: EfficientNet-Lite0's"""
FRAMES = 5
BLOCK = 4096
"""bytes that a small file takes; a store has one for each array and episode"""
RECENT = 3
"""policies with their optimizer's state beside the kept ones, while an update writes the next"""


@dataclass(frozen=True)
class Disk:
    """Bytes of a run."""

    images: float
    """of an iteration"""
    records: float
    """of an iteration: all else than images"""
    start: float
    """the first policy, whole"""
    policy: float
    """what an update saves of a policy: its weights, or adapters alone"""
    optimizer: float
    """an optimizer's state"""
    evaluation: float
    """an evaluation"""
    demos: float
    """the demonstrations"""

    def total(self, iterations: int, settings: RunSettings, evaluation: EvalRecipe) -> float:
        """The run's folder when all iterations are done, and while the last update writes its policy."""
        halfway, every, average = settings.save_every > 0, evaluation.every, evaluation.average
        evaluations = len(range(0, iterations + 1, every)) + 1 if every else 0
        policies = len(range(settings.keep_policies, iterations + 1, settings.keep_policies)) + halfway
        policies += max(RECENT, average + 1) + (evaluations if average > 1 else 0)
        pictured = min(iterations, settings.keep_images + 1)
        kept = self.start + policies * self.policy + (RECENT + halfway) * self.optimizer
        kept += self.demos + evaluations * self.evaluation
        return kept + pictured * self.images + iterations * self.records


def disk_of(run: Run, recipe: Recipe, policy: tuple[int, int, int], chunk: int, cameras: dict[str, int]) -> Disk:
    """What a run writes.

    Args:
        policy: bytes of its weights, of what an update saves of them, and of AdamW's state.
        chunk: actions a query. cameras: camera -> side of its images.
    """
    layout, episodes = _layout(recipe, chunk, cameras)
    episodes *= 1 + recipe.collect.refill
    images: float = episodes * _raw(layout, True) * COMPRESSED[recipe.collect.look]
    path = MOMENT * (FRAMES + recipe.encode.moments) if recipe.reward.needs_embedding else 0
    records: float = episodes * (_raw(layout, False) + path)
    if done := [stores for n in range(1, run.finished() + 1) if (stores := _stores(run, n))]:
        images = sum(used_bytes(store / "query" / "image") for store in done[-1])
        records = sum(map(used_bytes, done[-1])) - images
    row = _raw(layout, False)
    demos = 0.0 if recipe.run.policy else len(select_tasks(recipe.demo.suite, recipe.demo.tasks)) * recipe.demo.per_task
    evaluated = len(planned(recipe.eval)[1]) if recipe.eval.every else 0
    return Disk(images, records, *policy, evaluated * row, demos * row)


def used_bytes(path: Path) -> int:
    """What a file, or all files below a folder, take on their disk; 0 where nothing is."""
    files = path.rglob("*") if path.is_dir() else [path] if path.is_file() else []
    return sum(512 * file.stat().st_blocks for file in files if file.is_file())


def free_disk(path: Path) -> int:
    """Bytes that may be written at a place that need not exist yet."""
    there = next(folder for folder in (path.absolute(), *path.absolute().parents) if folder.is_dir())
    return shutil.disk_usage(there).free


def _stores(run: Run, iteration: int) -> list[Path]:
    """The rollouts of an iteration in all their rounds; none once they are packed."""
    first = run.rollouts(iteration)
    return [store for store in (first, *first.parent.glob(f"{first.stem}-*.zarr")) if store.is_dir()]


def _layout(recipe: Recipe, chunk: int, cameras: dict[str, int]) -> tuple[Layout, int]:
    settings: RolloutSettings = recipe.collect
    tasks = select_tasks(settings.suite, settings.tasks)
    plan = plan_rollouts(tasks, recipe.collect)
    return rollout_request(settings, tasks, plan, chunk, cameras, recipe.collect.keep_images).layout(), len(plan)


def _raw(layout: Layout, images: bool) -> int:
    """Bytes of an episode's images, or of all else, not compressed."""
    arrays = [array for name, array in layout.arrays().items() if name.startswith("query/image") == images]
    return sum(_bytes(shape, dtype) + BLOCK for shape, dtype in arrays)


def _bytes(shape: Sequence[int], dtype: str) -> int:
    size = {"float64": 8, "float32": 4, "int16": 2, "uint8": 1}[dtype]
    return size * math.prod(shape)
