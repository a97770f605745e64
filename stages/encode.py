"""Stage 2: every finished episode of a store as one vector of a world model.

Reads `step/state` and renders F moments of each episode at the encoder's own size; writes, under a label,

    encode/LABEL/embedding  (N, D) float32   NaN where missing; one chunk an episode
    encode/LABEL/inputs     (N,)   uint64    hash of the states that the row was computed from; written after the row

An episode whose `inputs` equal the hash of its states is up to date; any other is encoded (again). N episodes of the
store, D length of the embedding, S state size, t control steps of an episode.
"""

import os
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import zarr
from zarr.codecs import BloscCodec

from data.errors import UserError, unknown
from data.labels import choose_label
from data.lineage import digest
from data.store import RolloutStore
from stages.sim.view import StateView
from stages.world_models.base import WorldModel, frame_indices, load_world_model

CAMERAS = ("agentview", "robot0_eye_in_hand")
MAX_THREADS = 8


@dataclass(frozen=True)
class EncodeSettings:
    """How trajectories are looked at."""

    frames: int | None = None
    """frames a clip; none: the world model's own count"""
    size: int | None = None
    """pixels a side; none: the world model's own size"""
    camera: str = "agentview"
    """agentview or robot0_eye_in_hand"""

    def __post_init__(self) -> None:
        if self.camera not in CAMERAS:
            raise unknown("camera", self.camera, CAMERAS)


def encode_store(
    path: str | Path,
    world_model: str = "efficientnet-lite0",
    label: str | None = None,
    settings: EncodeSettings | None = None,
    progress: Callable[..., None] | None = None,
) -> dict[str, Any]:
    """Encode what is not yet encoded under the label; a second call with the same settings writes nothing.

    Args:
        label: where to write; by default the world model's name, or NAME-xxxxxx when that label holds other settings.
        progress: called as `progress(done, total)`.

    Returns:
        label, world_model, dim, episodes (done ones), encoded (now), kept, up_to_date, seconds, episodes_per_second.

    Raises:
        UserError: no finished episode, an unknown world model, a label that holds other settings, states that are not
            finite, a store that cannot be written.
    """
    start = time.monotonic()
    store = RolloutStore.open(path)
    done = store.done()
    if not len(done):
        raise UserError(f"{path} has no finished episode to encode; run `srpo collect {path}` first")
    settings = settings or EncodeSettings()
    model = load_world_model(world_model, settings.frames, settings.size)
    attrs = _attributes(model, settings, store)
    label = choose_label(store, "encode", label, world_model, attrs)
    inputs = {int(i): _inputs(store, int(i)) for i in done}
    todo = _missing(store, label, inputs)
    if todo:
        writable = RolloutStore.open(path, writable=True)
        writable.sweep(range(len(store)), [f"encode/{label}"])
        group = _open_label(writable, label, attrs)
        _encode_rows(store, group, model, settings, {i: inputs[i] for i in todo}, progress)
    seconds = time.monotonic() - start
    return {
        "label": label,
        "world_model": world_model,
        "dim": model.spec.dim,
        "episodes": len(done),
        "encoded": len(todo),
        "kept": len(done) - len(todo),
        "up_to_date": not todo,
        "seconds": seconds,
        "episodes_per_second": len(todo) / seconds,
    }


def _attributes(model: WorldModel, settings: EncodeSettings, store: RolloutStore) -> dict[str, Any]:
    """All that an embedding depends on besides the states; equal attributes mean comparable embeddings."""
    spec = asdict(model.spec)
    return {
        "settings": {"world_model": spec.pop("name"), **spec, "camera": settings.camera, "look": store.attrs["look"]},
        "weights": model.weights,
        "dim": model.spec.dim,
    }


def _inputs(store: RolloutStore, index: int) -> int:
    """Hash of an episode's states, with its task."""
    return int(digest(_states(store, index), int(store.plan.task[index])), 16)


def _states(store: RolloutStore, index: int) -> np.ndarray:
    """(t + 1, S): the states of a finished episode."""
    states = store.states(index)
    if not np.isfinite(states).all():
        raise UserError(f"episode {index} of {store.path} holds states that are not finite; collect it again")
    return states


def _missing(store: RolloutStore, label: str, inputs: dict[int, int]) -> list[int]:
    """Episodes without a finite row computed from their present states."""
    if store.label_attrs("encode", label) is None:
        return list(inputs)
    group: Any = store.group[f"encode/{label}"]
    known = group["inputs"][:]
    return [i for i, value in inputs.items() if known[i] != value or not np.isfinite(group["embedding"][i]).all()]


def _open_label(store: RolloutStore, label: str, attrs: dict[str, Any]) -> zarr.Group:
    """The label's group, made if need be; its attributes come last and make it whole."""
    if store.label_attrs("encode", label) is not None:
        return store.group[f"encode/{label}"]  # type: ignore[return-value]
    n, dim = len(store), int(attrs["dim"])
    group = store.new_label("encode", label)
    codec = BloscCodec(cname="zstd", clevel=1, shuffle="shuffle")
    group.create_array(
        "embedding", shape=(n, dim), chunks=(1, dim), dtype="float32", fill_value=np.nan, compressors=codec
    )
    group.create_array("inputs", shape=(n,), chunks=(1,), dtype="uint64", fill_value=0, compressors=None)
    group.update_attributes(attrs)
    return group


def _encode_rows(
    store: RolloutStore,
    group: Any,
    model: WorldModel,
    settings: EncodeSettings,
    inputs: dict[int, int],
    progress: Callable[..., None] | None,
) -> None:
    """Render here, encode in other threads, write here, in order."""
    view = StateView(store.attrs["suite"], store.attrs["look"])
    tick = progress or (lambda *_: None)

    def clip(index: int) -> np.ndarray:
        states = _states(store, index)
        rows = states[frame_indices(len(states), model.spec.frames)]
        return view.frames(int(store.plan.task[index]), rows, settings.camera, model.spec.size)

    for count, (index, row) in enumerate(_embeddings(model, clip, list(inputs))):
        if not np.isfinite(row).all() or not row.any():
            raise RuntimeError(f"episode {index} of {store.path}: {model.spec.name} gave an embedding of NaN or zeros")
        group["embedding"][index] = row
        group["inputs"][index] = inputs[index]
        tick(count + 1, len(inputs))


def _embeddings(
    model: WorldModel, clip: Callable[[int], np.ndarray], episodes: list[int]
) -> Iterator[tuple[int, np.ndarray]]:
    """(index, (D,) row) in order. Each episode is encoded alone by one torch thread, several at a time: the bits of a
    row depend neither on the number of threads nor on which episodes are encoded with it."""
    workers = max(1, min(os.cpu_count() or 1, MAX_THREADS))
    before = torch.get_num_threads()
    waiting: deque[tuple[int, Future[np.ndarray]]] = deque()
    try:
        with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            for index in episodes:
                waiting.append((index, pool.submit(lambda frames: model.encode(frames[None])[0], clip(index))))
                if len(waiting) > workers:
                    first, future = waiting.popleft()
                    yield first, future.result()
            for first, future in waiting:
                yield first, future.result()
    finally:
        torch.set_num_threads(before)
