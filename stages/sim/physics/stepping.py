"""One control step in one compiled call: 25 substeps of MuJoCo with the controller between their two halves.

MuJoCo's own `mj_step1` and `mj_step2` are called through their C addresses, so that no Python runs between substeps and
other threads go on meanwhile (the GIL is released). A fatal MuJoCo error inside ends the process, as it does in C.
"""

import ctypes
from functools import cache
from pathlib import Path
from typing import Any

import mujoco
import numpy as np

from stages.sim.physics.controller import Arm, substep

import numba  # isort: skip  (after controller, which chooses numba's cache folder)
from llvmlite import ir  # isort: skip
from numba.core import types  # isort: skip
from numba.extending import intrinsic  # isort: skip

SUBSTEPS = 25


@cache
def halves() -> tuple[int, int]:
    """Addresses of `mj_step1` and `mj_step2` in the library that the mujoco package has loaded.

    Raises:
        RuntimeError: the package holds no such library.
    """
    folder = Path(mujoco.__file__).parent
    paths = sorted(p for p in folder.glob("libmujoco*") if p.suffix != ".a")
    if not paths:
        raise RuntimeError(f"no libmujoco in {folder}")
    library = ctypes.CDLL(str(paths[0]))
    first, second = (ctypes.cast(f, ctypes.c_void_p).value for f in (library.mj_step1, library.mj_step2))
    assert first and second
    return first, second


def _typed_call(typing: Any, function: Any, model: Any, data: Any) -> Any:
    """Call the C function at an address with two pointers, all three given as integers."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointer = ir.IntType(8).as_pointer()
        kind = ir.FunctionType(ir.VoidType(), [pointer, pointer]).as_pointer()
        address, *rest = arguments
        builder.call(builder.inttoptr(address, kind), [builder.inttoptr(value, pointer) for value in rest])
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), generate


_call: Any = intrinsic(_typed_call)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def control_step(
    step1: int,
    step2: int,
    model: int,
    data: int,
    state: np.ndarray,
    reset: np.ndarray,
    action: np.ndarray,
    arm: Arm,
) -> None:
    """Take one control step of 50 ms.

    Args:
        step1, step2: what `halves` gives.
        model, data: addresses of the mjModel and mjData.
        state, reset, action, arm: as `controller.substep`; `arm` views `data`.
    """
    for i in range(SUBSTEPS):
        _call(step1, model, data)
        substep(state, reset, action, i == 0, arm)
        _call(step2, model, data)
