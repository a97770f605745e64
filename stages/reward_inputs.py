"""What the reward stage reads: what happened to the finished episodes of a batch, and their embeddings.

n finished of N episodes, P prefixes, D length of an embedding; paths are of m moments of d numbers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from data.errors import UserError, unknown
from data.joined import join_groups
from data.store import DONE, ERROR, RolloutStore
from stages.progress.settings import RewardSettings


@dataclass(frozen=True)
class Batch:
    """The finished episodes of a store (n of its N) or of several, and their embedding where it is needed."""

    done: np.ndarray
    """(n,) indices in their store"""
    success: np.ndarray
    task: np.ndarray
    group: np.ndarray
    label: str | None
    """the embedding's label"""
    encoder: Mapping[str, Any]
    """the embedding's attributes: world model, weights, frames, size"""
    rows: np.ndarray | None
    """(n, D); of paths (n, m, d)"""
    prefix: np.ndarray | None
    """(n, P, D), where the embedding has prefixes and paths are not what is compared"""
    prefix_step: np.ndarray | None
    """(n, P)"""

    @property
    def inputs(self) -> list[Any]:
        """What rewards follow from."""
        given = [self.done, self.success, self.task, self.group, self.rows]
        return given if self.prefix is None else [*given, self.prefix, self.prefix_step]


def read_batch(store: RolloutStore, settings: RewardSettings, asked: str | None) -> Batch:
    """The finished episodes of a store, with the embedding of the label `asked`, or the only one, where it is needed.

    Raises:
        UserError: episodes that ended in an error, none that is finished, a missing or broken embedding.
    """
    status = store.status()
    broken, done = np.flatnonzero(status == ERROR), np.flatnonzero(status == DONE)
    if len(broken):
        raise UserError(
            f"{_episodes(broken)} of {store.path} ended in an error; run the same `srpo collect` again to retry, "
            "or with --set skip_errors=N to do without up to N"
        )
    if not len(done):
        raise UserError(f"{store.path} has no finished episode to reward; run `srpo collect {store.path}` first")
    label = _choose_embedding(store, asked) if settings.needs_embedding else None
    rows = _embedding_rows(store, label, done, compared_array(settings)) if label else None
    encoder = (store.label_attrs("encode", label) if label else None) or {}
    plan, prefix, steps = store.plan, None, None
    if label and not settings.needs_paths and f"encode/{label}/prefix" in store.group:
        prefix = _embedding_rows(store, label, done, "prefix")
        steps = np.asarray(store.group[f"encode/{label}/prefix_step"][:])[done]  # type: ignore[index]
    return Batch(done, store.success()[done], plan.task[done], plan.group[done], label, encoder, rows, prefix, steps)


def join_batches(stores: Sequence[RolloutStore], parts: Sequence[Batch]) -> Batch:
    """The batches of several stores as one.

    Raises:
        UserError: of another suite or world model than the first.
    """
    first = parts[0]
    for store in stores[1:]:
        _check_comparable(stores[0], first, store)
    return Batch(
        done=np.concatenate([part.done for part in parts]),
        success=np.concatenate([part.success for part in parts]),
        task=np.concatenate([part.task for part in parts]),
        group=join_groups([part.group for part in parts]),
        label=first.label,
        encoder=first.encoder,
        **{name: _stacked([getattr(part, name) for part in parts]) for name in ("rows", "prefix", "prefix_step")},
    )


def _stacked(parts: Sequence[np.ndarray | None]) -> np.ndarray | None:
    return None if parts[0] is None else np.concatenate([part for part in parts if part is not None])


def _choose_embedding(store: RolloutStore, asked: str | None) -> str:
    whole = store.labels("encode")
    if not whole:
        raise UserError(f"{store.path} has no embedding; run `srpo encode {store.path}` first, or use --preset binary")
    if asked is None and len(whole) > 1:
        raise UserError(f"{store.path} has several embeddings; choose one with --embedding: {', '.join(whole)}")
    if asked is not None and asked not in whole:
        raise unknown(f"embedding of {store.path}", asked, whole)
    return asked or whole[0]


def compared_array(settings: RewardSettings) -> str:
    """What of an encoding is compared."""
    return "moments" if settings.needs_paths else "embedding"


def _embedding_rows(store: RolloutStore, label: str, done: np.ndarray, array: str) -> np.ndarray:
    """(n, D) or (n, m, d)."""
    if f"encode/{label}/{array}" not in store.group:
        raise UserError(
            f"embedding '{label}' of {store.path} has no {array}, which distance=dtw compares; encode with"
            " --set moments=16"
        )
    rows = np.asarray(store.group[f"encode/{label}/{array}"][:])[done]  # type: ignore[index]
    flat = rows.reshape(len(rows), -1)
    missing = done[~np.isfinite(flat).all(axis=1)]
    if len(missing):
        raise UserError(
            f"no finite embedding '{label}' of {_episodes(missing)} of {store.path}; run the `srpo encode` that made"
            f" '{label}' again"
        )
    zero = done[~flat.any(axis=1)]
    if len(zero):
        raise UserError(
            f"embedding '{label}' of {_episodes(zero)} of {store.path} is all zeros, which a failed encoder leaves;"
            " encode with --label under another name"
        )
    return rows


def remembered_successes(
    store: RolloutStore, batch: Batch, settings: RewardSettings, earlier: Sequence[str | Path]
) -> dict[int, np.ndarray]:
    """Task -> (R, D) successes of the last earlier store that has any, for tasks without a success in the batch."""
    if settings.all_fail != "remembered" or batch.label is None:
        return {}
    wanted = set(np.unique(batch.task).tolist()) - set(np.unique(batch.task[batch.success]).tolist())
    found: dict[int, np.ndarray] = {}
    for path in reversed(earlier):
        if wanted == found.keys():
            break
        one = RolloutStore.open(path)
        _check_comparable(store, batch, one)
        won = np.flatnonzero(one.success())
        for task in sorted(wanted - found.keys()):
            members = won[one.plan.task[won] == task]
            if len(members):
                found[task] = _embedding_rows(one, batch.label, members, compared_array(settings))
    return found


def _check_comparable(store: RolloutStore, batch: Batch, earlier: RolloutStore) -> None:
    if earlier.attrs["suite"] != store.attrs["suite"]:
        raise UserError(
            f"{earlier.path} is of suite {earlier.attrs['suite']}, {store.path} of {store.attrs['suite']}; give"
            " --earlier stores of the same run"
        )
    encoder = earlier.label_attrs("encode", batch.label) if batch.label else {}
    if encoder != batch.encoder:
        what = "lacks embedding" if encoder is None else "was encoded with other settings under"
        raise UserError(f"{earlier.path} {what} '{batch.label}'; encode it as {store.path} was")


def _episodes(indices: np.ndarray) -> str:
    shown = ", ".join(str(i) for i in indices[:3])
    more = f" (and {len(indices) - 3} more)" if len(indices) > 3 else ""
    return f"episode{'s' if len(indices) > 1 else ''} {shown}{more}"
