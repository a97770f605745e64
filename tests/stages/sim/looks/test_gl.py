"""A missing or misspelt OpenGL library: one line that says what to install (each in a process of its own)."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import sys
from data.errors import UserError
try:
    from stages.sim.looks.gl import check_gl
    print("ok", check_gl())
except UserError as error:
    print("user", error)
"""


def _check(**environment: str) -> str:
    base = {k: v for k, v in os.environ.items() if k not in ("MUJOCO_GL", "PYOPENGL_PLATFORM")}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**base, **environment}, cwd=Path(__file__).parents[4], capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout.strip()


def test_egl_when_unset() -> None:
    assert _check() == "ok egl"


def test_no_egl_driver() -> None:
    said = _check(__EGL_VENDOR_LIBRARY_DIRS="/nowhere")
    assert said.startswith("user no OpenGL through egl")
    assert "libegl1 libgl1-mesa-dri" in said
    assert "MUJOCO_GL=osmesa (libosmesa6)" in said
    assert len(said.splitlines()) == 1


def test_osmesa_draws_or_names_its_package() -> None:
    said = _check(MUJOCO_GL="osmesa")
    assert said == "ok osmesa" or "apt-get install libosmesa6" in said


@pytest.mark.parametrize("name", ["elg", "vulkan"])
def test_unknown_library(name: str) -> None:
    said = _check(MUJOCO_GL=name)
    assert said.startswith(f"user unknown MUJOCO_GL '{name}'")
    assert "osmesa" in said


def test_own_device_that_is_not_there() -> None:
    said = _check(MUJOCO_EGL_DEVICE_ID="99")
    assert "99: unset it, or name another device" in said
    assert len(said.splitlines()) == 1
