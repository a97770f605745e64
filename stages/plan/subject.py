"""The policy that a run is about to train, without memory for its weights, and what of it an update trains."""

from collections.abc import Iterable

import torch
from torch import nn

from data.runs import Run
from stages.learning.adapting import check_trainable
from stages.plan.live import bytes_of
from stages.policies.adapted import Base
from stages.policies.adapters import add_adapters
from stages.policies.base import Policy
from stages.policies.loading import outline_policy
from stages.policies.mini import MiniConfig, MiniPolicy
from stages.recipe import Recipe


def planned_policy(run: Run, recipe: Recipe) -> Policy:
    """The newest policy of the run, else the one it starts from, on the meta device, with the adapters that it trains.

    Raises:
        UserError: see `load_policy` and `check_trainable`.
    """
    made, update = run.policies(), recipe.update
    source = run.policy(made[-1]) if made else recipe.run.policy
    policy = outline_policy(source) if source else _new(recipe)
    check_trainable(policy, update)
    if policy.adapters is None and update.lora_rank is not None:
        add_adapters(policy, Base("", "", ""), update.lora_rank, update.lora_alpha, seed=0)
    return policy


def _new(recipe: Recipe) -> Policy:
    sft = recipe.sft
    policy = MiniPolicy(MiniConfig(cameras=sft.cameras(), chunk=sft.chunk, bins=sft.bins))
    policy.module.to(torch.device("meta"))
    return policy


def count(module: nn.Module, trained: bool = False) -> int:
    """Parameters, or those that an update trains."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad or not trained)


def gathered_bytes(policy: Policy) -> int:
    """What every device of a group holds whole (FSDP): weights of all that is in no block and of the two largest
    blocks, since one is gathered while another computes; and the gradients of the former and of one block, before they
    are shared out."""
    blocks = [list(policy.module.get_submodule(name).parameters()) for name in policy.blocks()]
    within = {id(parameter) for block in blocks for parameter in block}
    outside = [parameter for parameter in policy.module.parameters() if id(parameter) not in within]
    largest = sorted(map(bytes_of, blocks))[-2:]
    gradients = max((_trained_bytes(block) for block in blocks), default=0) + _trained_bytes(outside)
    return bytes_of(outside) + sum(largest) + gradients


def _trained_bytes(parameters: Iterable[nn.Parameter]) -> int:
    return bytes_of(parameter for parameter in parameters if parameter.requires_grad)
