"""How `srpo collect` ends early: Ctrl-C, 130, nothing lost; an episode that always fails, 1, or without it."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from data.store import DONE, EMPTY, ERROR, SKIPPED, RolloutStore
from srpo_cli.__main__ import run
from tests.stages.sim.pools import before_workers, gone


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def until(process: "subprocess.Popen[str]", store: Path, moment: str) -> None:
    """Wait until the store is there, the workers are, or an episode is done."""

    def reached() -> bool:
        if moment == "store":
            return (store / "zarr.json").is_file()
        if moment == "workers":
            return bool(children(process.pid))
        return bool(list((store / "episode/status/c").glob("*[0-9]")))  # a chunk still being written ends in .partial

    while process.poll() is None and not reached():
        time.sleep(0.01)


def heed_interrupts() -> None:
    """A shell's background jobs ignore SIGINT, and so would a command started by tests that are one."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


MOMENTS = [
    ("episode", "group"),
    pytest.param("episode", "parent", marks=pytest.mark.slow),
    pytest.param("workers", "group", marks=pytest.mark.slow),
    pytest.param("workers", "parent", marks=pytest.mark.slow),
    pytest.param("store", "group", marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("moment", "whom"), MOMENTS)
def test_interrupted_collect_ends_130_and_goes_on(folder: Path, moment: str, whom: str) -> None:
    """A terminal's Ctrl-C reaches the whole group, `kill -INT` the parent alone."""
    store = folder / f"{moment}-{whom}.zarr"
    words = ["collect", store.name, "--policy", "policy", "--tasks", "2", "--samples", "12"]
    call = [sys.executable, "-m", "srpo_cli", *words, "--horizon", "48", "--workers", "1"]
    process = subprocess.Popen(
        call, cwd=folder, start_new_session=True, stderr=subprocess.PIPE, text=True, preexec_fn=heed_interrupts
    )
    until(process, store, moment)
    workers = children(process.pid)
    os.killpg(process.pid, signal.SIGINT) if whom == "group" else process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "interrupted" in told
    assert "Traceback" not in told
    assert all(gone(pid) for pid in workers)
    if RolloutStore.exists(store):
        status = RolloutStore.open(store).status()
        assert set(status) == ({DONE, EMPTY} if moment == "episode" else {EMPTY})
    assert subprocess.run(call, cwd=folder, capture_output=True, check=False).returncode == 0
    assert set(RolloutStore.open(store).status()) == {DONE}


BROKEN = """
from stages.sim.simulator import SimulationDivergedError, Simulator
reset = Simulator.reset
def broken(self, init):
    if init == 1:
        raise SimulationDivergedError("the physics diverged after 0.10 s")
    reset(self, init)
Simulator.reset = broken
"""


def test_episode_that_always_diverges(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ends the command with the real exception; with skip_errors it is left out of everything that follows."""
    before_workers(monkeypatch, BROKEN)
    monkeypatch.chdir(folder)
    words = ["collect", "d.zarr", "--policy", "policy", "--tasks", "2", "--inits", "0,1", "--groups", "2"]
    words += ["--samples", "1", "--horizon", "8", "--workers", "1"]
    skip = ["--set", "skip_errors=1"]

    assert run(words) == 1
    told = capsys.readouterr().err
    assert "SimulationDivergedError: the physics diverged after 0.10 s" in told and "skip_errors=N" in told
    store = RolloutStore.open("d.zarr")
    (bad,) = [i for i in range(2) if store.plan.init_state[i] == 1]
    assert store.status()[bad] == ERROR and not store.success()[bad]

    assert run([*words, *skip, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["n"], result["skipped"], result["collected"] <= 1) == (1, 1, True)
    assert result["errors"] == {str(bad): "SimulationDivergedError: the physics diverged after 0.10 s"}
    assert result["retries"] == {"crash": 0, "hang": 0, "exception": 3}
    assert sorted(store.status()) == [DONE, SKIPPED]

    assert run([*words, *skip]) == 0
    assert "up to date: 1 episodes" in (shown := capsys.readouterr().out) and "1 skipped for an error" in shown
    assert run(["reward", "d.zarr", "--preset", "binary", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["episodes"] == 1
    assert run(words) == 1
    assert store.status()[bad] == ERROR
