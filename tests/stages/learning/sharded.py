"""Run by two processes that share weights out: updates of what `test_sharding` has prepared, and what each one holds.

python -m tests.stages.learning.sharded WHAT FOLDER
"""

import json
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor

from stages.learning.settings import UpdateSettings
from stages.learning.sharding import gathered, shard, sharding_asked
from stages.learning.trainer import Trainer
from stages.policies.base import Policy
from stages.policies.loading import load_policy
from stages.update import update_policy
from tests.stages.plan.measured import made_up

SETTINGS = UpdateSettings(minibatch=11, microbatch=4, lr=1e-4, epochs=1, grad_norm=0.05)
"""shares of 6 and 5 queries, so that one process has a micro-batch less to do; every gradient is cut"""
CASES = {
    "mini": SETTINGS,
    "oft": SETTINGS,
    "oft-lora": replace(SETTINGS, lora_rank=2),
    "half": replace(SETTINGS, lora_rank=2),
}
KILLED = replace(SETTINGS, minibatch=16, lr=1e-2, epochs=2, lora_rank=2)
KILLED_AT, EVERY = 3, 2


def update(folder: Path, case: str, out: Path, settings: UpdateSettings, **more: Any) -> dict[str, Any]:
    """Of the policy FOLDER/CASE (without what comes after a dash) on CASE.zarr."""
    policy = folder / case.partition("-")[0]
    return update_policy(f"{policy}.zarr", policy, out, "binary", settings, out.name, threads=1, **more)


def kill_at(step: int) -> Any:
    def progress(done: int, total: int, note: str) -> None:
        if done == step:
            os.kill(os.getpid(), signal.SIGKILL)

    return progress


def held(policy: Policy) -> dict[str, Any]:
    """What this process has of a policy that a trainer shares out, and of its optimizer's memory."""
    trainer = Trainer(policy, replace(SETTINGS, max_logprob_gap=1e9))
    trainer.fit(made_up(policy, 11), 1.0, 0)
    parameters: list[Any] = list(policy.module.parameters())
    moments = [state["exp_avg"] for state in trainer.optimizer.state.values()]
    return {
        "parts": all(isinstance(value, DTensor) for value in (*parameters, *moments)),
        "weights": sum(value.to_local().numel() for value in parameters) / sum(value.numel() for value in parameters),
        "memory": sum(value.to_local().numel() for value in moments) / sum(value.numel() for value in moments),
        "blocks": sum(isinstance(policy.module.get_submodule(name), FSDPModule) for name in policy.blocks()),
    }


def bf16(policy: Policy) -> float:
    """How far logits in bf16 are from those of weights that were rounded to bf16, over their size."""
    batch, network = made_up(policy, 2), policy.module
    inputs = policy.inputs(batch.observation, batch.instructions)
    plugin = sharding_asked()
    assert plugin
    shard(network, policy.blocks(), plugin, torch.device("cpu"), "bf16")
    kept = gathered(dict(network.named_parameters()), keep=True)
    assert {value.dtype for value in kept.values()} == {torch.float32}
    found = network(**inputs).detach()
    rounded = load_policy(FOLDER / "oft")
    for parameter in rounded.module.parameters():
        parameter.data = parameter.data.bfloat16()
    wanted = rounded.module(**inputs).detach()
    return float((found - wanted).norm() / wanted.norm())


def compare(folder: Path) -> dict[str, Any]:
    for case, settings in CASES.items():
        update(folder, case, folder / f"{case}-two", settings)
    return {"held": held(load_policy(folder / "oft")), "bf16": bf16(load_policy(folder / "oft"))}


def resume(folder: Path) -> dict[str, Any]:
    told: list[int] = []
    again = update(folder, "mini", folder / "killed", KILLED, save_every=EVERY, progress=lambda n, *_: told.append(n))
    straight = update(folder, "mini", folder / "straight", KILLED)
    return {"first": told[0], "health": [again["health"], straight["health"]]}


if __name__ == "__main__":
    FOLDER = Path(sys.argv[2])
    if sys.argv[1] == "kill":
        update(FOLDER, "mini", FOLDER / "killed", KILLED, save_every=EVERY, progress=kill_at(KILLED_AT))
    result = {"compare": compare, "resume": resume}[sys.argv[1]](FOLDER)
    PartialState().wait_for_everyone()
    print(json.dumps(result))
