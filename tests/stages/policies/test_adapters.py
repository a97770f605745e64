"""Adapters on policies: what they leave alone, their files, their base, and folding them in."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from data.errors import UserError
from stages.policies.adapted import CONFIG, WEIGHTS, Base
from stages.policies.adapters import add_adapters, fold_adapters
from stages.policies.base import Policy
from stages.policies.loading import identity, load_policy, save_policy, weights_digest
from tests.stages.conftest import random_queries
from tests.stages.policies.openvla_oft.tiny import make

TEXTS = ["pick up the milk", "open the drawer"]
Acted = tuple[np.ndarray, np.ndarray, np.ndarray]


def act(policy: Policy) -> Acted:
    rng = np.random.default_rng(0)
    return policy.act(random_queries(policy, 2, rng), TEXTS, 0.8, rng.random((2, policy.spec.tokens)))


def adapted(folder: Path, trained: bool = True) -> Policy:
    """The policy of `folder` with adapters, as training might have left them."""
    policy = load_policy(folder)
    known = identity(folder)
    add_adapters(policy, Base(known["id"], str(folder), known["weights"]), rank=4, alpha=8, seed=1)
    rng = torch.Generator().manual_seed(0)
    for parameter in policy.module.parameters():
        if trained and parameter.requires_grad:
            parameter.data.normal_(0, 0.1, generator=rng)
    return policy


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Callable[[torch.dtype], Path]:
    """A function that makes an OpenVLA-OFT checkpoint, with proprioception."""
    root = tmp_path_factory.mktemp("released")

    def made(dtype: torch.dtype) -> Path:
        folder = root / str(dtype)
        return folder if folder.is_dir() else make(folder, dtype, proprio=True)

    return made


@pytest.fixture(params=["mini", torch.float32, torch.bfloat16], ids=str)
def whole(request: pytest.FixtureRequest, tiny_folder: Path, released: Callable[..., Path], one_thread: None) -> Path:
    return tiny_folder if request.param == "mini" else released(request.param)


def saved(policy: Policy, folder: Path) -> Path:
    folder.mkdir()
    save_policy(policy, folder)
    return folder


def test_new_ones_change_nothing_and_are_all_that_learns(whole: Path) -> None:
    policy, before = adapted(whole, trained=False), act(load_policy(whole))
    assert all(np.array_equal(a, b) for a, b in zip(act(policy), before, strict=True))
    learns = {name: p for name, p in policy.module.named_parameters() if p.requires_grad}
    assert learns and all(".lora_" in name and p.dtype == torch.float32 for name, p in learns.items())
    observation = random_queries(policy, 2, np.random.default_rng(0))
    policy.logprob(observation, TEXTS, before[0], 0.8)[0].sum().backward()
    assert all(p.grad is not None for p in learns.values())


def test_openvla_adapts_llama_and_the_projectors(released: Callable[..., Path]) -> None:
    names = load_policy(released(torch.float32)).adapted_layers()
    assert len(names) == 2 * 7 + 3 + 2
    assert {"projector.fc3", "proprio_projector.fc1", "language_model.model.layers.1.mlp.down_proj"} < set(names)


def test_saved_alone_they_load_bit_for_bit(whole: Path, tmp_path: Path) -> None:
    policy = adapted(whole)
    folder = saved(policy, tmp_path / "adapters")
    assert {file.name for file in folder.iterdir()} == {"config.json", CONFIG, WEIGHTS}
    loaded = load_policy(folder)
    assert all(np.array_equal(a, b) for a, b in zip(act(loaded), act(policy), strict=True))
    assert not np.array_equal(act(policy)[1], act(load_policy(whole))[1])
    again = saved(loaded, tmp_path / "again")
    assert weights_digest(again) == weights_digest(folder) != weights_digest(whole)
    assert (again / CONFIG).read_bytes() == (folder / CONFIG).read_bytes()


def test_peft_reads_the_files(tiny_folder: Path, tmp_path: Path, one_thread: None) -> None:
    from peft import PeftModel

    policy, other = adapted(tiny_folder), load_policy(tiny_folder)
    folder = saved(policy, tmp_path / "adapters")
    inputs = policy.inputs(random_queries(policy, 2, np.random.default_rng(0)), TEXTS)
    assert torch.equal(PeftModel.from_pretrained(other.module, str(folder))(**inputs), policy.module(**inputs))


def test_the_digest_is_of_base_and_adapters_wherever_they_are(tiny_folder: Path, tmp_path: Path) -> None:
    first = saved(adapted(tiny_folder), tmp_path / "first")
    moved = shutil.copytree(tmp_path, tmp_path.with_name(f"{tmp_path.name}-moved"))
    shutil.rmtree(tiny_folder)
    assert weights_digest(moved / "first") == weights_digest(first)
    load_policy(moved / "first")
    other = saved(adapted(moved / "tiny", trained=False), tmp_path / "other")
    edit(moved / "first", policy="../tiny", weights="0" * 16)
    assert len({weights_digest(folder) for folder in (first, other, moved / "first")}) == 3


def edit(folder: Path, **values: str) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["adapters_of"] = values
    (folder / "config.json").write_text(json.dumps(config))


def test_a_base_that_is_gone_or_changed_is_told(tiny_folder: Path, tmp_path: Path) -> None:
    folder = saved(adapted(tiny_folder), tmp_path / "adapters")
    with (tiny_folder / "config.json").open("a") as file:
        file.write("\n")
    with pytest.raises(UserError, match=r"adapters of .*tiny \(\w{16}\), which is \w{16} now; put the one"):
        load_policy(folder)
    shutil.rmtree(tiny_folder)
    with pytest.raises(UserError, match=r"adapters of .*tiny .* which is missing \(.*\); put it back"):
        load_policy(folder)


def test_damage_is_told(tiny_folder: Path, tmp_path: Path) -> None:
    good, count = saved(adapted(tiny_folder), tmp_path / "good"), 0

    def broken(name: str, content: str | None) -> Path:
        nonlocal count
        count += 1
        folder = shutil.copytree(good, tmp_path / f"broken{count}")
        (folder / name).unlink()
        if content is not None:
            (folder / name).write_text(content)
        return folder

    other = json.loads((good / CONFIG).read_text()) | {"r": 5}
    cases = {
        broken(WEIGHTS, None): "lacks adapter_model.safetensors",
        broken(WEIGHTS, "no"): "cannot be read",
        broken(CONFIG, "no"): "cannot be read",
        broken(CONFIG, json.dumps(other)): "does not hold the adapters of adapter_config.json",
        broken("config.json", '{"model_type": "srpo_mini", "adapters_of": {}}'): "lacks 'policy' of adapters_of",
    }
    for folder, message in cases.items():
        with pytest.raises(UserError, match=message):
            load_policy(folder)


def test_folded_in_the_policy_acts_the_same(whole: Path, tmp_path: Path) -> None:
    policy = adapted(whole)
    before = act(policy)[1]
    names, was = list(load_policy(whole).module.state_dict()), weights_digest(whole)
    fold_adapters(policy)
    assert policy.adapters is None and list(policy.module.state_dict()) == names
    folder = saved(policy, tmp_path / "merged")
    assert not (folder / CONFIG).exists() and weights_digest(folder) != was
    gap = np.abs(act(load_policy(folder))[1] - before)
    assert np.median(gap) < 0.05 if "bfloat16" in whole.name else gap.max() < 1e-5
