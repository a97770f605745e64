"""Stage 4: a better policy from rewarded rollouts.

Reads `reward/LABEL/reward` and what the policy saw and said; writes a policy folder with its optimizer state, and

    update/LABEL  attrs: settings, reward label, health figures, the policy it started from and the one it made

An update whose inputs (rollouts, reward, policy, optimizer state, settings, reference) are those of the label and of
the folder is up to date.
"""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState

from data.checkpoint import holds, read_record, write_checkpoint
from data.errors import UserError
from data.joined import Rollouts, names, open_rollouts
from data.labels import choose_label
from data.lineage import digest, digest_files
from data.settings import content
from data.store import RolloutStore
from data.watching import Tick
from stages.learning.adapting import become, make_trainable
from stages.learning.algorithms import ALGORITHMS
from stages.learning.batch import Batch, Selection, build_batch, rollouts_digest, select
from stages.learning.checkpoints import Checkpoints
from stages.learning.launching import mixed_precision
from stages.learning.optimizer import STATE_FILE
from stages.learning.reference import with_reference
from stages.learning.settings import UpdateSettings
from stages.learning.threads import torch_threads
from stages.learning.trainer import Trainer
from stages.policies.adapted import base_of, write_base
from stages.policies.base import Policy
from stages.policies.config import read_config
from stages.policies.loading import load_policy, weights_digest
from stages.policies.source import policy_folder
from stages.policies.trained import KEY as HISTORY
from stages.policies.trained import extend_history

Fill = Callable[[Path], None]


def update_policy(
    store: str | Path,
    policy_dir: str | Path,
    out: str | Path,
    reward_label: str,
    settings: UpdateSettings | None = None,
    label: str | None = None,
    policy: Policy | None = None,
    threads: int | None = None,
    progress: Tick | None = None,
    reference: str | Path | None = None,
    save_every: int = 0,
    more: Sequence[str | Path] = (),
) -> dict[str, Any]:
    """Train the policy that collected `store` on it, and save it as `out`; a second call with the same inputs does not.

    Called in every process of a group (`stages.learning.processes`), they learn together and the first one writes.

    Args:
        store: rollouts, all done, with a reward.
        policy_dir: folder or Hub id of the policy they were collected with; its optimizer state, if it has one, is
            continued, but not when adapters are new.
        label: where to write in the store; by default the algorithm, or ALGORITHM-xxxxxx when that holds another.
        policy: the policy of `policy_dir`, already loaded; it ends with the weights of `out`.
        threads: torch threads; by default one a core.
        progress: called as `progress(done, total, note)` after every optimizer step.
        reference: folder of the policy that kl_coef keeps the new one near; given if and only if that is above 0.
        save_every: optimizer steps between checkpoints, from which a killed update goes on; 0: it begins again.
        more: further stores of the same batch, collected with the same policy and temperature; the label goes into
            `store` alone, and names them all. (Of another batch with the same settings it is written over.)

    Returns:
        label, algorithm, out, weights (digest of `out`), policy (digest of `policy_dir`), reward, inputs, settings,
        updated (false: no episode taught anything, `out` is a copy), episodes, episodes_kept, groups, groups_kept,
        queries, health (see `Trainer.fit`), up_to_date; samples_per_second unless up to date; stores (their names) if
        there are several.

    Raises:
        UserError: see `open_rollouts`, `select`, `build_batch`, `check_trainable`, `Trainer`; a policy that did not
            collect the store; an `out` that holds another policy; kl_coef without reference or the reverse.
    """
    settings, out = settings or UpdateSettings(), Path(out)
    request = _request([store, *more], policy_dir, reward_label, settings, reference)
    first = request.rollouts.parts[0]
    label = choose_label(first, "update", label, settings.algorithm, request.asked)
    group = PartialState(cpu=not torch.cuda.is_available())
    present = holds(out, request.inputs)
    group.wait_for_everyone()
    speed: dict[str, float] = {}
    if not present:
        checkpoints = Checkpoints(out, request.inputs, save_every)
        with torch_threads(threads):
            learnt = _learn(request, policy, group.device, checkpoints if save_every else None, progress)
        speed = learnt.speed
        if group.is_main_process:
            write_checkpoint(out, learnt.fill, _record(request, learnt))
            checkpoints.remove()
        group.wait_for_everyone()
    elif policy is not None:
        become(policy, out)
    attrs = {key: value for key, value in read_record(out).items() if key != HISTORY}
    attrs |= {"checkpoint": out.name, "weights": weights_digest(out)}
    written = group.is_main_process and _write_label(first, label, attrs)
    return attrs | speed | {"label": label, "out": str(out), "up_to_date": present and not written}


@dataclass(frozen=True)
class _Request:
    """An update before it is made."""

    rollouts: Rollouts
    selection: Selection
    settings: UpdateSettings
    named: str | Path
    """the policy that collected them, as the user calls it"""
    folder: Path
    """where it lies"""
    weights: str
    """their digest"""
    reference: Path | None
    asked: dict[str, Any]
    """what a label is chosen by"""
    inputs: str
    """the digest of everything that decides what the update makes"""


@dataclass(frozen=True)
class _Learnt:
    """What an update came to."""

    fill: Fill
    """writes the new policy into a folder"""
    queries: int
    """learnt from; 0: nothing taught anything"""
    health: dict[str, float]
    speed: dict[str, float]


def _request(
    stores: Sequence[str | Path],
    named: str | Path,
    reward: str,
    settings: UpdateSettings,
    reference: str | Path | None,
) -> _Request:
    folder = policy_folder(named)
    _check_reference(settings, reference)
    rollouts = open_rollouts(stores)
    weights = _check_policy(rollouts, folder)
    selection = select(rollouts, reward, settings, ALGORITHMS[settings.algorithm].rule)
    asked = {"algorithm": settings.algorithm, "reward": reward, "policy": weights, "settings": content(settings)}
    asked |= {"reference": weights_digest(reference)} if reference else {}
    asked |= {"mixed_precision": mixed} if (mixed := mixed_precision()) != "no" else {}
    state = folder / STATE_FILE
    optimizer = digest_files([state]) if state.is_file() else ""
    inputs = digest(asked, rollouts_digest(rollouts, selection), optimizer)
    reference = Path(reference) if reference else None
    return _Request(rollouts, selection, settings, named, folder, weights, reference, asked, inputs)


def _learn(
    request: _Request,
    policy: Policy | None,
    device: torch.device,
    checkpoints: Checkpoints | None,
    progress: Tick | None,
) -> _Learnt:
    """Train `policy`, or the one in the folder, where there is something to learn from."""
    settings, selection = request.settings, request.selection
    if not selection.kept.any():
        return _Learnt(partial(_copy, request.folder), 0, {}, {})
    batch, policy = build_batch(request.rollouts, selection), policy or load_policy(request.folder, device)
    seed = int(digest(settings.seed, request.weights), 16)
    temperature = float(request.rollouts.attrs["temperature"])
    state = None if make_trainable(policy, settings, request.named, request.weights, seed) else request.folder
    if request.reference:
        batch = with_reference(batch, request.reference, policy, temperature, settings)
    batch, judged = _credited(batch, selection, policy, settings, seed)
    trainer = Trainer(policy, settings, state, checkpoints)
    health = trainer.fit(batch, temperature, seed, progress) | judged
    speed = {"samples_per_second": health.pop("samples_per_second")}
    return _Learnt(trainer.saver(), len(batch), health, speed)


def _record(request: _Request, learnt: _Learnt) -> dict[str, Any]:
    """What the new policy's folder keeps of how it was made."""
    selection, stores = request.selection, request.rollouts.parts
    facts = {"kind": "update", "inputs": request.inputs, "updated": learnt.queries > 0, "health": learnt.health}
    facts |= {"stores": names([part.path for part in stores])} if len(stores) > 1 else {}
    counts = {
        "episodes": len(selection.kept),
        "episodes_kept": int(selection.kept.sum()),
        "groups": selection.groups,
        "groups_kept": selection.groups_kept,
        "queries": learnt.queries,
    }
    return request.asked | facts | counts | extend_history(read_record(request.folder), request.rollouts)


def _credited(
    batch: Batch, selection: Selection, policy: Policy, settings: UpdateSettings, seed: int
) -> tuple[Batch, dict[str, float]]:
    """The batch with an advantage for every query, where the algorithm has a way to tell, and its health figures."""
    credit = ALGORITHMS[settings.algorithm].credit
    return credit(batch, selection.reward[batch.episode], policy, settings, seed) if credit else (batch, {})


def _check_reference(settings: UpdateSettings, reference: str | Path | None) -> None:
    if settings.kl_coef and not reference:
        raise UserError("kl_coef above 0 needs a reference policy: give its folder with --reference")
    if reference and not settings.kl_coef:
        raise UserError("a reference policy changes nothing with kl_coef 0; add --set kl_coef=0.01, say")


def _check_policy(store: Rollouts, policy_dir: Path) -> str:
    """The digest of the policy's weights.

    Raises:
        UserError: the store was collected with another policy, or greedily.
    """
    weights = weights_digest(policy_dir)
    collected = dict(store.attrs.get("policy") or {})
    if "weights" not in collected:
        raise UserError(f"{store.path} holds no rollouts of a policy; an update needs a store of `srpo collect`")
    if collected["weights"] != weights:
        raise UserError(
            f"{store.path} was collected with policy {collected.get('id', '')} ({collected['weights']}), "
            f"{policy_dir} is {weights}; give the policy that collected it, or collect again"
        )
    if not store.attrs["temperature"] > 0:
        raise UserError(f"{store.path} was collected greedily; an update needs rollouts with --temperature above 0")
    return weights


def _copy(policy_dir: Path, folder: Path) -> None:
    for file in (file for pattern in ("*.json", "*.pt", "*.safetensors") for file in policy_dir.glob(pattern)):
        shutil.copyfile(file, folder / file.name)
    base = base_of(policy_dir, read_config(policy_dir))
    if base is not None:
        write_base(base, folder)


def _write_label(store: RolloutStore, label: str, attrs: dict[str, Any]) -> bool:
    """Write `update/LABEL` unless it says that already."""
    if store.label_attrs("update", label) == attrs:
        return False
    RolloutStore.open(store.path, writable=True).new_label("update", label).update_attributes(attrs)
    return True
