"""Stage 2: every finished episode of a store as one vector of a world model.

Reads `step/state` and renders F moments of each episode at the encoder's own size; writes, under a label,

    encode/LABEL/embedding    (N, D) float32     NaN where missing; one chunk an episode
    encode/LABEL/prefix       (N, K, D) float32  if asked: the embedding had the episode ended at K earlier moments
    encode/LABEL/prefix_step  (N, K) int64       the control steps at which those moments are
    encode/LABEL/moments      (N, m, d) float32  if asked: the episode as a path of m moments
    encode/LABEL/inputs       (N,) uint64        hash of the states that the row was computed from; written last

An episode whose `inputs` equal the hash of its states is up to date; any other is encoded (again).
"""

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from zarr.codecs import BloscCodec

from data.errors import UserError, unknown
from data.labels import choose_label
from data.lineage import digest
from data.shards import WHOLE, Shard
from data.store import RolloutStore
from data.watching import Tick
from stages.clips import CAMERAS, Clips, Source
from stages.encoding import Wanted, encode_episodes
from stages.world_models.base import EncoderOptions, WorldModel
from stages.world_models.registry import OWN, label_of, load_world_model

INTEGERS = {"inputs": "uint64", "prefix_step": "int64"}


@dataclass(frozen=True)
class EncodeSettings(EncoderOptions):
    """How trajectories are looked at."""

    camera: str = "agentview"
    """agentview or robot0_eye_in_hand"""
    source: Source = "states"
    """states: frames are rendered; images: what the policy saw, resized (its last image is not the episode's end)"""
    prefixes: int = 0
    """K, earlier ends at which the episode is embedded too: progress over time; 0: none"""
    moments: int = 0
    """frames of the path that path distances compare; 0: none"""

    variation: int = -1
    """seed of cameras and lights that differ from episode to episode (for `srpo bench progress`); -1: as they are"""

    def __post_init__(self) -> None:
        if self.camera not in CAMERAS:
            raise unknown("camera", self.camera, CAMERAS)
        if self.prefixes < 0 or self.moments < 0 or self.moments == 1:
            raise UserError(f"prefixes is 0 or more, moments 0 or 2 and more, not {self.prefixes} and {self.moments}")

    @property
    def wanted(self) -> Wanted:
        """What is computed of every episode."""
        return Wanted(self.prefixes, self.moments)


def encode_store(
    path: str | Path,
    world_model: str = "efficientnet-lite0",
    label: str | None = None,
    settings: EncodeSettings | None = None,
    progress: Tick | None = None,
    shard: Shard = WHOLE,
) -> dict[str, Any]:
    """Encode what is not yet encoded under the label; a second call with the same settings writes nothing.

    Args:
        world_model: a name, folder, file or Hub id (`registry.load_world_model`), or `mini`: what `srpo pretrain` made
            beside the store.
        label: where to write; by default the world model's name, or NAME-xxxxxx when that label holds other settings.
        progress: called as `progress(done, total)`.
        shard: the share of the episodes to encode here, while others encode theirs.

    Returns:
        label, world_model, dim, device, episodes (done ones of the shard), encoded (now), kept, up_to_date, seconds,
        episodes_per_second.

    Raises:
        UserError: no finished episode, an unknown world model, a label that holds other settings, states that are not
            finite, a store that cannot be written.
    """
    start = time.monotonic()
    store = RolloutStore.open(path)
    done = np.intersect1d(store.done(), shard.episodes(len(store)))
    if not len(done) and shard == WHOLE:
        raise UserError(f"{path} has no finished episode to encode; run `srpo collect {path}` first")
    settings = settings or EncodeSettings()
    model = load_world_model(_place_of(world_model, path), settings)
    attrs = _attributes(model, settings, store)
    label = choose_label(store, "encode", label, label_of(world_model), attrs)
    inputs = {int(i): _inputs(store, int(i)) for i in done}
    todo = _missing(store, label, inputs)
    if todo:
        writable = RolloutStore.open(path, writable=True)
        writable.sweep(todo, [f"encode/{label}"])
        clips = Clips(store, settings.camera, model.spec.size, settings.source, settings.variation)
        group = _open_label(writable, label, attrs, {**settings.wanted.rows(model.spec), "inputs": ()}, shard)
        _encode_rows(group, model, clips, settings.wanted, {i: inputs[i] for i in todo}, progress)
    seconds = time.monotonic() - start
    return {
        "label": label,
        "world_model": world_model,
        "dim": model.spec.dim,
        "device": model.device,
        "episodes": len(done),
        "encoded": len(todo),
        "kept": len(done) - len(todo),
        "up_to_date": not todo,
        "seconds": seconds,
        "episodes_per_second": len(todo) / seconds,
    }


def _place_of(world_model: str, path: str | Path) -> str:
    """Where `mini` is, the model of the store's own run; any other name is its own place."""
    if world_model != OWN:
        return world_model
    from stages.world_models.mini import find_mini

    return str(find_mini(str(path)))


def _attributes(model: WorldModel, settings: EncodeSettings, store: RolloutStore) -> dict[str, Any]:
    """All that an embedding depends on besides the states; equal attributes mean comparable embeddings."""
    spec = asdict(model.spec)
    view = {"camera": settings.camera, "look": store.attrs["look"], "source": settings.source, "crop": settings.crop}
    view["variation"] = settings.variation
    return {
        "settings": {"world_model": spec.pop("name"), **spec, **view, **asdict(settings.wanted)},
        "weights": model.weights,
        "dim": model.spec.dim,
    }


def _inputs(store: RolloutStore, index: int) -> int:
    """Hash of an episode's states, with its task."""
    states = store.states(index)
    if not np.isfinite(states).all():
        raise UserError(f"episode {index} of {store.path} holds states that are not finite; collect it again")
    return int(digest(states, int(store.plan.task[index])), 16)


def _missing(store: RolloutStore, label: str, inputs: dict[int, int]) -> list[int]:
    """Episodes without a finite row computed from their present states."""
    if store.label_attrs("encode", label) is None:
        return list(inputs)
    group: Any = store.group[f"encode/{label}"]
    known = group["inputs"][:]
    return [i for i, value in inputs.items() if known[i] != value or not np.isfinite(group["embedding"][i]).all()]


def _open_label(
    store: RolloutStore, label: str, attrs: dict[str, Any], arrays: Mapping[str, tuple[int, ...]], shard: Shard
) -> zarr.Group:
    """The label's group, made if need be; several shards may make it at once. arrays: name -> shape of a row."""
    if shard == WHOLE:
        store.drop_unfinished("encode", label)
    n = len(store)

    def fill(group: zarr.Group) -> None:
        for name, row in arrays.items():
            codec = BloscCodec(cname="zstd", clevel=1, shuffle="shuffle")
            options: Any = {"dtype": "float32", "fill_value": np.nan, "compressors": codec}
            if name in INTEGERS:
                options = {"dtype": INTEGERS[name], "fill_value": 0, "compressors": None}
            group.create_array(name, shape=(n, *row), chunks=(1, *row), **options)
        group.update_attributes(attrs)

    return store.shared_label("encode", label, fill, digest(attrs, n))


def _encode_rows(
    group: Any,
    model: WorldModel,
    clips: Clips,
    wanted: Wanted,
    inputs: dict[int, int],
    progress: Tick | None,
) -> None:
    """Write the rows of an episode, then that it is there."""
    tick = progress or (lambda *_: None)
    for count, (index, rows) in enumerate(encode_episodes(model, clips, wanted, list(inputs))):
        for name, values in rows.items():
            if not np.isfinite(values).all() or not values.any(axis=-1).all():
                raise RuntimeError(f"episode {index} of {clips.path}: {model.spec.name} gave {name} of NaN or zeros")
            group[name][index] = values
        group["inputs"][index] = inputs[index]
        tick(count + 1, len(inputs))
