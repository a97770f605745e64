"""How much memory a training step takes, found by taking it on tensors that have shapes and no memory.

The step is the trainer's: one more micro-batch of several, forward and backward, gradients clipped, AdamW. What every
operation makes is counted until it is freed, so that activations, checkpointing and temporaries are what they are in
that very network instead of a formula. What libraries take beside (workspaces, fragments) is not in it.

Shapes: B queries a micro-batch.
"""

import copy
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd.graph import saved_tensors_hooks

from stages.learning.activations import Activations, activations_of
from stages.plan.live import LiveBytes, bytes_of
from stages.policies.base import Observation, Policy, token_logprob


@dataclass(frozen=True)
class StepMemory:
    """Bytes at the worst moment of a training step."""

    weights: int
    gradients: int
    optimizer: int
    activations: int
    """all else: activations, temporaries, inputs"""

    @property
    def peak(self) -> int:
        """The sum."""
        return self.weights + self.gradients + self.optimizer + self.activations


def step_memory(
    policy: Policy, queries: int, instructions: Sequence[str], activations: Activations = "recompute"
) -> StepMemory:
    """What a step takes that trains the parameters of `policy.module` that require a gradient.

    Args:
        policy: on the meta device (`Policy.outline`); it is left as it is.
        queries: B.
        instructions: texts that the queries hold in turn.
        activations: what the step keeps; what it offloads is in other memory.
    """
    texts = [instructions[i % len(instructions)] for i in range(queries)]
    seen = _observation(policy, queries)
    with LiveBytes() as preparing:  # not on fake tensors: what a policy keeps for later must not be fake
        inputs = policy.inputs(seen, texts)
    pixels = sum(image.nbytes for image in seen.images.values())
    module = copy.deepcopy(policy.module)
    with FakeTensorMode(allow_non_fake_inputs=True), LiveBytes() as live:
        module.to_empty(device="cpu")
        trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
        optimizer = torch.optim.AdamW(trained, fused=True)
        for parameter in trained:
            parameter.grad = torch.zeros_like(parameter)
        optimizer.step()
        live.peak = live.now + pixels + preparing.peak
        with activations_of(module, policy.blocks(), activations, _away):
            _step(module, optimizer, inputs, policy.spec.tokens)
        weights = bytes_of(module.parameters()) + bytes_of(module.buffers())
        gradients = bytes_of(trained)
        state = bytes_of(value for entry in optimizer.state.values() for value in entry.values())
    return StepMemory(weights, gradients, state, live.peak - weights - gradients - state)


def _step(module: nn.Module, optimizer: torch.optim.Optimizer, inputs: dict[str, Tensor], tokens: int) -> None:
    made = {name: torch.empty_like(value, device="cpu") for name, value in inputs.items()}
    chosen = torch.zeros(len(next(iter(made.values()))), tokens, dtype=torch.int64)
    logprob, _entropy = token_logprob(module(**made), chosen, 1.0)  # whose graph lives as long in the trainer
    logprob.sum().backward()
    nn.utils.clip_grad_norm_(module.parameters(), 1.0)
    optimizer.step()


def _away() -> AbstractContextManager[Any]:
    """As if what autograd saves went to memory that is not counted."""
    return saved_tensors_hooks(lambda x: (x.shape, x.dtype), lambda kept: torch.empty(kept[0], dtype=kept[1]))


def _observation(policy: Policy, queries: int) -> Observation:
    spec = policy.spec
    images = {camera: np.zeros((queries, side, side, 3), np.uint8) for camera, side in spec.cameras.items()}
    return Observation(images, np.zeros((queries, spec.proprio), np.float32))
