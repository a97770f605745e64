"""A world model of a run's own: `mini`, a small V-JEPA 2, trained on the pictures of stored episodes without labels.

Reads `step/state` of every finished episode, successful or not, renders M moments of each, and writes a folder that
`srpo encode --world-model` loads. The same inputs and settings give the same bits, on processors of one kind.

Legend: E episodes of all stores times cameras, M moments of each, S pixels a side.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from data.checkpoint import holds, read_record, write_checkpoint
from data.errors import UserError, unknown
from data.lineage import digest, digest_files
from data.paths import is_url, plain
from data.store import RolloutStore
from data.watching import Tick
from stages.clips import CAMERAS, Clips
from stages.learning.threads import torch_threads
from stages.world_models.base import frame_indices
from stages.world_models.mini import TUBELET, WEIGHTS, Jepa, MiniShape, default_folder
from stages.world_models.mini_training import CollapseError, TrainingSettings, train

SMALLEST_HEAD = 6
"""numbers of a head, so that each of time, row and column turns a pair of them (rotary positions)"""


@dataclass(frozen=True)
class PretrainSettings(MiniShape, TrainingSettings):
    """The pictures, the network, and how it learns."""

    cameras: tuple[str, ...] = CAMERAS
    """agentview, robot0_eye_in_hand or both: clips are of one of them"""
    moments: int = 32
    """M, pictures of each episode that clips are drawn from, spread evenly"""
    variation: int = -1
    """seed of cameras and lights that differ from episode to episode; -1: as they are"""
    threads: int = 2
    """that compute; a number on purpose and not the machine's, since the last bits of the weights depend on it"""

    def __post_init__(self) -> None:
        if not self.cameras:
            raise UserError(f"pretrain.cameras must name one of {', '.join(CAMERAS)}, or both")
        for camera in self.cameras:
            if camera not in CAMERAS:
                raise unknown("camera", camera, CAMERAS)
        for name in ("patch", "layers", "heads", "predictor_layers", "steps", "batch", "blocks", "threads"):
            if getattr(self, name) < 1:
                raise UserError(f"pretrain.{name} must be 1 or more, not {getattr(self, name)}")
        for name in ("weight_decay", "shift", "seed", "warmup", "ema", "brightness"):
            if getattr(self, name) < 0:
                raise UserError(f"pretrain.{name} must be 0 or above, not {getattr(self, name)}")
        for name in ("warmup", "ema", "masked", "brightness"):
            if getattr(self, name) >= 1:
                raise UserError(f"pretrain.{name} must be below 1, not {getattr(self, name)}")
        for name in ("lr", "masked"):
            if getattr(self, name) <= 0:
                raise UserError(f"pretrain.{name} must be above 0, not {getattr(self, name)}")
        self._check_shape()

    def _check_shape(self) -> None:
        if self.size % self.patch or self.size < 2 * self.patch:
            raise UserError(f"pretrain.size must be a multiple of patch, 2 or more times {self.patch}, not {self.size}")
        if self.frames < TUBELET or self.frames % TUBELET or self.moments < self.frames:
            raise UserError(
                f"pretrain.frames must be even and at most moments ({self.moments}), not {self.frames}; "
                "set one of them otherwise"
            )
        for name in ("width", "predictor_width"):
            value = getattr(self, name)
            if value % self.heads or value < SMALLEST_HEAD * self.heads:
                raise UserError(
                    f"pretrain.{name} must be a multiple of heads ({self.heads}), {SMALLEST_HEAD} or more times it, "
                    f"not {value}"
                )


def pretrain_stores(
    paths: Sequence[str], out: str | Path | None, settings: PretrainSettings, progress: Tick | None = None
) -> dict[str, Any]:
    """Train `mini` on the finished episodes of some stores; where the same was done already, nothing is.

    Args:
        paths: rollout stores, of any suites.
        out: the folder that is made; none: `world_model` in the first store's run, or beside that store.
        progress: called as `progress(done, total, note)`: episodes rendered, then steps.

    Returns:
        out, weights (their hash), stores, episodes, parameters (of the encoder), loss_first, loss, spread,
        effective_rank (see `mini_training.train`), up_to_date, seconds, and where it was trained steps_per_second.

    Raises:
        UserError: no finished episode, states that are not finite, a folder that holds something else or cannot be
            written, a training that comes to nothing.
    """
    start = time.monotonic()
    if out and is_url(out):
        raise UserError(f"{out} is not a folder; give one as --out")
    folder = Path(plain(out)) if out else default_folder(paths[0])
    stores = [RolloutStore.open(path) for path in paths]
    inputs = digest(asdict(settings), [_content(store) for store in stores])
    speed: dict[str, float] = {}
    if holds(folder, inputs):
        figures = read_record(folder)["figures"]
    else:
        jepa, figures, speed = _train(stores, settings, progress or (lambda *_: None))
        write_checkpoint(folder, jepa.save, {"settings": asdict(settings), "figures": figures, "inputs": inputs})
    return {
        "out": str(folder),
        "weights": digest_files([folder / WEIGHTS]),
        **figures,
        "up_to_date": not speed,
        "seconds": time.monotonic() - start,
        **speed,
    }


def render_episodes(stores: Sequence[RolloutStore], settings: PretrainSettings, tick: Tick) -> np.ndarray:
    """M moments of every finished episode, spread evenly over it, by each camera: (E, M, S, S, 3) uint8."""
    pictures: list[np.ndarray] = []
    total = len(settings.cameras) * sum(len(store.done()) for store in stores)
    for store, camera in product(stores, settings.cameras):
        clips = Clips(store, camera, settings.size, variation=settings.variation)
        for index in store.done():
            chosen = frame_indices(clips.moments(int(index)), settings.moments)
            pictures.append(clips.frames(int(index), chosen))
            tick(len(pictures), total, "rendering")
    return np.stack(pictures)


def _train(
    stores: Sequence[RolloutStore], settings: PretrainSettings, tick: Tick
) -> tuple[Jepa, dict[str, Any], dict[str, float]]:
    """The model, its figures, and its speed, which is not the same every time."""
    frames = render_episodes(stores, settings, tick)
    try:
        with torch_threads(settings.threads):
            jepa, figures = train(frames, settings, settings, tick)
    except (FloatingPointError, CollapseError) as error:
        raise UserError(f"pretraining came to nothing: {error}; try a lower lr, more steps or a higher ema") from error
    speed = {"steps_per_second": figures.pop("steps_per_second")}
    size = sum(parameter.numel() for parameter in jepa.target.parameters())
    return (
        jepa,
        {"stores": len(stores), "episodes": sum(len(store.done()) for store in stores), "parameters": size, **figures},
        speed,
    )


def _content(store: RolloutStore) -> list[Any]:
    """All that the pictures of a store depend on.

    Raises:
        UserError: nothing to learn from.
    """
    if not len(store.done()):
        raise UserError(f"{store.path} has no finished episode to learn from; run `srpo collect {store.path}` first")
    return [store.attrs["suite"], store.attrs["look"], *_states(store)]


def _states(store: RolloutStore) -> Iterator[tuple[int, str]]:
    for index in store.done():
        states = store.states(int(index))
        if not np.isfinite(states).all():
            raise UserError(f"episode {index} of {store.path} holds states that are not finite; collect it again")
        yield int(store.plan.task[index]), digest(states)
