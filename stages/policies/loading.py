"""Policies by their folder or Hub id: loaded, saved, outlined, and told apart by a digest of their weights."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from data.errors import UserError
from data.lineage import digest_files
from stages.policies.adapted import Base, adapters_digest, base_of
from stages.policies.adapters import need_peft, save_adapters, take_adapters
from stages.policies.base import Policy
from stages.policies.config import read_config
from stages.policies.registry import policy_class
from stages.policies.source import DECIDING, policy_files, policy_folder


def load_policy(path: str | Path, device: str | torch.device = "cpu") -> Policy:
    """The policy saved in the folder `path`, or in the repository of that name on the Hub (`owner/name[@revision]`).

    Args:
        device: `auto` is where it acts fastest: a large policy on the GPU, if there is one.

    Raises:
        UserError: no such folder, no or a broken `config.json`, a model type that nobody brings or that cannot be
            imported (see `registry.load_foreign`), missing weights; adapters whose policy is missing or has changed.
    """
    folder = policy_folder(path)
    config = read_config(folder)
    found = _class_of(folder, config)
    device = torch.device(found.acting_device() if device == "auto" else device)
    base = base_of(folder, config)
    return found.load(folder, device) if base is None else _load_adapted(folder, base, device)


def save_policy(policy: Policy, folder: Path) -> None:
    """Write what `load_policy` reads into the existing `folder`: the whole policy, or its adapters alone."""
    if policy.adapters is None:
        policy.save(folder)
    else:
        save_adapters(policy, folder)


def outline_policy(path: str | Path) -> Policy:
    """As `load_policy`, without memory for its weights (see `Policy.outline`)."""
    folder = policy_folder(path)
    config = read_config(folder)
    base = base_of(folder, config)
    if base is None:
        return _class_of(folder, config).outline(folder)
    need_peft()
    policy = outline_policy(base.policy)
    take_adapters(policy, folder, base)
    return policy


def identity(folder: str | Path) -> dict[str, str]:
    """What a store records of the policy that filled it: id (its model type) and weights (their digest).

    Raises:
        UserError: the folder holds no policy.
    """
    folder = policy_folder(folder)
    return {"id": str(read_config(folder)["model_type"]), "weights": weights_digest(folder)}


def weights_digest(folder: str | Path) -> str:
    """What a policy is, as 16 hex digits: its configuration, statistics and weights (`source.DECIDING`), byte for byte;
    of adapters, see `stages.policies.adapted.adapters_digest`.

    Raises:
        UserError: the folder holds no policy.
    """
    folder = policy_folder(folder)
    base = base_of(folder, read_config(folder))
    if base is not None:
        return adapters_digest(base, folder)
    files = policy_files(folder, DECIDING)
    if not any(file.suffix == ".safetensors" for file in files):
        raise UserError(f"{folder} holds no *.safetensors, so the policy has no weights; make it again with `srpo sft`")
    return digest_files(files)


def _class_of(folder: Path, config: Mapping[str, Any]) -> type[Policy]:
    kind = str(config.get("model_type", ""))
    return policy_class(kind, f"{folder}/config.json", Policy)  # type: ignore[type-abstract]


def _load_adapted(folder: Path, base: Base, device: torch.device) -> Policy:
    """The policy whose adapters `folder` holds, with them.

    Raises:
        UserError: it is missing, or no longer what the adapters were trained on; see `take_adapters`.
    """
    need_peft()
    told = f"{folder} holds adapters of {base.policy} ({base.weights}), which is"
    try:
        whole = policy_folder(base.policy)
        weights = weights_digest(whole)
    except UserError as error:
        raise UserError(f"{told} missing ({error}); put it back") from error
    if weights != base.weights:
        raise UserError(f"{told} {weights} now; put the one they were trained on back")
    policy = load_policy(whole, device)
    take_adapters(policy, folder, base)
    return policy
