"""How many threads torch computes with, for the time of a block."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from data.cores import cores
from stages.learning.processes import processes_here


@contextmanager
def torch_threads(count: int | None) -> Iterator[int]:
    """Compute with `count` threads (none: one a CPU core that this process has to itself), then as before.

    The last bits of a result can depend on it.
    """
    before = torch.get_num_threads()
    wanted = count or max(1, cores() // processes_here())
    torch.set_num_threads(wanted)
    try:
        yield wanted
    finally:
        torch.set_num_threads(before)
