"""How many processor cores this process may use."""

import os


def cores() -> int:
    """Fewer than the machine has where the process is kept to some of them (`taskset`, a batch system's share)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
