"""Child processes, which end with their parent, however that ends. Imports nothing heavy: a child calls it first."""

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
PROGRAM = """
import sys
sys.path[:] = {path!r}
from data.children import end_with_parent
end_with_parent({parent})
from {module} import main
main(*{arguments!r})
"""


def child_command(module: str, *arguments: object) -> list[str]:
    """The command line of a Python process that calls `main(*arguments)` of a module and ends with this one.

    Args:
        arguments: written out by `repr`. No `__main__` is imported twice.
    """
    program = PROGRAM.format(path=sys.path, parent=os.getpid(), module=module, arguments=arguments)
    return [sys.executable, "-c", program]


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
