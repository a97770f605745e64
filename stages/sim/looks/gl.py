"""The process's offscreen OpenGL context: `MUJOCO_GL` (egl, osmesa), EGL when unset; on which GPU, see devices.py.

A context is made in the process that draws, on first use. A worker is a program of its own (`exec`, not only `fork`),
so it never inherits one.
"""

import atexit
import importlib
import os
import sys
from functools import cache
from typing import Any

from data.errors import UserError, unknown
from stages.sim.looks.devices import CHOICE, drawing_environment

# Mesa's software rasteriser: its helper threads cost more than they bring at these sizes. Read at the first GL call.
os.environ.setdefault("LP_NUM_THREADS", "0")

PACKAGES = {"egl": "libegl1 libgl1-mesa-dri", "osmesa": "libosmesa6", "glfw": "libglfw3"}


def gl_kind() -> str:
    """The library that draws.

    Raises:
        UserError: `MUJOCO_GL` names none.
    """
    usual = "egl" if sys.platform.startswith("linux") else "cgl"
    kind = os.environ.get("MUJOCO_GL", "").lower().strip() or usual
    if kind not in (*PACKAGES, "cgl"):
        raise unknown("MUJOCO_GL", kind, PACKAGES)
    return kind


@cache
def gl_context() -> Any:
    """The context, made on first use and current then.

    Raises:
        UserError: no such library, or no device; says which Debian packages bring it.
    """
    kind = gl_kind()
    try:
        with drawing_environment(kind):
            maker = importlib.import_module(f"mujoco.{kind}").GLContext
            maker._context = None  # else a failed construction complains once more when it is collected
            context = maker(64, 64)
            context.make_current()
    except Exception as error:  # a missing library shows as ImportError, AttributeError, RuntimeError or GLError
        line = " ".join(str(error).split())[:120]
        raise UserError(f"no OpenGL through {kind} ({type(error).__name__}: {line}); {_cure(kind)}") from error
    atexit.register(release_gl)
    return context


def _cure(kind: str) -> str:
    if kind == "egl" and os.environ.get(CHOICE):
        return f"{CHOICE} is {os.environ[CHOICE]}: unset it, or name another device"
    other = "" if kind == "osmesa" else ", or set MUJOCO_GL=osmesa (libosmesa6)"
    return f"apt-get install {PACKAGES.get(kind, 'a display driver')}{other}"


def release_gl() -> None:
    """Free the context, if there is one: at exit, and before any other library ends the display that they share."""
    if gl_context.cache_info().currsize:
        gl_context().free()


def check_gl() -> str:
    """The library that draws, tried out.

    Raises:
        UserError: none does.
    """
    gl_context()
    return gl_kind()
