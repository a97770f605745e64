"""Updates of adapters: one after the other, copied, taken over by a loaded policy, merged; and of 16-bit weights."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open

from data.checkpoint import write_checkpoint
from data.errors import UserError
from data.runs import Run
from data.store import RolloutStore
from stages.learning.settings import UpdateSettings
from stages.loop import tidy
from stages.merge import merge_policy
from stages.policies.adapted import CONFIG, WEIGHTS
from stages.policies.base import Policy
from stages.policies.config import read_config
from stages.policies.loading import load_policy, weights_digest
from stages.policies.mini import MiniPolicy
from stages.recipe import load_recipe
from stages.start import check_start
from stages.update import update_policy
from tests.stages.policies.openvla_oft.tiny import make

SETTINGS = UpdateSettings(minibatch=16, lr=1e-3, epochs=1, lora_rank=4)
FLAT = {"rewards": np.zeros(16)}


@pytest.fixture
def first(tiny_policy: MiniPolicy, tiny_folder: Path, made_up_store: Callable[..., Path], tmp_path: Path) -> Path:
    """Adapters of the tiny policy after one update, from the store a.zarr."""
    store = made_up_store(tiny_policy, tiny_folder, "a.zarr")
    result = update_policy(store, tiny_folder, tmp_path / "001", "binary", SETTINGS, threads=1)
    assert result["updated"] and result["health"]["first_ratio_deviation"] < 1e-4
    return tmp_path / "001"


def values(policy: Policy) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in policy.module.state_dict().items()}


def test_adapters_alone_are_trained_and_written(first: Path, tiny_folder: Path) -> None:
    assert {file.name for file in first.iterdir()} == {
        "config.json",
        CONFIG,
        WEIGHTS,
        "srpo.json",
        "trainer.safetensors",
    }
    assert read_config(first)["adapters_of"] == {"policy": "../tiny", "weights": weights_digest(tiny_folder)}
    before, after = values(load_policy(tiny_folder)), values(load_policy(first))
    assert all(torch.equal(value, after.get(name, after.get(based(name)))) for name, value in before.items())
    assert all(value.any() for name, value in after.items() if ".lora_B" in name)


def based(name: str) -> str:
    module, _, kind = name.rpartition(".")
    return f"{module}.base_layer.{kind}"


def test_a_second_update_goes_on_with_adapters_and_optimizer(
    first: Path, made_up_store: Callable[..., Path], tmp_path: Path
) -> None:
    policy = load_policy(first)
    store = made_up_store(policy, first, "b.zarr")
    result = update_policy(store, first, tmp_path / "002", "binary", replace(SETTINGS, lora_rank=None), threads=1)
    assert result["health"]["first_ratio_deviation"] < 1e-4 and result["weights"] != weights_digest(first)
    second = load_policy(tmp_path / "002")
    assert second.adapters is not None and second.adapters.base == policy.adapters.base
    steps = []
    for folder in (first, tmp_path / "002"):
        with safe_open(folder / "trainer.safetensors", framework="pt") as state:
            steps.append({int(state.get_tensor(key)) for key in state.keys() if key.startswith("step.")})  # noqa: SIM118
    assert [len(taken) for taken in steps] == [1, 1] and max(steps[1]) > max(steps[0])


def test_an_optimizer_of_the_weights_is_not_the_adapters(
    tiny_policy: MiniPolicy, tiny_folder: Path, made_up_store: Callable[..., Path], tmp_path: Path
) -> None:
    store = made_up_store(tiny_policy, tiny_folder, "a.zarr")
    whole = replace(SETTINGS, lora_rank=None)
    update_policy(store, tiny_folder, tmp_path / "whole", "binary", whole, threads=1)
    store = made_up_store(load_policy(tmp_path / "whole"), tmp_path / "whole", "b.zarr")
    assert update_policy(store, tmp_path / "whole", tmp_path / "next", "binary", SETTINGS, threads=1)["updated"]


def test_without_variance_it_is_a_copy(first: Path, made_up_store: Callable[..., Path], tmp_path: Path) -> None:
    store = made_up_store(load_policy(first), first, "flat.zarr", **FLAT)
    result = update_policy(store, first, tmp_path / "else" / "where", "binary", SETTINGS, threads=1)
    assert not result["updated"] and result["weights"] == weights_digest(first)
    copy, wanted = values(load_policy(tmp_path / "else" / "where")), values(load_policy(first))
    assert all(torch.equal(value, wanted[name]) for name, value in copy.items())


def test_a_loaded_policy_becomes_the_new_one(
    first: Path, tiny_policy: MiniPolicy, tiny_folder: Path, made_up_store: Callable[..., Path], tmp_path: Path
) -> None:
    """Trained now, and found to be there already, without and with adapters of its own."""
    store = RolloutStore.open(tmp_path / "a.zarr").path
    wanted = values(load_policy(first))
    for out in (tmp_path / "fresh", first):
        update_policy(store, tiny_folder, out, "binary", SETTINGS, policy=(held := load_policy(tiny_folder)), threads=1)
        assert all(torch.equal(value, wanted[name]) for name, value in values(held).items())
    store = made_up_store(held, first, "b.zarr")
    for _ in range(2):
        held = load_policy(first)
        update_policy(store, first, tmp_path / "002", "binary", SETTINGS, policy=held, threads=1)
        wanted = values(load_policy(tmp_path / "002"))
        assert all(torch.equal(value, wanted[name]) for name, value in values(held).items())


def test_merged_it_is_whole(first: Path, tmp_path: Path) -> None:
    result = merge_policy(first, tmp_path / "merged")
    assert not result["up_to_date"] and result["policy"] == weights_digest(first)
    assert result["weights"] == weights_digest(tmp_path / "merged")
    assert load_policy(tmp_path / "merged").adapters is None
    assert merge_policy(first, tmp_path / "merged")["up_to_date"]
    with pytest.raises(UserError, match="has no adapters to merge"):
        merge_policy(tmp_path / "merged", tmp_path / "again")
    with pytest.raises(UserError, match="holds adapters alone; start from a whole policy"):
        check_start(str(first), UpdateSettings())


def test_16_bit_weights_are_refused_not_their_adapters(made_up_store: Callable[..., Path], tmp_path: Path) -> None:
    folder = make(tmp_path / "half", torch.bfloat16)
    policy = load_policy(folder)
    store = made_up_store(policy, folder, groups=1)
    with pytest.raises(UserError, match=r"weights are 16-bit.*--set lora_rank=32"):
        update_policy(store, folder, tmp_path / "no", "binary", replace(SETTINGS, lora_rank=None), threads=1)
    with pytest.raises(UserError, match="weights are 16-bit"):
        check_start(str(folder), UpdateSettings())
    result = update_policy(store, folder, tmp_path / "001", "binary", SETTINGS, threads=1)
    assert result["updated"] and result["health"]["grad_norm"] > 0
    assert {value.dtype for name, value in values(load_policy(tmp_path / "001")).items() if ".lora_" in name} == {
        torch.float32
    }


def test_a_run_keeps_the_policy_that_adapters_belong_to(tiny_policy: MiniPolicy, first: Path, tmp_path: Path) -> None:
    """Policy 1 is a copy of 0, since nothing was to be learnt, and got adapters only in iteration 2."""
    run, recipe = Run(tmp_path / "run"), load_recipe("quick", ["run.keep_policies=10"])
    for n in (0, 1):
        write_checkpoint(run.policy(n), tiny_policy.save, {})
    for n in (2, 3, 4):
        shutil.copytree(first, run.policy(n))
        config = (first / "config.json").read_text().replace("../tiny", "../001")
        (run.policy(n) / "config.json").write_text(config)
        tidy(run, recipe, n)
    assert run.policies() == [0, 1, 3, 4]
