"""Rendering and encoding at once: frames are drawn in one thread while others encode the episodes before.

On a CPU an episode is encoded alone, by one torch thread, several at a time: the bits of a row depend neither on the
number of threads nor on which episodes are encoded with it. On a GPU clips go in batches sized to its memory, always
full (the last episode fills the last one), since the size of a batch may change the last bits there. An image encoder
takes the different frames of an episode at once, each once.

Legend: n different frames of an episode, F frames a clip, D length of the embedding, K prefixes, m moments of d
numbers.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch

from data.cores import cores
from stages.clips import Clips
from stages.world_models.base import EncoderSpec, ImageEncoder, WorldModel, frame_indices

MAX_THREADS = 8
MAX_BATCH = 32
SHARE = 0.7
"""of a GPU's free memory that a batch may take"""

Rows = dict[str, np.ndarray]
"""What an episode comes to: array name -> its row."""


@dataclass(frozen=True)
class Wanted:
    """What is computed of an episode beside its embedding; see the settings of the same names in `stages.encode`."""

    prefixes: int = 0
    moments: int = 0

    def rows(self, spec: EncoderSpec) -> dict[str, tuple[int, ...]]:
        """The arrays and the shape of an episode's row in each."""
        shapes: dict[str, tuple[int, ...]] = {"embedding": (spec.dim,)}
        if self.prefixes:
            shapes |= {"prefix": (self.prefixes, spec.dim), "prefix_step": (self.prefixes,)}
        if self.moments:
            shapes["moments"] = (self.moments // spec.tubelet, spec.moment_dim or spec.dim)
        return shapes


@dataclass(frozen=True)
class Seen:
    """The frames of an episode that its rows are computed from."""

    frames: np.ndarray
    """(n, S, S, 3), each different one once"""
    clip: np.ndarray
    """(F,) which of them are the clip"""
    dense: np.ndarray
    """(2 K,) which of them prefixes are taken from: every second one ends a prefix"""
    steps: np.ndarray
    """(2 K,) their control steps"""
    path: np.ndarray
    """(moments,) which of them are the path"""

    @property
    def ends(self) -> range:
        """Where in `dense` prefixes end."""
        return range(1, len(self.dense), 2)


def encode_episodes(
    model: WorldModel, clips: Clips, wanted: Wanted, episodes: Sequence[int]
) -> Iterator[tuple[int, Rows]]:
    """(index, rows) of every episode, in order."""
    batch, threads = batch_size(model), 1 if model.device != "cpu" else min(cores(), MAX_THREADS)
    waiting: deque[tuple[Sequence[int], Future[list[Rows]]]] = deque()
    before = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            for start in range(0, len(episodes), batch):
                some = episodes[start : start + batch]
                seen = [_look(clips, index, model.spec, wanted) for index in some]
                waiting.append((some, pool.submit(_encode, model, seen, wanted, batch)))
                if len(waiting) > threads:
                    yield from _finished(*waiting.popleft())
            while waiting:
                yield from _finished(*waiting.popleft())
    finally:
        torch.set_num_threads(before)


def batch_size(model: WorldModel) -> int:
    """How many clips fit a GPU at once, by the memory that one takes; 1 on a CPU, and for an image encoder."""
    if model.device == "cpu" or isinstance(model, ImageEncoder):
        return 1
    device = torch.device(model.device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    model.encode(np.zeros((1, model.spec.frames, model.spec.size, model.spec.size, 3), np.uint8))
    one = max(torch.cuda.max_memory_allocated(device) - before, 1)
    free, _ = torch.cuda.mem_get_info(device)
    return max(1, min(MAX_BATCH, int(SHARE * free / one)))


def _look(clips: Clips, index: int, spec: EncoderSpec, wanted: Wanted) -> Seen:
    length = clips.moments(index)
    counts = [spec.frames, 2 * wanted.prefixes, wanted.moments]
    chosen = [frame_indices(length, count) if count else np.zeros(0, np.int64) for count in counts]
    moments, which = np.unique(np.concatenate(chosen), return_inverse=True)
    clip, dense, path = np.split(which, np.cumsum(counts)[:-1])
    return Seen(clips.frames(index, moments), clip, dense, clips.step(chosen[1]), path)


def _encode(model: WorldModel, seen: Sequence[Seen], wanted: Wanted, batch: int) -> list[Rows]:
    if isinstance(model, ImageEncoder):
        return [_of_images(model, one, wanted) for one in seen]
    padded = [*seen, *[seen[-1]] * (batch - len(seen))]
    embeddings = model.encode(np.stack([one.frames[one.clip] for one in padded]))
    return [_of_clips(model, one, wanted, embedding) for one, embedding in zip(seen, embeddings, strict=False)]


def _of_images(model: ImageEncoder, seen: Seen, wanted: Wanted) -> Rows:
    """As `_of_clips` does with `encode`, `prefixes` and `moments`, from features computed once."""
    features = model.features(seen.frames)
    rows = {"embedding": model.pool(features[seen.clip])}
    if wanted.prefixes:
        rows |= {"prefix": model.pooled_prefixes(features[seen.dense], seen.ends), "prefix_step": seen.steps[1::2]}
    if wanted.moments:
        rows["moments"] = model.sketch(features[seen.path])
    return rows


def _of_clips(model: WorldModel, seen: Seen, wanted: Wanted, embedding: np.ndarray) -> Rows:
    rows = {"embedding": embedding}
    if wanted.prefixes:
        rows |= {"prefix": model.prefixes(seen.frames[seen.dense], seen.ends), "prefix_step": seen.steps[1::2]}
    if wanted.moments:
        rows["moments"] = model.moments(seen.frames[seen.path])
    return rows


def _finished(some: Sequence[int], future: Future[list[Rows]]) -> Iterator[tuple[int, Rows]]:
    yield from zip(some, future.result(), strict=True)
