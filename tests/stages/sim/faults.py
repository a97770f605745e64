"""Breaks the simulator of a worker at one step of one episode; installed before the worker begins (`test_losses`).

The folder named by TEST_FAULTS holds one file for each time that it is to happen, called KIND.NUMBER. A file is renamed
when its turn has come and then says which process it was, and when.
"""

import ctypes
import itertools
import os
import time
from pathlib import Path
from typing import Any

import numpy as np

from stages.sim.simulator import Simulator
from tests.stages.sim.pools import answer

EPISODE = 3
WHERE = answer(EPISODE, 1).actions[2]
"""the action that sets it off"""


def make_to_raise() -> None:
    raise OSError("made to raise")


KINDS = {
    "raise": make_to_raise,
    "busy": lambda: sum(itertools.repeat(0)),  # a loop in C that never lets go of the interpreter
    "asleep": lambda: ctypes.PyDLL(None).sleep(1000),
    "loose": lambda: ctypes.CDLL(None).sleep(1000),  # other threads of the worker go on
    "segfault": lambda: ctypes.string_at(0),
    "exit": lambda: os._exit(0),
}


def install() -> None:
    """From now on every simulator of this process breaks when its turn has come."""
    step: Any = Simulator.step

    def faulty_step(self: Simulator, action: np.ndarray) -> bool:
        left = [file for file in Path(os.environ["TEST_FAULTS"]).iterdir() if not file.name.endswith(".done")]
        if left and np.array_equal(action, WHERE):
            done = left[0].with_name(f"{left[0].name}.done")
            left[0].write_text(f"{os.getpid()} {time.monotonic()}")
            left[0].rename(done)
            KINDS[done.name.split(".")[0]]()
        return bool(step(self, action))

    Simulator.step = faulty_step
