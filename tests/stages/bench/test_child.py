"""A child process: results, errors as they were raised, and its end."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from data.errors import UserError
from stages.bench.child import Child, ChildLostError, children

HELPER = """
import os, time
from data.errors import UserError

class Counter:
    def __init__(self):
        self.n = 0

    def add(self, k):
        print("chatter")
        self.n += k
        return self.n, os.getpid(), os.environ["OMP_NUM_THREADS"]

    def wait(self):
        time.sleep(60)

    def refuse(self):
        raise UserError("no assets; install them")

    def fail(self):
        class Odd(Exception):
            pass
        raise Odd("strange")
"""


@pytest.fixture
def kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "bench_helper.py").write_text(HELPER)
    monkeypatch.syspath_prepend(str(tmp_path))
    return "bench_helper:Counter"


def test_calls_in_order_on_one_object_elsewhere(kind: str) -> None:
    with Child(kind) as child:
        child.begin("add", 2)
        child.begin("add", 3)
        assert child.end()[0] == 2
        total, pid, threads = child.end()
        assert (total, threads) == (5, "1")
        assert pid == child.pid != os.getpid()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_errors_come_as_they_were_raised(kind: str) -> None:
    with Child(kind) as child:
        with pytest.raises(UserError, match="install them") as caught:
            child.call("refuse")
        assert "in refuse" in str(caught.value.__cause__)
        with pytest.raises(RuntimeError, match="Odd: strange"):
            child.call("fail")
        assert child.call("add", 1)[0] == 1


def test_a_lost_child_is_told(kind: str) -> None:
    with children(kind, 2) as (first, second):
        first.call("add", 1)
        os.kill(first.pid, signal.SIGKILL)
        with pytest.raises(ChildLostError, match="-9"):
            first.call("add", 1)
        assert second.call("add", 1)[0] == 1


def test_ctrl_c_is_the_parents(kind: str) -> None:
    with Child(kind) as child:
        child.call("add", 1)
        os.kill(child.pid, signal.SIGINT)
        assert child.call("add", 1)[0] == 2


def test_ends_with_a_killed_parent(kind: str) -> None:
    program = (
        "import sys; sys.path[:] = {!r}; from stages.bench.child import Child; child = Child({!r})\n"
        "print(child.call('add', 1)[1], flush=True); child.call('wait')"
    )
    parent = subprocess.Popen([sys.executable, "-c", program.format(sys.path, kind)], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    parent.stdout.close()
    end = time.monotonic() + 10
    while Path(f"/proc/{pid}").exists() and time.monotonic() < end:
        time.sleep(0.05)
    assert not Path(f"/proc/{pid}").exists()
