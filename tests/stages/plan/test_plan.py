"""Plans of runs: on this machine, on an imagined one, and the refusal of what does not fit."""

import json
import re
from collections import Counter
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch

from data.errors import UserError
from stages.loop import run_loop
from stages.plan import plan as planning
from stages.plan import room as rooms
from stages.plan.disk import Disk, free_disk, used_bytes
from stages.plan.machine import Machine, imagined, this_machine
from stages.plan.plan import plan_run
from stages.plan.room import Room, largest_part
from stages.recipe import EvalRecipe, Recipe, RunSettings, load_recipe
from tests.stages.policies.openvla_oft import tiny


def quick(*changes: str) -> Recipe:
    return load_recipe("quick", changes)


def test_a_plan_of_a_new_run_is_json_and_makes_nothing(tmp_path: Path) -> None:
    plan = plan_run(tmp_path / "run", quick(), 12)
    assert json.loads(json.dumps(plan)) == plan
    assert plan["policy"]["trained"] == plan["policy"]["parameters"] == 2_541_016
    memory = plan["memory"]
    assert memory["queries"] == 32 and memory["peak"] == sum(memory["parts"].values()) < memory["free"]
    assert (plan["done"], plan["time"], plan["problems"]) == (0, None, [])
    assert not (tmp_path / "run").exists()


def test_a_start_that_nobody_can_show_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="the scripted expert only.*give a policy to start from"):
        plan_run(tmp_path / "run", quick("task.suite=libero_goal", "task.tasks=0"), 1)


def test_evaluations_that_never_come_are_not_asked_for(tmp_path: Path) -> None:
    """One task has ten held-out states, so that twenty greedy episodes would be refused."""
    plan = plan_run(tmp_path / "run", quick("task.tasks=2", "eval.episodes=20", "eval.every=0"), 2)
    assert plan["disk"]["evaluation"] == 0 < plan["disk"]["total"]


def test_devices_share_all_but_activations(tmp_path: Path) -> None:
    checkpoint = tiny.make(tmp_path / "checkpoint", suite="libero_spatial")
    recipe = load_recipe("openvla", [f"run.policy={checkpoint}", "update.microbatch=4", "update.lora_rank=none"])
    one, four = (plan_run(tmp_path / "run", recipe, 1, imagined(8, n))["memory"]["parts"] for n in (1, 4))
    for name in ("weights", "gradients", "optimizer"):
        assert four[name] == one[name] / 4
    assert four["activations"] == one["activations"]
    assert four["gathered"] == gathered(tiny.weights(torch.Generator()))


def gathered(weights: dict[str, torch.Tensor]) -> int:
    """By the names of OpenVLA-OFT's weights: those in no layer, the two largest layers; and gradients of the former and
    of the largest layer. What is never run has none: each tower's last block, norm and pool."""
    layer = re.compile(r"(.*\.(?:layers|blocks)\.\d+)\.")
    unused = re.compile(r"featurizer\.(blocks\.2|norm|attn_pool)\.")
    size, within, trained = Counter[str](), Counter[str](), Counter[str]()
    for name, value in weights.items():
        found = layer.match(name)
        kind = found[1] if found else ""
        (within if found else size)[kind] += 4 * value.numel()
        if not unused.search(name):
            trained[kind] += 4 * value.numel()
    outside = trained.pop("")
    return size[""] + sum(sorted(within.values())[-2:]) + outside + max(trained.values())


def test_loading_can_be_the_worst_moment() -> None:
    """Every device loads the policy whole, and keeps a part of it."""
    assert [Room(1, {"weights": 1.0, "activations": 2.0}, loading).peak for loading in (2.0, 8.0)] == [3.0, 8.0]


def test_what_to_keep_near_to_is_loaded_beside_the_policy(tmp_path: Path) -> None:
    checkpoint = tiny.make(tmp_path / "checkpoint", torch.bfloat16, suite="libero_spatial")
    alone, beside = (
        plan_run(
            tmp_path / "run",
            load_recipe("openvla", [f"run.policy={checkpoint}", "update.lora_rank=4", "update.microbatch=1", change]),
            1,
            imagined(8, 1),
        )["memory"]
        for change in ("update.kl_coef=0", "update.kl_coef=0.01")
    )
    assert beside["loading"] == 2 * alone["loading"]


def test_processes_of_this_machine() -> None:
    alone, together, apart = this_machine(), this_machine(4, shares_out=True), this_machine(4)
    assert (alone.devices, together.devices, apart.devices) == (1, 4, 1)
    if alone.shared:
        assert together.free == pytest.approx(alone.free / 4, rel=0.2) == apart.free


def test_adapters_alone_have_gradients_and_are_saved(tmp_path: Path) -> None:
    checkpoint = tiny.make(tmp_path / "checkpoint", torch.bfloat16, suite="libero_spatial")
    recipe = load_recipe("openvla", [f"run.policy={checkpoint}", "update.microbatch=4", "update.lora_rank=4"])
    adapters = plan_run(tmp_path / "run", recipe, 1, imagined(8, 1))
    trained = adapters["policy"]["trained"]
    assert trained < adapters["policy"]["parameters"] / 100
    assert adapters["memory"]["parts"]["gradients"] == adapters["disk"]["policy"] == 4 * trained
    assert adapters["disk"]["start"] > 8e6


def test_a_micro_batch_that_fits_is_named(tmp_path: Path) -> None:
    recipe = quick("update.microbatch=64")
    parts = plan_run(tmp_path / "run", recipe, 1, imagined(1, 1))["memory"]["parts"]
    free = sum(parts.values()) - parts["activations"] / 4
    (told,) = plan_run(tmp_path / "run", recipe, 1, Machine("a small one", free))["problems"]
    assert "are free on a small one: update.microbatch=32 would do" in told
    (told,) = plan_run(tmp_path / "run", quick("update.microbatch=1"), 1, Machine("a small one", 3e7))["problems"]
    assert "an update takes 0.0466 GB, 0.03 GB are free on a small one: update.lora_rank=32 would do" in told
    (told,) = plan_run(tmp_path / "run", recipe, 1, Machine("a small one", 1e6))["problems"]
    assert "take a device with" in told


def test_a_step_that_cannot_be_foreseen_is_no_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any) -> None:
        raise RuntimeError("no value\nhere")

    monkeypatch.setattr(rooms, "step_memory", fails)
    plan = plan_run(tmp_path / "run", quick(), 12)
    assert plan["memory"]["error"] == "RuntimeError: no value here" and not plan["problems"]


def test_a_loop_that_does_not_fit_the_disk_is_refused_before_there_is_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(iterations: int) -> str:
        with pytest.raises(UserError) as told:
            run_loop(tmp_path / "run", quick(), iterations, lambda *_: nullcontext(lambda *_: None), lambda _: None)
        assert not (tmp_path / "run").exists()
        return str(told.value)

    monkeypatch.setattr(planning, "free_disk", lambda _: 800e6)
    assert "run.keep_policies=30 would do" in refused(30)
    assert "--iterations " in refused(1000)
    monkeypatch.setattr(planning, "free_disk", lambda _: 1e6)
    assert "make room" in refused(12)


def test_what_a_run_keeps() -> None:
    disk = Disk(images=100.0, records=1.0, start=1000.0, policy=10.0, optimizer=20.0, evaluation=5.0, demos=7.0)
    assert disk.total(0, RunSettings(), EvalRecipe(every=0)) == 7 + 1000 + 3 * 10 + 3 * 20
    assert disk.total(20, RunSettings(), EvalRecipe(every=10)) == 7 + 1000 + 5 * 10 + 3 * 20 + 4 * 5 + 4 * 100 + 20
    averaging = EvalRecipe(every=10, average=5)
    assert disk.total(20, RunSettings(), averaging) == 7 + 1000 + (2 + 6 + 4) * 10 + 3 * 20 + 4 * 5 + 4 * 100 + 20


def test_bytes_on_disk(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "file").write_bytes(b"x" * 10_000)
    assert 10_000 <= used_bytes(tmp_path) <= 16_384 and used_bytes(tmp_path / "nothing") == 0
    assert free_disk(tmp_path / "not" / "there") > 0


def test_parts_of_a_minibatch() -> None:
    assert [largest_part(total, 32) for total in (128, 16, 33, 100)] == [32, 16, 17, 25]
