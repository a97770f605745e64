"""fp32 that is fp32: on a GPU, convolutions round their inputs to TF32 (10 bits) unless told otherwise."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


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
