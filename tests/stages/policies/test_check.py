"""`check_policy`: the mini policy keeps the contract; each promise that is broken is told."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from data.errors import UserError
from stages.policies.check import check_policy
from stages.policies.loading import load_policy
from stages.policies.mini import MiniPolicy
from tests.stages.policies.openvla_oft import tiny


def test_mini_keeps_it(one_thread: None, tiny_policy: MiniPolicy):
    assert check_policy(tiny_policy) < 1e-5


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_openvla_keeps_it_in_both_precisions(one_thread: None, tmp_path: Path, dtype: torch.dtype):
    policy = load_policy(tiny.make(tmp_path / "checkpoint", dtype))
    gap = check_policy(policy)
    assert gap < (1e-5 if dtype == torch.float32 else 0.02)


def dropout(policy: MiniPolicy) -> None:
    policy.module.hidden1 = nn.Sequential(policy.module.hidden1, nn.Dropout(0.5))


def acts_on_other_rows(policy: MiniPolicy) -> None:
    act = policy.act
    policy.act = lambda seen, texts, temperature, noise: act(seen, texts, temperature, np.roll(noise, 1, axis=0))


def centred_over_the_batch(policy: MiniPolicy) -> None:
    policy.module.head.register_forward_hook(lambda module, inputs, out: out - out.mean(0))


def frozen(policy: MiniPolicy) -> None:
    policy.module.requires_grad_(False)


def seven_numbers(policy: MiniPolicy) -> None:
    policy.spec = replace(policy.spec, proprio=7)


def fewer_bins(policy: MiniPolicy) -> None:
    policy.spec = replace(policy.spec, bins=4)


def large_actions(policy: MiniPolicy) -> None:
    decode = policy.decode_tokens
    policy.decode_tokens = lambda tokens: 2 * decode(tokens)


def wide_tokens(policy: MiniPolicy) -> None:
    encode = policy.encode_actions
    policy.encode_actions = lambda actions: encode(actions).astype(np.int64)


def shifted_tokens(policy: MiniPolicy) -> None:
    encode = policy.encode_actions
    policy.encode_actions = lambda actions: encode(np.asarray(actions) / 2)


def forgets_its_weights(policy: MiniPolicy) -> None:
    policy.save = MiniPolicy(policy.config, seed=99).save


@pytest.mark.parametrize(
    ("breaks", "says"),
    [
        (dropout, "a row of act changes with the others, or by chance"),
        (acts_on_other_rows, "a row of act changes with the others"),
        (centred_over_the_batch, r"in a batch log-probs are .* off the recorded ones; mend inputs or module"),
        (frozen, "its logits have no gradient"),
        (seven_numbers, r"spec\.proprio is 7; LIBERO gives 8 values"),
        (fewer_bins, "its tokens leave 0-3; mend act"),
        (large_actions, r"its actions leave \[-1, 1\]; mend decode_tokens"),
        (wide_tokens, r"what encode_actions gives is \(4, 21\) int64; make it \(4, 21\) int16"),
        (shifted_tokens, r"decode_tokens\(encode_actions\(a\)\) is not a"),
        (forgets_its_weights, "saved and loaded, it acts otherwise"),
    ],
)
def test_what_breaks_it_is_told(
    one_thread: None, tiny_policy: MiniPolicy, breaks: Callable[[MiniPolicy], None], says: str
):
    breaks(tiny_policy)
    with pytest.raises(UserError, match=f"MiniPolicy: {says}"):
        check_policy(tiny_policy)
