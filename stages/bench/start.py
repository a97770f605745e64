"""How long starting takes, everything cached: a worker, and a whole `srpo collect` up to its first control step."""

import re
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from data.checkpoint import write_checkpoint
from data.errors import UserError
from stages.bench.measure import timed
from stages.bench.medians import median
from stages.bench.stub import LOOKS, Stub, request
from stages.policies.mini import MiniConfig, MiniPolicy
from stages.sim.tasks import Task
from stages.sim.workers.filling import fill
from stages.sim.workers.pool import Pool

POLL = 0.002
SELF = re.compile(r"^import time:\s*(\d+) \|", re.MULTILINE)
"""A line of `python -X importtime`: microseconds of a module without those it imports."""


def bench_worker_start(task: Task, times: int) -> dict[str, Any]:
    """Seconds from making a pool of one `lite` worker to its first control step in a store, a `medians.median`."""
    with TemporaryDirectory(prefix="srpo-bench-") as folder:
        paths = [Path(folder) / f"{i}.zarr" for i in range(times + 1)]
        return median([timed(_one_step, task, path) for path in paths][1:])


def _one_step(task: Task, path: Path) -> None:
    with Pool(1) as pool:
        fill(path, request([task], 1, 1, "lite"), Stub(1, 1), pool)


def bench_collect_start(
    collect: Sequence[str], task: Task, times: int, progress: Callable[[str], None]
) -> dict[str, Any]:
    """A `srpo collect` of one episode of one control step by a random mini policy, as a process.

    Args:
        collect: the command line up to `collect`, for example (python, -m, srpo_cli, collect).
        task: what it is asked for.
        times: how often it is timed, after a run that fills the caches.
        progress: told of every run.

    Returns:
        first_step_s: until the episode's status is in the store, and whole_s: until the process has ended, each a
        `medians.median`; imports_s: of one more run, what `python -X importtime` counts in the main process.
    """
    with TemporaryDirectory(prefix="srpo-bench-") as name:
        folder = Path(name)
        write_checkpoint(folder / "policy", MiniPolicy(MiniConfig(cameras=dict(LOOKS["lite"]))).save, {"kind": "bench"})
        words = f"--policy policy --suite {task.suite} --tasks {task.index} --samples 1 --horizon 1 --workers 1".split()
        pairs = []
        for i in range(times + 1):
            pairs.append(_run([*collect, f"{i}.zarr", *words], folder, folder / f"{i}.zarr"))
            progress("start of srpo collect")
        counted = subprocess.run(
            [collect[0], "-X", "importtime", *collect[1:], "imports.zarr", *words],
            cwd=folder,
            capture_output=True,
            text=True,
            check=True,
        )
    first, whole = (median([pair[i] for pair in pairs[1:]]) for i in (0, 1))
    imports = sum(int(us) for us in SELF.findall(counted.stderr)) / 1e6
    return {"first_step_s": first, "whole_s": whole, "imports_s": imports}


def _run(command: list[str], folder: Path, store: Path) -> tuple[float, float]:
    """Seconds until the first episode is in the store, and until the command has ended."""
    status = store / "episode" / "status" / "c" / "0"
    start, first = time.perf_counter(), None
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        while process.poll() is None:
            if first is None and status.exists():
                first = time.perf_counter() - start
            time.sleep(POLL)
        whole = time.perf_counter() - start
        told = process.stderr.read() if process.stderr else ""
    if process.returncode:
        raise UserError(f"`{' '.join(command)}` ended with {process.returncode}: {told.strip()[-300:]}")
    return first if first is not None else whole, whole
