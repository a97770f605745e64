"""`srpo bench progress`: how good a progress signal each world model gives, with each distance.

Episodes of any stores (scripted ones that go wrong on purpose, a policy's) are encoded by every world model, from both
cameras, with their prefixes and paths, camera and light varied (the camera on the hand stays where it is). The paper's
five measures (Table 3) and the agreement with true progress are computed with the paper's own protocol and with
references held out, with bootstrap intervals over episodes.

Legend: N episodes of all stores, K prefixes.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import Any

import numpy as np

from data.errors import UserError, unknown
from data.store import RolloutStore
from data.watching import Tick
from stages.bench.progress_scores import Scores, score
from stages.clips import CAMERAS
from stages.encode import EncodeSettings, encode_store
from stages.progress.paths import PATH_DISTANCES
from stages.progress.settings import RewardSettings
from stages.progress.signals import Signal, embedding_signal, path_signals
from stages.sim.milestones import Milestones
from stages.sim.tasks import suite_tasks

EMBEDDING_DISTANCES = {
    "l2": RewardSettings(),
    "l2 nearest": RewardSettings(centre="each"),
    "cosine": RewardSettings(distance="cosine"),
}
"""What is compared on embeddings: the reward's own distances; the paper's is `l2`, to the centres of clusters."""


@dataclass(frozen=True)
class ProgressSettings:
    """What is judged, and how surely."""

    world_models: tuple[str, ...] = ("pixels", "efficientnet-lite0")
    """names, folders or Hub ids, as for `srpo encode`"""
    cameras: tuple[str, ...] = CAMERAS
    """the views that each looks from"""
    prefixes: int = 16
    """K, points of a progress curve"""
    moments: int = 32
    """of the paths that path distances compare"""
    variation: int = 0
    """seed of the cameras and lights; -1: none is varied"""
    resamples: int = 1000
    """of the bootstrap"""

    def __post_init__(self) -> None:
        for camera in self.cameras:
            if camera not in CAMERAS:
                raise unknown("camera", camera, CAMERAS)
        if not (self.world_models and self.cameras) or self.prefixes < 2 or self.moments < 2 or self.resamples < 1:
            raise UserError(
                "bench progress takes at least one world model and camera, 2 prefixes, 2 moments and 1 resample"
            )

    def encoding(self, camera: str) -> EncodeSettings:
        """How the episodes are encoded."""
        return EncodeSettings(camera=camera, prefixes=self.prefixes, moments=self.moments, variation=self.variation)


@dataclass(frozen=True)
class Episodes:
    """The finished episodes of all stores."""

    stores: Sequence[RolloutStore]
    success: np.ndarray
    """(N,) bool"""
    task: np.ndarray
    """(N,)"""
    truth: np.ndarray
    """(N,) the furthest true progress, 0 to 5"""


def bench_progress(paths: Sequence[str], settings: ProgressSettings, tick: Tick) -> dict[str, Any]:
    """Judge every world model and distance on the episodes of some stores; encodings are kept in the stores.

    Returns:
        episodes, successes, tasks, failures by stage reached, and rows: world_model, camera, distance, protocol, each
        measure as [estimate, low, high]; the best by rank correlation with true progress.

    Raises:
        UserError: stores of several suites, tasks without successes, whatever `encode` and `Milestones` refuse.
    """
    began = time.monotonic()
    stores = [RolloutStore.open(path) for path in paths]
    episodes = _episodes(stores)
    rows: list[dict[str, Any]] = []
    views = list(product(settings.world_models, settings.cameras))
    total, done = len(views) * (len(paths) + 1), 0
    for name, camera in views:
        labels = []
        for path in paths:
            tick(done, total, f"{name}, {camera}: encoding {path}")
            labels.append(encode_store(path, name, settings=settings.encoding(camera))["label"])
            done += 1
        tick(done, total, f"{name}, {camera}: scoring")
        view = {"world_model": name, "camera": camera}
        for distance, protocol, signal in _signals(stores, labels, episodes, settings):
            scores = score(signal, episodes.success, episodes.task, episodes.truth, settings.resamples)
            rows.append({**view, "distance": distance, "protocol": protocol, **_flat(scores)})
        done += 1
        tick(done, total, f"{name}, {camera}")
    return {**_described(episodes), "rows": rows, "best": _best(rows), "seconds": time.monotonic() - began}


def _episodes(stores: Sequence[RolloutStore]) -> Episodes:
    suites = {store.attrs["suite"] for store in stores}
    if len(suites) != 1:
        raise UserError(f"give stores of one suite, not of {', '.join(sorted(suites))}")
    tasks = suite_tasks(suites.pop())
    success, task, truth = [], [], []
    read = cache(lambda number: Milestones(tasks[number]))
    for store in stores:
        done, wins = store.done(), store.success()
        success += wins[done].tolist()
        task += store.plan.task[done].tolist()
        truth += [read(int(store.plan.task[i]))(store.states(i)).furthest for i in done]
    found = Episodes(stores, np.array(success, bool), np.array(task), np.array(truth))
    for number in np.unique(found.task):
        own = found.success[found.task == number]
        if own.sum() < 3 or (~own).sum() < 3:
            raise UserError(
                f"task {number} has {own.sum()} successes and {(~own).sum()} failures; give stores with 3 or more of "
                "each, such as `srpo demo STORE --per-task 40 --set mistakes=0.7` makes"
            )
    return found


def _signals(
    stores: Sequence[RolloutStore], labels: Sequence[str], episodes: Episodes, settings: ProgressSettings
) -> Iterator[tuple[str, str, Signal]]:
    """(distance, protocol, signal) of one world model."""
    embedding, prefix, moments = (_arrays(stores, labels, name) for name in ("embedding", "prefix", "moments"))
    for distance, reward in EMBEDDING_DISTANCES.items():
        for protocol, held_out in (("own end", False), ("held out", True)):
            yield (
                distance,
                protocol,
                embedding_signal(embedding, prefix, episodes.success, episodes.task, reward, held_out),
            )
    signals = path_signals(moments, episodes.success, episodes.task, settings.prefixes, PATH_DISTANCES)
    for distance, signal in signals.items():
        yield distance, "held out", signal


def _arrays(stores: Sequence[RolloutStore], labels: Sequence[str], name: str) -> np.ndarray:
    """An array of the finished episodes of all stores."""
    found: list[Any] = [store.group[f"encode/{label}/{name}"] for store, label in zip(stores, labels, strict=True)]
    return np.concatenate([array[:][store.done()] for array, store in zip(found, stores, strict=True)])


def _flat(scores: Scores) -> dict[str, list[float]]:
    return {name: [found.estimate, found.low, found.high] for name, found in scores.items()}


def _described(episodes: Episodes) -> dict[str, Any]:
    stages = np.floor(episodes.truth[~episodes.success]).astype(int)
    return {
        "episodes": len(episodes.task),
        "successes": int(episodes.success.sum()),
        "tasks": np.unique(episodes.task).tolist(),
        "failures_by_stage": np.bincount(stages, minlength=6).tolist(),
    }


def _best(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    held_out = [row for row in rows if row["protocol"] == "held out"]
    return max(held_out, key=lambda row: np.nan_to_num(row["rank"][0], nan=-2.0))
