"""fp32 that is fp32: on a GPU, convolutions round their inputs to TF32 (10 bits) unless told otherwise."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn


@contextmanager
def full_precision() -> Iterator[None]:
    """No TF32 in convolutions and matrix products of fp32, then as before.

    Rollouts record log-probs that a CPU computed; with TF32 a GPU would not reproduce them to `max_logprob_gap`.
    """
    backends: tuple[Any, ...] = torch.backends.cudnn, torch.backends.cuda.matmul
    before = [backend.allow_tf32 for backend in backends]
    try:
        for backend in backends:
            backend.allow_tf32 = False
        yield
    finally:
        for backend, value in zip(backends, before, strict=True):
            backend.allow_tf32 = value


def logprob_tolerance(module: nn.Module, precision: str = "no") -> float:
    """How far a recomputed log-prob may be from the recorded one: 1e-3 with 32-bit parameters, 0.2 where some have 16
    or products are computed in 16 (`precision`, Accelerate's mixed_precision).

    16-bit products round differently with the size of the batch, and a rollout's batches are not an update's.
    """
    half = precision != "no" or any(parameter.element_size() < 4 for parameter in module.parameters())
    return 0.2 if half else 1e-3
