"""The mean of policies' weights: as good as each of them or better where they scatter around it, as the last ones of a
run do, each with other failures (Polyak and Juditsky 1992; of fine-tuned networks arXiv 2203.05482)."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from data.checkpoint import holds, read_record, write_checkpoint
from data.errors import UserError
from data.lineage import digest
from stages.learning.adapting import become
from stages.policies.adapted import CONFIG, base_of
from stages.policies.base import Policy
from stages.policies.config import read_config
from stages.policies.loading import load_policy, save_policy, weights_digest
from stages.policies.source import policy_folder
from stages.policies.trained import common_history


def average_policies(policies: Sequence[str | Path], out: str | Path) -> dict[str, Any]:
    """Make `out` the policy whose weights, or adapters, are the mean of others'; a second call does nothing.

    The mean is taken in 32 bits. Of adapters it is that of their two factors, each for itself.

    Args:
        policies: folders or Hub ids of one network, all whole or all adapters of the same policy.

    Returns:
        policies (digests), weights (digest of `out`), out, up_to_date.

    Raises:
        UserError: fewer than two policies, one given twice, or of different networks; one that cannot be loaded; an
            `out` that holds something else.
    """
    folders, out = [policy_folder(policy) for policy in policies], Path(out)
    if len(folders) < 2:
        raise UserError("an average needs two policies or more")
    if len({folder.resolve() for folder in folders}) < len(folders):
        raise UserError("an average takes each policy once, and one is given twice")
    for folder in folders[1:]:
        _check_alike(folders[0], folder)
    weights = [weights_digest(folder) for folder in folders]
    inputs = digest("average", weights)
    present = holds(out, inputs)
    if not present:
        record = {"kind": "average", "inputs": inputs, "policies": weights}
        history = common_history([read_record(folder) for folder in folders])
        write_checkpoint(out, partial(save_policy, _mean(folders)), record | history)
    return {"policies": weights, "weights": weights_digest(out), "out": str(out), "up_to_date": present}


def _check_alike(one: Path, other: Path) -> None:
    bases = [base_of(folder, read_config(folder)) for folder in (one, other)]
    alike = bases[0] == bases[1] and (
        read_config(one) == read_config(other)
        if bases[0] is None
        else (one / CONFIG).read_bytes() == (other / CONFIG).read_bytes()
    )
    if not alike:
        raise UserError(f"{one} and {other} are not policies of one network; an average takes those of one run")


def _mean(folders: Sequence[Path]) -> Policy:
    policy = load_policy(folders[0])
    learned = _learned(policy)
    total = {name: value.detach().to(torch.float32, copy=True) for name, value in learned.items()}
    for folder in folders[1:]:
        become(policy, folder)
        for name, value in learned.items():
            total[name] += value.detach()
    with torch.no_grad():
        for name, value in learned.items():
            value.copy_(total[name] / len(folders))
    return policy


def _learned(policy: Policy) -> dict[str, Tensor]:
    """What may differ between the policies, as it lies in this one's memory."""
    if policy.adapters is not None:
        return {name: value for name, value in policy.module.named_parameters() if value.requires_grad}
    return {name: value for name, value in policy.module.state_dict().items() if value.is_floating_point()}
