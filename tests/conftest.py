"""Fixtures for all tests: thread counts on purpose, EGL rendering in the calling thread."""

import os

for name, value in {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "NUMBA_NUM_THREADS": "1",
    "LP_NUM_THREADS": "0",
    "MUJOCO_GL": "egl",
}.items():
    os.environ.setdefault(name, value)
