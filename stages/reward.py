"""Stage 3: a reward for every finished episode, by how near it came to the successes of its batch.

Reads `encode/LABEL/embedding` and what happened to the episodes; writes, under a label,

    reward/LABEL/reward        (N,) float64  1 for a success, in (0, alpha) for a failure; NaN where not finished
    reward/LABEL/distance      (N,) float64  to the nearest centre; NaN where there is none
    reward/LABEL/reference     (N,) int64    that centre's row in `centres`; -1 where there is none
    reward/LABEL/is_reference  (N,) bool     a success that counts towards a centre
    reward/LABEL/centres       (K, D) float32 (of paths (K, m, d)), centre_task (K,) int64
    reward/LABEL/curve         (N, P) float64  where the embedding has P prefixes: the progress at each, in (0, 1)
    reward/LABEL/curve_step    (N, P) int64    the control steps at which they end

attrs: every setting, the embedding's label, the hash of all inputs and a summary of each task; written last, so that a
group without them is unfinished. Several stores are rewarded as one batch, each keeps its own episodes' share. The same
works on anyone's arrays, from an `.npz` file to another.

N episodes, K centres, D length of the embedding.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from data.errors import UserError, unknown
from data.joined import join_groups, names, open_rollouts
from data.labels import choose_label
from data.lineage import digest
from data.store import DONE, ERROR, RolloutStore
from stages.progress.curves import progress_curves
from stages.progress.npz import read_arrays, write_arrays
from stages.progress.rewards import RewardResult, compute_rewards
from stages.progress.settings import RewardSettings, nearest_preset


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


def reward_store(
    path: str | Path,
    settings: RewardSettings,
    embedding_label: str | None = None,
    label: str | None = None,
    earlier: Sequence[str | Path] = (),
    more: Sequence[str | Path] = (),
) -> dict[str, Any]:
    """Reward the finished episodes of a store; a second call with the same settings and inputs writes nothing.

    Args:
        embedding_label: what `encode` wrote; may be left out where there is only one.
        label: where to write; by default the preset's name, or PRESET-xxxxxx for other settings or another embedding.
        earlier: stores of the same run, oldest first. A task without a success in this batch is measured
            against the successes of the last of them that has any (all_fail=remembered).
        more: further stores of the same batch: the successes of all are the references of all.

    Returns:
        label, up_to_date, episodes, successes, failures, embedding, settings, inputs (hash) and tasks (one summary
        each), over all stores; stores (their names) if there are several.

    Raises:
        UserError: stores that are no batch (`open_rollouts`), no finished episode, one that ended in an error, a
            missing or broken embedding, a label that holds other settings, earlier stores of another suite or world
            model.
    """
    stores = open_rollouts([path, *more]).parts
    parts = [_read_batch(stores[0], settings, embedding_label)]
    parts += [_read_batch(store, settings, parts[0].label) for store in stores[1:]]
    batch = _join(stores, parts)
    remembered = _remembered(stores[0], batch, settings, earlier)
    asked = {"settings": asdict(settings), "embedding": batch.label}
    inputs = digest(*batch.inputs, [*sorted(remembered.items())])
    written = choose_label(stores[0], "reward", label, _default_label(settings), asked)
    for store in stores[1:]:
        choose_label(store, "reward", written, written, asked)
    present = [store.label_attrs("reward", written) or {} for store in stores]
    up_to_date = all(attrs.get("inputs") == inputs for attrs in present)
    attrs = present[0]
    if not up_to_date:
        result = compute_rewards(batch.rows, batch.success, batch.task, batch.group, settings, remembered)
        attrs = {**asked, "inputs": inputs, **_totals(batch.success), "tasks": _summaries(stores, result)}
        attrs |= {"stores": names([path, *more])} if more else {}
        columns = _columns(result) | _curves(batch, result, settings)
        for store, part, share in zip(stores, parts, _shares(parts, columns), strict=True):
            _write(RolloutStore.open(store.path, writable=True), written, part.done, share, attrs)
    return {"label": written, "up_to_date": up_to_date, **attrs}


def reward_file(path: str | Path, out: str | Path | None, settings: RewardSettings) -> dict[str, Any]:
    """Reward anyone's arrays: `embedding` (N, D), `success` (N,), `task` (N,), optionally `group` (N,), in an `.npz`.

    With a distance of paths, `moments` (N, m, d) in place of `embedding`.

    Writes reward, distance, reference, is_reference (N,), centres (K, D), centre_task (K,), the settings as JSON and
    the hash of the inputs; by default beside the input, as FILE-LABEL.npz. What an earlier call wrote there is
    replaced, anything else is not.

    Returns:
        as `reward_store`, with `out` in place of the label.

    Raises:
        UserError: a file that is missing, truncated or no `.npz`, lacks an array, or holds bad rows (named).
    """
    rows = _array(settings)
    needed = (rows, "success", "task") if settings.needs_embedding else ("success", "task")
    arrays = read_arrays(Path(path), needed, ("group",))
    result = compute_rewards(arrays.get(rows), arrays["success"], arrays["task"], arrays.get("group"), settings)
    inputs = digest(*(arrays[name] for name in sorted(arrays)))
    target = Path(out) if out else Path(path).with_name(f"{Path(path).stem}-{_default_label(settings)}.npz")
    lineage = {"settings": np.array(json.dumps(asdict(settings))), "inputs": np.array(inputs)}
    up_to_date = write_arrays(target, _columns(result) | lineage)
    return {
        "out": str(target),
        "up_to_date": up_to_date,
        "settings": asdict(settings),
        "inputs": inputs,
        **_totals(arrays["success"]),
        "tasks": [asdict(task) for task in result.tasks],
    }


def _read_batch(store: RolloutStore, settings: RewardSettings, asked: str | None) -> Batch:
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
    rows = _embedding_rows(store, label, done, _array(settings)) if label else None
    encoder = (store.label_attrs("encode", label) if label else None) or {}
    plan, prefix, steps = store.plan, None, None
    if label and not settings.needs_paths and f"encode/{label}/prefix" in store.group:
        prefix = _embedding_rows(store, label, done, "prefix")
        steps = np.asarray(store.group[f"encode/{label}/prefix_step"][:])[done]  # type: ignore[index]
    return Batch(done, store.success()[done], plan.task[done], plan.group[done], label, encoder, rows, prefix, steps)


def _join(stores: Sequence[RolloutStore], parts: Sequence[Batch]) -> Batch:
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


def _shares(parts: Sequence[Batch], columns: Mapping[str, np.ndarray]) -> list[dict[str, np.ndarray]]:
    """Each store's columns: its own episodes' rows, and the centres of all."""
    ends = np.cumsum([len(part.done) for part in parts])
    return [
        {name: v if name.startswith("centre") else v[end - len(part.done) : end] for name, v in columns.items()}
        for part, end in zip(parts, ends, strict=True)
    ]


def _choose_embedding(store: RolloutStore, asked: str | None) -> str:
    whole = store.labels("encode")
    if not whole:
        raise UserError(f"{store.path} has no embedding; run `srpo encode {store.path}` first, or use --preset binary")
    if asked is None and len(whole) > 1:
        raise UserError(f"{store.path} has several embeddings; choose one with --embedding: {', '.join(whole)}")
    if asked is not None and asked not in whole:
        raise unknown(f"embedding of {store.path}", asked, whole)
    return asked or whole[0]


def _array(settings: RewardSettings) -> str:
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


def _remembered(
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
                found[task] = _embedding_rows(one, batch.label, members, _array(settings))
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


def _default_label(settings: RewardSettings) -> str:
    """The preset's name, or PRESET-<6 hex digits> for settings that differ from it."""
    name, exact = nearest_preset(settings)
    return name if exact else f"{name}-{digest(settings)[:6]}"


def _write(
    store: RolloutStore, label: str, done: np.ndarray, columns: Mapping[str, np.ndarray], attrs: Mapping[str, Any]
) -> None:
    """Write a label's group; its attributes go first and come last, so that a kill in between leaves it unfinished."""
    name = f"reward/{label}"
    if name in store.group:
        store.group[name].attrs.put({})
    group = store.new_label("reward", label)
    for key, values in columns.items():
        if key.startswith("centre"):
            full = values
        else:
            full = np.full((len(store), *values.shape[1:]), _missing(values.dtype), values.dtype)
            full[done] = values
        if full.size:
            group.create_array(key, data=full, chunks=full.shape, compressors=None)
    group.update_attributes(dict(attrs))


def _columns(result: RewardResult) -> dict[str, np.ndarray]:
    return {
        "reward": result.reward,
        "distance": result.distance,
        "reference": result.reference,
        "is_reference": result.is_reference,
        "centres": result.centres.astype(np.float32),
        "centre_task": result.centre_task,
    }


def _curves(batch: Batch, result: RewardResult, settings: RewardSettings) -> dict[str, np.ndarray]:
    if batch.prefix is None or batch.prefix_step is None:
        return {}
    curve = progress_curves(batch.prefix, batch.task, result.centres, result.centre_task, settings)
    return {"curve": curve, "curve_step": batch.prefix_step}


def _missing(dtype: np.dtype[Any]) -> float | int | bool:
    """What stands for an episode that is not finished."""
    return {"f": np.nan, "i": -1, "b": False}[dtype.kind]


def _summaries(stores: Sequence[RolloutStore], result: RewardResult) -> list[dict[str, Any]]:
    known = {task["index"]: task["name"] for store in stores for task in store.attrs["tasks"]}
    return [{**asdict(task), "name": known.get(task.task, str(task.task))} for task in result.tasks]


def _totals(success: np.ndarray) -> dict[str, int]:
    won = int(np.count_nonzero(success))
    return {"episodes": len(success), "successes": won, "failures": len(success) - won}


def _episodes(indices: np.ndarray) -> str:
    shown = ", ".join(str(i) for i in indices[:3])
    more = f" (and {len(indices) - 3} more)" if len(indices) > 3 else ""
    return f"episode{'s' if len(indices) > 1 else ''} {shown}{more}"
