"""What a worker holds in memory, with one task loaded and with several."""

from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from stages.bench.measure import resident
from stages.bench.stub import STARTUP, Stub, request
from stages.sim.tasks import Task
from stages.sim.workers.filling import fill
from stages.sim.workers.pool import Pool


def bench_memory(tasks: Sequence[Task], look: str, progress: Callable[[str], None]) -> list[dict[str, Any]]:
    """One worker's resident memory after a short episode of the first task, and after one of each.

    Returns:
        Rows of tasks (how many) and resident_mb.
    """
    rows = []
    with TemporaryDirectory(prefix="srpo-bench-") as folder, Pool(1) as pool:
        for count in sorted({1, len(tasks)}):
            asked = request(tasks[:count], count, STARTUP, look)
            fill(Path(folder) / f"{count}.zarr", asked, Stub(STARTUP, count), pool)
            rows.append({"tasks": count, "resident_mb": resident(pool.pids()[0])})
        progress(f"memory of a worker, {look}")
    return rows
