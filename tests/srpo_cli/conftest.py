"""A small store, policy and embeddings file on disk for the tests of the command line."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from data.checkpoint import write_checkpoint
from data.store import Episode, Layout, Plan, RolloutStore
from stages.policies.loading import weights_digest
from stages.policies.mini import MiniConfig, MiniPolicy

TASKS = [{"index": 2, "name": "dressing", "instruction": "pick up the salad dressing and place it in the basket"}]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """store.zarr (8 episodes, half succeed, with a reward), empty.zarr (none done), policy/, e.npz, text files."""
    folder = tmp_path_factory.mktemp("inputs")
    write_checkpoint(folder / "policy", MiniPolicy(MiniConfig()).save, {"kind": "sft"})
    attrs = {
        "suite": "libero_object",
        "tasks": TASKS,
        "policy": {"id": "mini", "weights": weights_digest(folder / "policy")},
        "look": "lite",
        "cameras": {},
        "seed": 0,
        "temperature": 1.0,
        "inits": "train",
        "versions": {},
    }
    fill(RolloutStore.create(folder / "store.zarr", attrs, plan(8), Layout(16, 110, 8, 8, tokens=True)))
    RolloutStore.create(folder / "empty.zarr", attrs, plan(2), Layout(16, 110, 8, 8, tokens=True))
    rng = np.random.default_rng(0)
    arrays = {"embedding": rng.random((6, 4)), "success": np.arange(6) % 2, "task": np.zeros(6, int)}
    np.savez(folder / "e.npz", **arrays)
    (folder / "text.txt").write_text("hello")
    return folder


def plan(n: int) -> Plan:
    """n episodes of one task in groups of four."""
    index = np.arange(n)
    return Plan(np.full(n, 2), index // 4, index // 4, index)


def fill(store: RolloutStore) -> None:
    """Episodes of noise, every other one a success, with the reward `binary`."""
    rng = np.random.default_rng(1)
    for i in range(len(store)):
        store.write(
            i,
            Episode(
                success=bool(i % 2),
                state=rng.random((17, 110)),
                action=rng.random((16, 7), dtype=np.float32),
                proprio=rng.random((2, 8), dtype=np.float32),
                tokens=np.zeros((2, 56), np.int16),
                logprob=np.full((2, 56), -3.0, np.float32),
            ),
        )


def fingerprint(folder: Path) -> dict[str, str]:
    """Every file below a folder, by its content."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
