"""The rollout store: one Zarr v3 group per batch of rollouts, one chunk per episode and array.

Shapes: N episodes, T control steps at most, Q policy queries at most, C actions a chunk, S state size, P proprioception
size. Every slot exists from the start (`data.making`), so any number of processes on any number of machines write
without a lock: each its own episodes' chunks (`data.shards`), `episode/status` last, and only that says that a slot is
done.

    episode/ task init_state group seed      (N,) int64   what was asked
    episode/ status success steps queries    (N,) int     what happened
    step/state                               (N, T+1, S) float64   time, qpos, qvel; zero beyond the episode's end
    step/action                              (N, T, 7) float32     what the environment was given
    step/label                               (N, T, 7) float32     demonstrations only: the action before noise
    query/image/CAMERA                       (N, Q, H, W, 3) uint8 what the policy saw, upright
    query/proprio                            (N, Q, P) float32
    query/tokens, query/logprob              (N, Q, C*7) int16, float32
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from zarr.codecs import BloscCodec

from data.errors import UserError
from data.lineage import digest
from data.making import REQUEST, in_memory, make
from data.paths import open_root, plain, remove_tree, sweep_partial

SCHEMA = 1
EMPTY, DONE, ERROR, SKIPPED = 0, 1, 2, 3
ASKED = ("task", "init_state", "group", "seed")
HAPPENED = {"status": "uint8", "success": "uint8", "steps": "int32", "queries": "int32"}
CODEC = BloscCodec(cname="zstd", clevel=1, shuffle="shuffle")
IMAGE_CODEC = BloscCodec(cname="zstd", clevel=1, shuffle="noshuffle")


@dataclass(frozen=True)
class Plan:
    """What is asked of each episode: four (N,) int64 arrays. A group shares task and initial state."""

    task: np.ndarray
    init_state: np.ndarray
    group: np.ndarray
    seed: np.ndarray

    def __len__(self) -> int:
        return len(self.task)

    def same(self, other: "Plan") -> bool:
        """Whether the other one asks the same of every episode."""
        return all(np.array_equal(getattr(self, name), getattr(other, name)) for name in ASKED)


@dataclass(frozen=True)
class Layout:
    """The sizes that every episode of a store shares."""

    horizon: int
    """T, control steps at most"""
    state_size: int
    """S of the widest task"""
    chunk: int
    """C, actions a query"""
    proprio: int = 0
    """P; 0 keeps no proprioception"""
    images: Mapping[str, int] = field(default_factory=dict)
    """camera -> side length of the images to keep"""
    tokens: bool = False
    """keep what the policy sampled, and its log-probs"""
    label: bool = False
    """keep the action before noise (demonstrations)"""

    @property
    def queries(self) -> int:
        """Q, policy queries at most."""
        return -(-self.horizon // self.chunk)

    def arrays(self) -> dict[str, tuple[tuple[int, ...], str]]:
        """Name -> (shape without N, dtype) of every array that holds one chunk an episode."""
        T, Q, K = self.horizon, self.queries, self.chunk * 7
        shapes: dict[str, tuple[tuple[int, ...], str]] = {
            "step/state": ((T + 1, self.state_size), "float64"),
            "step/action": ((T, 7), "float32"),
        }
        if self.label:
            shapes["step/label"] = ((T, 7), "float32")
        for camera, size in self.images.items():
            shapes[f"query/image/{camera}"] = ((Q, size, size, 3), "uint8")
        if self.proprio:
            shapes["query/proprio"] = ((Q, self.proprio), "float32")
        if self.tokens:
            shapes |= {"query/tokens": ((Q, K), "int16"), "query/logprob": ((Q, K), "float32")}
        return shapes


@dataclass
class Episode:
    """One finished episode of t control steps and q queries; arrays as in the store, without padding."""

    success: bool
    state: np.ndarray
    action: np.ndarray
    images: dict[str, np.ndarray] = field(default_factory=dict)
    proprio: np.ndarray | None = None
    tokens: np.ndarray | None = None
    logprob: np.ndarray | None = None
    label: np.ndarray | None = None

    @property
    def steps(self) -> int:
        """t, control steps taken."""
        return len(self.action)

    def arrays(self) -> dict[str, np.ndarray]:
        """The arrays by their names in the store."""
        named = {"step/state": self.state, "step/action": self.action, "step/label": self.label}
        named |= {"query/proprio": self.proprio, "query/tokens": self.tokens, "query/logprob": self.logprob}
        named |= {f"query/image/{camera}": images for camera, images in self.images.items()}
        return {name: values for name, values in named.items() if values is not None}


class RolloutStore:
    """A batch of rollouts on disk, at a path or URL (fsspec), or packed in a `.zip`."""

    def __init__(self, root: zarr.Group, path: str, writable: bool) -> None:
        self.group, self.path = root, plain(path)
        self.attrs: dict[str, Any] = dict(root.attrs)
        self._arrays: dict[str, Any] = {}
        self.plan = Plan(*(self._array(f"episode/{name}")[:] for name in ASKED))

    @classmethod
    def create(cls, path: str | Path, attrs: Mapping[str, Any], plan: Plan, layout: Layout) -> "RolloutStore":
        """Make an empty store with a slot for every episode of `plan`, or help another process to finish the same.

        Raises:
            UserError: the place cannot be written, or holds something else.
        """
        attrs = {**attrs, "horizon": layout.horizon, "chunk": layout.chunk, "schema": SCHEMA}
        files = in_memory(lambda root: _fill_empty(root, attrs, plan, layout))
        make(path, files, digest(attrs, layout, *(getattr(plan, name) for name in ASKED)))
        store = cls.open(path, writable=True)
        if not store.plan.same(plan):
            raise UserError(f"{path} exists and holds other episodes; ask the same or choose another store")
        return store

    @classmethod
    def open(cls, path: str | Path, writable: bool = False) -> "RolloutStore":
        """Open an existing store.

        Raises:
            UserError: nothing there, not a rollout store, another schema version, or not writable.
        """
        root = open_root(path, "r+" if writable else "r")
        schema = root.attrs.get("schema")
        if schema is None or "episode/status" not in root:
            raise UserError(f"{path} is not a whole rollout store; make one with `srpo collect`")
        if schema != SCHEMA:
            raise UserError(f"{path} has store schema {schema}, this srpo reads {SCHEMA}; use the srpo that wrote it")
        return cls(root, str(path), writable)

    @staticmethod
    def exists(path: str | Path) -> bool:
        """Whether a whole store is at `path`; a half-made one (killed in `create`) counts as absent."""
        try:
            return open_root(path, "r").attrs.get("schema") is not None
        except UserError:
            return False

    def __len__(self) -> int:
        return len(self.plan)

    @property
    def parts(self) -> list["RolloutStore"]:
        """The stores that it is of: itself (several, in `data.joined`)."""
        return [self]

    def sweep(self, episodes: Collection[int], groups: Sequence[str] = ("episode", "step", "query")) -> None:
        """Remove what a killed writer left half-written of some episodes in `groups`; only for their sole writer."""
        sweep_partial(self.path, groups, episodes)

    def status(self) -> np.ndarray:
        """(N,) uint8: EMPTY, DONE, ERROR, or SKIPPED: in error, and the rest is to do without it."""
        return self._array("episode/status")[:]

    def success(self) -> np.ndarray:
        """(N,) bool; false also where an episode is not done."""
        return self._array("episode/success")[:].astype(bool) & (self.status() == DONE)

    def steps(self) -> np.ndarray:
        """(N,) int32: control steps taken."""
        return self._array("episode/steps")[:]

    def queries(self) -> np.ndarray:
        """(N,) int32: policy queries made."""
        return self._array("episode/queries")[:]

    def done(self) -> np.ndarray:
        """Indices of the episodes that are done."""
        return np.flatnonzero(self.status() == DONE)

    def write(self, index: int, episode: Episode) -> None:
        """Write one episode; it counts once its status, written last, is there.

        Raises:
            ValueError: the episode's arrays do not fit the store, or hold NaN.
        """
        arrays = episode.arrays()
        for name, values in arrays.items():
            if values.dtype.kind == "f" and not np.isfinite(values).all():
                raise ValueError(f"episode {index}: {name} holds NaN or inf")
        for name, values in arrays.items():
            self._write_row(name, index, values)
        chunk = int(self.attrs["chunk"])
        row = {"success": episode.success, "steps": episode.steps, "queries": -(-episode.steps // chunk)}
        for name, value in row.items():
            self._array(f"episode/{name}")[index] = int(value)
        self._array("episode/status")[index] = DONE

    def mark_error(self, index: int, skip: bool = False) -> None:
        """Say that an episode could not be run: the next `collect` tries it again, or, with `skip`, does without it."""
        self._array("episode/status")[index] = SKIPPED if skip else ERROR

    def read(self, index: int, images: bool = True) -> Episode:
        """One finished episode, without padding.

        Raises:
            UserError: no such episode, or it is not done.
        """
        if not 0 <= index < len(self):
            raise UserError(f"{self.path} has episodes 0 to {len(self) - 1}, not {index}")
        if self._array("episode/status")[index] != DONE:
            raise UserError(f"episode {index} of {self.path} is not done; run the same `srpo collect` again")
        t, q = int(self._array("episode/steps")[index]), int(self._array("episode/queries")[index])
        cameras = self.cameras() if images else []
        return Episode(
            success=bool(self._array("episode/success")[index]),
            state=self.states(index),
            action=self._array("step/action")[index, :t],
            images={camera: self._array(f"query/image/{camera}")[index, :q] for camera in cameras},
            proprio=self._optional("query/proprio", index, q),
            tokens=self._optional("query/tokens", index, q),
            logprob=self._optional("query/logprob", index, q),
            label=self._optional("step/label", index, t),
        )

    def states(self, index: int) -> np.ndarray:
        """(t + 1, S) float64: the states of a finished episode alone, without padding."""
        found: np.ndarray = self._array("step/state")[index, : int(self._array("episode/steps")[index]) + 1]
        return found

    def drop_images(self) -> None:
        """Forget what the policy saw; the states remain, and pictures are rendered from them when someone looks."""
        if "query/image" in self.group:
            del self.group["query/image"]
        self._arrays.clear()
        remove_tree(self.path, "query/image")

    def cameras(self) -> list[str]:
        """The cameras whose images are kept."""
        return sorted(self.group["query/image"].array_keys()) if "query/image" in self.group else []  # type: ignore[union-attr]

    def labels(self, stage: str) -> list[str]:
        """The labels that a stage (`encode`, `reward`, `update`) has written whole."""
        names = sorted(self.group[stage].group_keys()) if stage in self.group else []  # type: ignore[union-attr]
        return [name for name in names if self.label_attrs(stage, name)]

    def new_label(self, stage: str, label: str) -> zarr.Group:
        """An empty group for a label, which is not whole before it has attributes; what was there is removed."""
        sweep_partial(self.path, [f"{stage}/{label}"], ())
        return self.group.create_group(f"{stage}/{label}", overwrite=True)

    def shared_label(self, stage: str, label: str, fill: Callable[[zarr.Group], object], request: str) -> zarr.Group:
        """The group of a label that several processes may make and write at once, each its own rows.

        Args:
            fill: fills the group, its attributes last; the same for everyone.
            request: a hash of all that decides what `fill` does.

        Raises:
            UserError: the label was begun for another request, or cannot be written.
        """
        self.group.require_group(stage)
        make(f"{self.path}/{stage}/{label}", in_memory(fill), request)
        group: zarr.Group = self.group[f"{stage}/{label}"]  # type: ignore[assignment]
        return group

    def drop_unfinished(self, stage: str, label: str) -> None:
        """Remove a label that was killed while being made; only for its sole writer."""
        name = f"{stage}/{label}"
        if name in self.group and self.label_attrs(stage, label) is None:
            del self.group[name]
            remove_tree(self.path, name)

    def label_attrs(self, stage: str, label: str) -> dict[str, Any] | None:
        """The attributes of a label; None where it is missing, or has none because it was killed while being made."""
        name = f"{stage}/{label}"
        attrs = dict(self.group[name].attrs) if name in self.group else {}
        return attrs if attrs and REQUEST not in attrs else None

    def _array(self, name: str) -> Any:
        """The array, looked up once; a chunk is written without searching it for anything but zeros first."""
        if name not in self._arrays:
            found: Any = self.group[name]
            self._arrays[name] = found.with_config({"write_empty_chunks": True})
        return self._arrays[name]

    def _optional(self, name: str, index: int, length: int) -> np.ndarray | None:
        return self._array(name)[index, :length] if name in self.group else None

    def _write_row(self, name: str, index: int, values: np.ndarray) -> None:
        array = self._array(name)
        row = np.zeros(array.shape[1:], array.dtype)
        fits = values.ndim == row.ndim and all(v <= r for v, r in zip(values.shape, row.shape, strict=True))
        if not fits or (name != "step/state" and values.shape[1:] != row.shape[1:]):
            raise ValueError(f"episode {index}: {name} is {values.shape}, the store takes at most {row.shape}")
        row[tuple(slice(0, size) for size in values.shape)] = values
        array[index] = row


def _fill_empty(root: zarr.Group, attrs: Mapping[str, Any], plan: Plan, layout: Layout) -> None:
    """Every array of an empty store, and its attributes."""
    n = len(plan)
    for name in ASKED:
        values = np.asarray(getattr(plan, name), np.int64)
        root.create_array(f"episode/{name}", data=values, chunks=(max(n, 1),), compressors=None)
    for name, dtype in HAPPENED.items():
        root.create_array(f"episode/{name}", shape=(n,), chunks=(1,), dtype=dtype, compressors=None, fill_value=0)
    for name, (shape, dtype) in layout.arrays().items():
        codec = IMAGE_CODEC if dtype == "uint8" else CODEC
        root.create_array(name, shape=(n, *shape), chunks=(1, *shape), dtype=dtype, compressors=codec, fill_value=0)
    root.update_attributes(dict(attrs))
