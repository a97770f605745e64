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
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from data.joined import names, open_rollouts
from data.labels import choose_label
from data.lineage import digest
from data.store import RolloutStore
from stages.progress.curves import progress_curves
from stages.progress.npz import read_arrays, write_arrays
from stages.progress.rewards import RewardResult, compute_rewards
from stages.progress.settings import RewardSettings, nearest_preset
from stages.reward_inputs import Batch, compared_array, join_batches, read_batch, remembered_successes


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
    parts = [read_batch(stores[0], settings, embedding_label)]
    parts += [read_batch(store, settings, parts[0].label) for store in stores[1:]]
    batch = join_batches(stores, parts)
    remembered = remembered_successes(stores[0], batch, settings, earlier)
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
    rows = compared_array(settings)
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


def _shares(parts: Sequence[Batch], columns: Mapping[str, np.ndarray]) -> list[dict[str, np.ndarray]]:
    """Each store's columns: its own episodes' rows, and the centres of all."""
    ends = np.cumsum([len(part.done) for part in parts])
    return [
        {name: v if name.startswith("centre") else v[end - len(part.done) : end] for name, v in columns.items()}
        for part, end in zip(parts, ends, strict=True)
    ]


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
