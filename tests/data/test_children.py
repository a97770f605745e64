"""A child that ends with its parent, whatever it is doing."""

import subprocess
import sys

import pytest

from tests.stages.sim.pools import gone

BUSY = {
    "idle": "import time; time.sleep(60)",
    "holding the interpreter": "import ctypes; ctypes.PyDLL(None).sleep(60)",
}
PARENT = """
import os, subprocess, sys, time
begin = f"from data.children import end_with_parent; end_with_parent({os.getpid()}); print('x', flush=True); "
child = subprocess.Popen([sys.executable, "-c", begin + sys.argv[1]], stdout=subprocess.PIPE)
child.stdout.readline()
print(child.pid, flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("does", BUSY)
def test_child_of_a_killed_parent_is_gone_at_once(does: str) -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT, BUSY[does]], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    assert not gone(child, within=0.3)
    parent.kill()
    parent.communicate()
    assert gone(child, within=2.0)


def test_parent_that_was_gone_before_is_noticed() -> None:
    """The kernel tells only of a death to come."""
    program = "from data.children import end_with_parent; end_with_parent(2**22 + 1); import time; time.sleep(60)"
    assert subprocess.run([sys.executable, "-c", program], timeout=20, check=False).returncode == 1
