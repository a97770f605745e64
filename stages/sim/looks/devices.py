"""Which GPU draws: EGL numbers its devices in its own order, which is neither CUDA's nor heeds CUDA_VISIBLE_DEVICES.

MuJoCo takes an index into EGL's list (`MUJOCO_EGL_DEVICE_ID`), by default the first device that works: on a machine
with several GPUs everybody draws on one. Here each process takes its share of the GPUs that CUDA_VISIBLE_DEVICES names.
NVIDIA's driver tells which CUDA device an EGL device is (EGL_NV_device_cuda,
https://registry.khronos.org/EGL/extensions/NV/EGL_NV_device_cuda.txt): its place among the visible ones, an error for a
hidden one; so UUIDs need no reading here. GPU partitions (MIG) cannot draw and are left to MuJoCo's default.
"""

import ctypes
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

SHARE = "SRPO_WORKER"
"""The number of a worker process, in its environment; its share of the GPUs follows from it."""
EGL_CUDA_DEVICE = 0x323A
CHOICE, VISIBLE = "MUJOCO_EGL_DEVICE_ID", "CUDA_VISIBLE_DEVICES"


@dataclass(frozen=True)
class Device:
    """An EGL device, by its place in EGL's list."""

    cuda: int | None
    """its number as a CUDA device of this process; none: hidden, no NVIDIA GPU, or the driver does not tell"""
    software: bool
    """a rasteriser on the processor"""


def choose_device(devices: Sequence[Device], environment: Mapping[str, str]) -> int | None:
    """The index of the EGL device to draw on; none leaves it to MuJoCo.

    The worker of number w takes GPU w modulo how many there are. A `MUJOCO_EGL_DEVICE_ID` that the user has set wins.
    Where CUDA_VISIBLE_DEVICES hides every GPU, it is the software rasteriser, if EGL lists one.
    """
    if environment.get(CHOICE):
        return None
    share = int(environment.get(SHARE, 0))
    known = {device.cuda: index for index, device in enumerate(devices) if device.cuda is not None}
    gpus = [known[number] for number in sorted(known)]
    visible = visible_gpus(environment)
    if visible is None or 0 < len(gpus) <= len(visible):
        return gpus[share % len(gpus)] if gpus else None
    if not visible:
        return next((index for index, device in enumerate(devices) if device.software), None)
    name = visible[share % len(visible)]
    if not name.isdigit():
        return None
    if known:  # more than are visible: these are the driver's own numbers
        return known.get(int(name))
    same = int(name)
    return same if same < len(devices) and not devices[same].software else None


def visible_gpus(environment: Mapping[str, str]) -> list[str] | None:
    """What CUDA_VISIBLE_DEVICES names, up to the first impossible entry, as CUDA reads it; None where it is not set."""
    if VISIBLE not in environment:
        return None
    names: list[str] = []
    for name in map(str.strip, environment[VISIBLE].split(",")):
        if not (name.isdigit() or name.startswith(("GPU-", "MIG-"))):
            break
        names.append(name)
    return names


@cache
def egl_devices() -> tuple[Device, ...]:
    """EGL's devices, in the order in which MuJoCo counts them.

    Raises:
        Exception: no EGL library (an ImportError, AttributeError, RuntimeError or GLError, as the case may be).
    """
    from mujoco.egl import egl_ext  # first: it chooses PyOpenGL's platform
    from OpenGL.EGL.EXT.device_query import eglQueryDeviceStringEXT

    found = []
    for device in egl_ext.eglQueryDevicesEXT():
        extensions = (eglQueryDeviceStringEXT(device, egl_ext.EGL_EXTENSIONS) or b"").split()
        cuda = _cuda_number(device) if b"EGL_NV_device_cuda" in extensions else None
        found.append(Device(cuda, b"EGL_MESA_device_software" in extensions))
    return tuple(found)


def _cuda_number(device: Any) -> int | None:
    from mujoco.egl import egl_ext

    # PyOpenGL takes the value for a pointer, so the function is called as it is.
    kind = ctypes.CFUNCTYPE(ctypes.c_uint, ctypes.c_void_p, ctypes.c_int, ctypes.POINTER(ctypes.c_ssize_t))
    ask = kind(egl_ext.eglGetProcAddress("eglQueryDeviceAttribEXT"))
    value = ctypes.c_ssize_t(-1)
    told = ask(device, EGL_CUDA_DEVICE, value)
    if not told:
        egl_ext.eglGetError()  # a hidden device; MuJoCo takes an error that waits here for its own
    return value.value if told and value.value >= 0 else None


@contextmanager
def drawing_environment(kind: str) -> Iterator[None]:
    """The environment in which MuJoCo and robosuite open the device chosen for the library `kind` (`gl.gl_kind`).

    CUDA_VISIBLE_DEVICES is hidden meanwhile: robosuite 1.4.0 reads EGL indices from it, breaks on an empty one and on
    UUIDs, and refuses a `MUJOCO_EGL_DEVICE_ID` that does not occur in it. Both are as before afterwards, so that a
    worker started later makes its own choice.
    """
    before = {name: os.environ.get(name) for name in (CHOICE, VISIBLE)}
    chosen = choose_device(egl_devices(), os.environ) if kind == "egl" else None
    os.environ.pop(VISIBLE, None)
    if chosen is not None:
        os.environ[CHOICE] = str(chosen)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
