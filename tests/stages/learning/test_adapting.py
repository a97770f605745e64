"""What learns: adapters or weights, and what is refused."""

import builtins
from pathlib import Path
from typing import Any

import pytest
import torch

from data.errors import UserError
from stages.learning.adapting import AdapterSettings, check_trainable, make_trainable
from stages.learning.settings import UpdateSettings
from stages.policies.loading import load_policy, weights_digest
from stages.sft import SftSettings

RANK4 = AdapterSettings(lora_rank=4, lora_alpha=8)


def made(folder: Path, settings: AdapterSettings, seed: int = 0) -> Any:
    policy = load_policy(folder)
    assert make_trainable(policy, settings, folder, weights_digest(folder), seed) == bool(settings.lora_rank)
    return policy


def test_settings() -> None:
    assert SftSettings(lora_rank=4).lora_alpha == UpdateSettings(lora_rank=4).lora_alpha == 16
    for values, message in (
        ({"lora_rank": 0}, "lora_rank must be 1 or more, or none"),
        ({"lora_rank": 4, "lora_alpha": 0}, "lora_alpha 1 or more, not 4 and 0"),
        ({"lora_alpha": 8}, "lora_alpha changes nothing without lora_rank"),
    ):
        for kind in (SftSettings, UpdateSettings):
            with pytest.raises(UserError, match=message):
                kind(**values)


def test_weights_learn_unless_a_rank_is_given(tiny_folder: Path) -> None:
    assert all(p.requires_grad for p in made(tiny_folder, AdapterSettings()).module.parameters())
    policy = made(tiny_folder, RANK4)
    learns = {name for name, p in policy.module.named_parameters() if p.requires_grad}
    assert len(learns) == 2 * len(load_policy(tiny_folder).adapted_layers())
    assert policy.adapters.base.policy == str(tiny_folder) and policy.adapters.base.model_type == "srpo_mini"


def test_the_seed_decides_the_first_values(tiny_folder: Path) -> None:
    states = [made(tiny_folder, RANK4, seed).module.state_dict() for seed in (3, 3, 4)]
    same = [[torch.equal(states[0][name], state[name]) for name in states[0]] for state in states[1:]]
    assert all(same[0]) and not all(same[1])


def test_the_adapters_that_are_there_go_on(tiny_folder: Path) -> None:
    policy = made(tiny_folder, RANK4)
    for settings in (RANK4, AdapterSettings()):
        assert not make_trainable(policy, settings, tiny_folder, "", 0)
    for settings in (AdapterSettings(lora_rank=5, lora_alpha=8), AdapterSettings(lora_rank=4)):
        with pytest.raises(UserError, match="has adapters with lora_rank=4, lora_alpha=8, not .*; give these, or fold"):
            check_trainable(policy, settings)


def test_16_bit_weights_learn_by_adapters_alone(tiny_folder: Path) -> None:
    policy = load_policy(tiny_folder)
    policy.module.bfloat16()
    with pytest.raises(UserError, match="weights are 16-bit, which rounds small steps away: train 32-bit adapters"):
        check_trainable(policy, AdapterSettings())
    check_trainable(policy, RANK4)


def test_what_is_missing_is_told(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = load_policy(tiny_folder)
    with monkeypatch.context() as without:
        without.setattr(type(policy), "adapted_layers", lambda _: [])
        with pytest.raises(UserError, match="MiniPolicy has no linear layer for adapters"):
            check_trainable(policy, RANK4)
    before = builtins.__import__

    def without_peft(name: str, *given: Any, **named: Any) -> Any:
        if name == "peft":
            raise ImportError(name)
        return before(name, *given, **named)

    monkeypatch.setattr(builtins, "__import__", without_peft)
    with pytest.raises(UserError, match=r"adapters need peft: pip install srpo\[lora\]"):
        check_trainable(policy, RANK4)
