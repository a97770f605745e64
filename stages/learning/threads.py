"""How many threads torch computes with, for the time of a block."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def torch_threads(count: int | None) -> Iterator[int]:
    """Compute with `count` threads (none: one a CPU core that this process may use), then as before.

    The last bits of a result can depend on it.
    """
    before = torch.get_num_threads()
    wanted = count or len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else count or os.cpu_count() or 1
    torch.set_num_threads(wanted)
    try:
        yield wanted
    finally:
        torch.set_num_threads(before)
