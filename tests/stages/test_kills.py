"""`srpo collect` under `kill -9` at random moments: what is resumed ends as if nothing had happened.

SRPO_KILLS=100 kills that often (10 minutes on two idle cores); add -s to see each.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from data.store import DONE, RolloutStore
from stages.policies.mini import MiniConfig, MiniPolicy
from tests.stages.sim.pools import gone

KILLS = int(os.environ.get("SRPO_KILLS", "8"))
EPISODES = 40
OPTIONS = "--tasks 2,9 --groups 5 --samples 4 --horizon 16 --temperature 0.8 --seed 3 --workers 2 --json"
MOST = 7
"""kills a collection: later ones would only hit the end"""
VICTIMS = {"worker": 0.5, "parent": 0.25, "group": 0.25}


def content(path: Path) -> dict[str, bytes]:
    """Every file of a store."""
    return {str(file.relative_to(path)): file.read_bytes() for file in sorted(path.rglob("*")) if file.is_file()}


class Collection:
    """One `srpo collect`, begun as often as it takes."""

    def __init__(self, path: Path, policy: Path) -> None:
        self.path = path
        self._call = [sys.executable, "-m", "srpo_cli", "collect", str(path), "--policy", str(policy), *OPTIONS.split()]
        self.begin()

    def begin(self) -> None:
        """Start the command, in a process group of its own."""
        self.process = subprocess.Popen(
            self._call, start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )

    def workers(self) -> list[int]:
        try:
            told = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
            return [int(pid) for pid in told.split()]
        except OSError:
            return []

    def done(self) -> int:
        return sum(not file.suffix for file in (self.path / "episode/status/c").glob("*"))

    def await_moment(self, rng: np.random.Generator, victim: str) -> None:
        """Until a random moment: of the start, or some episodes later; there is a worker if one is to be killed."""
        goal = -1 if rng.random() < 0.2 else min(self.done() + int(rng.integers(0, 9)), EPISODES)
        if goal < 0:
            time.sleep(float(rng.uniform(0, 4)))
        while self.process.poll() is None and (self.done() < goal or (victim == "worker" and not self.workers())):
            time.sleep(0.002)
        time.sleep(float(rng.uniform(0, 0.3)))

    def kill(self, rng: np.random.Generator, victim: str) -> bool:
        """Kill it, now; whether it was still there."""
        workers = self.workers()
        if self.process.poll() is not None or (victim == "worker" and not workers):
            return False
        if victim == "worker":
            os.kill(int(rng.choice(workers)), signal.SIGKILL)
            return True
        os.killpg(self.process.pid, signal.SIGKILL) if victim == "group" else self.process.kill()
        self.process.wait()
        assert all(gone(pid) for pid in workers), "a worker lives on"
        return True


@pytest.mark.slow
@pytest.mark.timeout(120 + 60 * KILLS)
def test_random_kills_lose_and_double_nothing(tmp_path: Path) -> None:
    policy = tmp_path / "policy"
    policy.mkdir()
    small = MiniConfig(cameras={"agentview": 32, "robot0_eye_in_hand": 16}, channels=(8, 8, 8), hidden=32)
    MiniPolicy(small, seed=1).save(policy)
    undisturbed = Collection(tmp_path / "whole.zarr", policy)
    told = json.loads(undisturbed.process.communicate()[0])
    assert (told["n"], told["collected"], sum(told["retries"].values())) == (EPISODES, EPISODES, 0)
    whole, kills, rng, stores = content(undisturbed.path), Counter[str](), np.random.default_rng(0), 0
    while kills.total() < KILLS:
        collection, left = Collection(tmp_path / f"{stores}.zarr", policy), min(MOST, KILLS - kills.total())
        while True:
            if left:
                victim = str(rng.choice(list(VICTIMS), p=list(VICTIMS.values())))
                collection.await_moment(rng, victim)
                if collection.kill(rng, victim):
                    kills[victim], left = kills[victim] + 1, left - 1
                    print(f"store {stores}: kill {kills.total()}, {victim}, {collection.done()} done", flush=True)
            if left and collection.process.poll() is None:
                continue
            last, _ = collection.process.communicate()
            if collection.process.returncode == 0:
                break
            collection.begin()
        assert content(collection.path) == whole
        assert RolloutStore.open(collection.path).status().tolist() == [DONE] * EPISODES
        assert json.loads(last)["n"] == EPISODES
        stores += 1
    print(f"{dict(kills)} kills in {stores} collections, each store equal to the undisturbed one")
