"""What a real update takes: `python measured.py POLICY MICROBATCH` prints bytes and how the model foresees them.

The resident set's high-water mark over its level before, with an allocator that gives back what is freed.
"""

import ctypes
import gc
import json
import sys
from pathlib import Path

import numpy as np
import torch

from stages.learning.batch import Batch
from stages.learning.settings import UpdateSettings
from stages.learning.trainer import Trainer
from stages.plan.memory import step_memory
from stages.policies.base import Observation, Policy
from stages.policies.loading import load_policy, outline_policy

TEXT = "pick up the milk"


def made_up(policy: Policy, n: int) -> Batch:
    """n queries of noise, each an episode of its own."""
    rng, spec = np.random.default_rng(0), policy.spec
    images = {name: rng.integers(0, 256, (n, side, side, 3), np.uint8) for name, side in spec.cameras.items()}
    return Batch(
        observation=Observation(images, rng.normal(size=(n, spec.proprio)).astype(np.float32)),
        instructions=[TEXT] * n,
        tokens=np.zeros((n, spec.tokens), np.int16),
        logprob=np.full((n, spec.tokens), -3, np.float32),
        mask=np.ones((n, spec.tokens), bool),
        advantage=rng.normal(size=n).astype(np.float32),
        episode=np.arange(n),
    )


def update(policy: Policy, batch: Batch, micro: int) -> None:
    """Two steps of two micro-batches."""
    settings = UpdateSettings(epochs=2, minibatch=2 * micro, microbatch=micro, max_logprob_gap=1e9)
    Trainer(policy, settings).fit(batch, 1.0, 0)
    policy.module.zero_grad()
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)


def status(key: str) -> int:
    """Bytes that /proc/self/status tells."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(key))


if __name__ == "__main__":
    torch.set_num_threads(1)
    folder, micro = sys.argv[1], int(sys.argv[2])
    policy = load_policy(folder)
    batch = made_up(policy, 2 * micro)
    update(policy, made_up(policy, 2), 1)  # what libraries set up once
    before = status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")
    update(policy, batch, micro)
    step = step_memory(outline_policy(folder), micro, [TEXT])
    print(json.dumps({"real": status("VmHWM") - before, "model": step.peak - step.weights}))
