"""Control steps a second with several threads in one process, and with as many processes of one thread."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from stages.bench.child import children
from stages.bench.medians import median
from stages.sim.replay import smooth_actions
from stages.sim.simulator import Simulator
from stages.sim.tasks import Task

ROUNDS = 6


def bench_parallel(task: Task, width: int, steps: int, progress: Callable[[str], None]) -> dict[str, Any]:
    """One thread, `width` threads and `width` processes in turn, six times.

    Args:
        task: what is stepped.
        width: how many threads or processes.
        steps: control steps each of them takes in a round.
        progress: told of every round.

    Returns:
        width; one, threads, processes: control steps a second in all, each a `medians.median`.
    """
    rates: dict[str, list[float]] = {"one": [], "threads": [], "processes": []}
    with children("stages.bench.parallel:Steppers", width) as steppers:
        for stepper in steppers:
            stepper.call("make", task, width, steps)
        for _ in range(ROUNDS):
            rates["one"].append(steps / steppers[0].call("run", 1))
            rates["threads"].append(width * steps / steppers[0].call("run", width))
            for stepper in steppers:
                stepper.begin("run", 1)
            rates["processes"].append(sum(steps / stepper.end() for stepper in steppers))
            progress("threads and processes")
    return {"width": width, **{name: median(values) for name, values in rates.items()}}


class Steppers:
    """Simulators of a task, stepped by a thread each; lives in a `Child`."""

    def make(self, task: Task, count: int, steps: int) -> None:
        """Load them, and settle the initial state that all begin from."""
        self._actions = smooth_actions(0, steps)
        self._simulators = [Simulator(task) for _ in range(count)]
        for simulator in self._simulators:
            simulator.reset(0)
            simulator.step(self._actions[0])

    def run(self, threads: int) -> float:
        """Seconds that `threads` of them take for all their steps, side by side."""
        barrier = threading.Barrier(threads)
        with ThreadPoolExecutor(threads) as executor:
            spans = list(executor.map(self._go, self._simulators[:threads], [barrier] * threads))
        return max(end for _, end in spans) - min(start for start, _ in spans)

    def _go(self, simulator: Simulator, barrier: threading.Barrier) -> tuple[float, float]:
        """When its first step began and its last one ended."""
        simulator.reset(0)
        barrier.wait()
        start = time.perf_counter()
        for action in self._actions:
            simulator.step(action)
        return start, time.perf_counter()
