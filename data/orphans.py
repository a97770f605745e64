"""A child process ends with its parent, however that ends. Imports nothing heavy: a child calls it first."""

import ctypes
import os
import signal
import sys
import threading
import time

PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None)
LOOKING = 0.5
"""Seconds between two looks at who the parent is."""


def die_with_parent() -> None:
    """Be killed when the thread that started this process ends, however that ends (Linux; elsewhere nothing)."""
    if sys.platform == "linux":
        LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def end_with_parent(parent: int) -> None:
    """From now on end when the process `parent` is gone, in the middle of whatever it may be.

    Linux does it at once, even where a call never returns, and also at the end of the thread that started the child;
    elsewhere, and where the parent was gone before this, a thread looks from time to time.
    """
    die_with_parent()
    threading.Thread(target=_look_for, args=(parent,), daemon=True).start()


def _look_for(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(LOOKING)
    os._exit(1)
