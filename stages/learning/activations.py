"""What of a forward pass waits for the backward pass: everything, or only what the network's blocks are given.

Blocks are the layers that a large network is a row of (`Policy.blocks`). What lies between their inputs is computed a
second time in the backward pass (gradient checkpointing, arXiv 1604.06174); the inputs themselves can wait in main
memory. Gradients are the same.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.autograd.graph import save_on_cpu
from torch.utils.checkpoint import checkpoint

Activations = Literal["keep", "recompute", "offload"]
Away = Callable[[], AbstractContextManager[Any]]
"""makes a context in which what autograd saves goes elsewhere"""
FRUGAL: tuple[Activations, ...] = ("keep", "recompute", "offload")
"""each takes less memory than the one before"""


@dataclass(frozen=True)
class ActivationSettings:
    """What a training step keeps in memory."""

    activations: Activations = "recompute"
    """keep all of them; recompute those within the network's blocks; offload: recompute, and keep the blocks' inputs in
    main memory"""


@contextmanager
def activations_of(
    module: nn.Module, blocks: Sequence[str], how: Activations, away: Away | None = None
) -> Iterator[None]:
    """Within it the module's training passes keep what `how` says.

    Args:
        blocks: names in `module`.
        away: where inputs of blocks wait with `offload`; none: in main memory, pinned where there is a GPU.
    """
    layers = [module.get_submodule(name) for name in blocks] if how != "keep" else []
    elsewhere = away or partial(save_on_cpu, pin_memory=torch.cuda.is_available())
    for layer in layers:
        layer.forward = partial(_again, layer.forward, elsewhere if how == "offload" else nullcontext)
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward


def _again(forward: Callable[..., Tensor], away: Away, *args: Any, **given: Any) -> Tensor:
    """forward(...), computed once more for the backward pass where gradients are wanted."""
    if not torch.is_grad_enabled():
        return forward(*args, **given)
    with away():
        return checkpoint(forward, *args, use_reentrant=False, preserve_rng_state=False, **given)
