"""A run whose updates are done by two processes, which share weights out, beside one that does them itself."""

import shutil
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from data.checkpoint import write_checkpoint
from data.runs import Run
from stages.learning.launching import Launch, launch_of
from stages.loop import _Stages
from stages.policies.loading import load_policy
from stages.recipe import load_recipe

CHANGES = ["reward.preset=binary", "update.minibatch=16", "update.kl_coef=0.01", "update.activations=offload"]


def update(run: Run, launch: Launch) -> list[dict[str, Any]]:
    """Iteration 1's, as told."""
    told: list[dict[str, Any]] = []
    recipe = load_recipe("quick", [*CHANGES, "run.save_every=3"])
    _Stages(run, recipe, lambda title, unit: nullcontext(lambda *_: None), told.append, launch).update(1)
    return told


def test_a_run_by_two_processes(tiny_policy, made_up_store: Callable[..., Path], tmp_path: Path) -> None:
    run = Run.start(tmp_path / "run", {})
    write_checkpoint(run.policy(0), tiny_policy.save, {})
    store = made_up_store(tiny_policy, run.policy(0), groups=2)
    shutil.copytree(store, run.rollouts(1))
    shutil.copytree(run.folder, tmp_path / "alone")
    (together,), (alone,) = update(run, launch_of("eight_gpus_fsdp", 2)), update(Run(tmp_path / "alone"), Launch())
    assert together.keys() == alone.keys() and together["updated"]
    assert together["health"].keys() == alone["health"].keys()
    for name, value in alone["health"].items():
        assert together["health"][name] == pytest.approx(value, rel=1e-3, abs=1e-6), name
    policies = [load_policy(folder / "policies" / "001") for folder in (run.folder, tmp_path / "alone")]
    for one, two in zip(*(policy.module.parameters() for policy in policies), strict=True):
        assert (one - two).norm() <= 1e-5 * two.norm()
