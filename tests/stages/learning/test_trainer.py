"""One update against a slow one; micro-batches, processes, resume and refusals."""

import copy
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from data.errors import UserError
from data.store import RolloutStore
from stages.learning.advantages import AdvantageSettings
from stages.learning.averaging import token_weights
from stages.learning.batch import build_batch, select
from stages.learning.optimizer import STATE_FILE, learning_rate
from stages.learning.reference import with_reference
from stages.learning.settings import TrainerSettings
from stages.learning.trainer import Trainer
from stages.policies.loading import load_policy
from stages.policies.precision import logprob_tolerance

SETTINGS = TrainerSettings(minibatch=16, microbatch=5, lr=1e-2)


@pytest.fixture
def batch(tiny_policy, tiny_folder, made_up_store):
    store = RolloutStore.open(made_up_store(tiny_policy, tiny_folder))
    return build_batch(store, select(store, "binary", AdvantageSettings()))


def weights_of(policy) -> list[torch.Tensor]:
    return [p.detach().clone() for p in policy.module.parameters()]


def slow_loss(policy, batch, rows, settings: TrainerSettings, temperature: float, reference=None) -> torch.Tensor:
    """The loss of a minibatch, token by token, written from the formulas."""
    total, weights = torch.zeros(()), 0.0
    for row in rows:
        query = policy.inputs(batch.observation.rows(slice(row, row + 1)), [batch.instructions[row]])
        logits = policy.module(**query)[0] / temperature
        for j in np.flatnonzero(batch.mask[row]):
            log_p = logits[j] - logits[j].exp().sum().log()
            new = log_p[int(batch.tokens[row, j])]
            loss = slow_policy_loss(new, float(batch.logprob[row, j]), float(batch.advantage[row]), settings)
            if reference is not None:
                other = reference.module(**query)[0, j].detach() / temperature
                log_q = other - other.exp().sum().log()
                apart = log_q[int(batch.tokens[row, j])] - new
                loss += (
                    settings.kl_coef
                    * {
                        "k1": -apart,
                        "k2": apart**2 / 2,
                        "k3": apart.exp() - 1 - apart,
                        "exact": sum(a.exp() * (a - b) for a, b in zip(log_p, log_q, strict=True)),
                    }[settings.kl_estimator]
                )
            loss -= settings.entropy_coef * -sum(a.exp() * a for a in log_p)
            episode = batch.mask[batch.episode == batch.episode[row]]
            tokens = {"token": 1, "query": batch.mask[row].sum(), "episode": episode.sum()}[settings.average]
            total, weights = total + loss / float(tokens), weights + 1 / float(tokens)
    return total / weights


def slow_policy_loss(new: torch.Tensor, old: float, a: float, settings: TrainerSettings) -> torch.Tensor:
    if settings.algorithm == "bc":
        return -new
    if settings.algorithm == "awr":
        return -min(np.exp(a / settings.awr_temperature), settings.awr_clip) * new
    ratio = (new - old).exp()
    return -torch.minimum(ratio * a, ratio.clamp(1 - settings.clip_low, 1 + settings.clip_high) * a)


def slow_update(policy, batch, settings: TrainerSettings, temperature: float, seed: int) -> None:
    """The same update, token by token, written from the formulas."""
    rng = np.random.default_rng(seed)
    optimizer = torch.optim.AdamW(
        policy.module.parameters(), settings.lr, (settings.beta1, settings.beta2), weight_decay=settings.weight_decay
    )
    taken = 0
    for _ in range(settings.epochs):
        order = rng.permutation(len(batch))
        for start in range(0, len(order), settings.minibatch):
            optimizer.zero_grad()
            slow_loss(policy, batch, order[start : start + settings.minibatch], settings, temperature).backward()
            norm = sum(float((p.grad**2).sum()) for p in policy.module.parameters()) ** 0.5
            for p in policy.module.parameters():
                p.grad *= min(1.0, settings.grad_norm / norm)
            optimizer.param_groups[0]["lr"] = settings.lr / (1 + taken / (settings.lr_half or float("inf")))
            optimizer.step()
            taken += 1


def moved(policy, seed: int):
    """A policy near `policy`."""
    near = copy.deepcopy(policy)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in near.module.parameters():
            p += 0.05 * torch.randn(p.shape, generator=generator)
    return near


def gradient_of(policy) -> torch.Tensor:
    return torch.cat([p.grad.flatten() for p in policy.module.parameters()])


@pytest.mark.parametrize(
    "changes",
    [
        {"average": "query"},
        {"average": "episode"},
        {"algorithm": "awr", "awr_temperature": 0.5, "awr_clip": 2.0},
        {"algorithm": "bc", "average": "episode"},
        {"entropy_coef": 0.3},
        {"kl_coef": 0.7, "kl_estimator": "k1"},
        {"kl_coef": 0.7, "kl_estimator": "k2"},
        {"kl_coef": 0.7, "kl_estimator": "k3", "average": "episode", "entropy_coef": 0.1},
        {"kl_coef": 0.7, "kl_estimator": "exact"},
    ],
    ids=lambda changes: " ".join(map(str, changes.values())),
)
def test_every_objective_against_the_slow_loss(tiny_policy, batch, tmp_path: Path, changes):
    settings, rows = TrainerSettings(microbatch=4, **changes), np.arange(1, len(batch), 4)
    reference = moved(tiny_policy, 2) if settings.kl_coef else None
    fast = moved(tiny_policy, 1)
    slow = copy.deepcopy(fast)
    if reference is not None:
        reference.save(tmp_path)
        batch = with_reference(batch, tmp_path, fast, 0.8, settings)
    weight = token_weights(batch.mask, batch.episode, settings.average)
    sums = Trainer(fast, settings)._gradient(batch, rows, weight, 0.8, "")
    loss = slow_loss(slow, batch, rows, settings, 0.8, reference)
    loss.backward()
    assert sums["loss"] / sums["weight"] == pytest.approx(loss.item(), rel=1e-5)
    assert (gradient_of(fast) - gradient_of(slow)).norm() < 1e-5 * gradient_of(slow).norm()
    assert ("reference_kl" in sums) == (reference is not None)


def test_tf32_is_off_while_it_learns(tiny_policy, batch):
    backends, seen = (torch.backends.cudnn, torch.backends.cuda.matmul), []
    before = [backend.allow_tf32 for backend in backends]
    tiny_policy.module.register_forward_hook(lambda *_: seen.append([backend.allow_tf32 for backend in backends]))
    for _ in range(2):
        Trainer(tiny_policy, replace(SETTINGS, lr=1e-9)).fit(batch, 0.8, seed=0)
    assert seen and all(flags == [False, False] for flags in seen)
    assert [backend.allow_tf32 for backend in backends] == before


@pytest.mark.parametrize("lr_half", [None, 3])
def test_against_the_slow_update(tiny_policy, batch, lr_half):
    fast, slow = copy.deepcopy(tiny_policy), copy.deepcopy(tiny_policy)
    settings = replace(SETTINGS, epochs=2, lr_half=lr_half)
    health = Trainer(fast, settings).fit(batch, 0.8, seed=5)
    slow_update(slow, batch, settings, 0.8, seed=5)
    assert health["clip_fraction"] > 0
    for before, a, b in zip(weights_of(tiny_policy), weights_of(fast), weights_of(slow), strict=True):
        assert (a - before).abs().max() > 1e-3
        torch.testing.assert_close(a, b, rtol=0, atol=2e-4)


def test_the_first_ratio_is_one(tiny_policy, batch):
    health = Trainer(tiny_policy, replace(SETTINGS, minibatch=10_000, epochs=1)).fit(batch, 0.8, seed=0)
    assert health["first_ratio_deviation"] < 1e-4
    assert health["approx_kl"] < 1e-8
    assert health["clip_fraction"] == 0
    assert 0 < health["gripper_entropy"] <= np.log(2)
    assert health["optimizer_steps"] == 1


@pytest.mark.parametrize("average", ["token", "query", "episode"])
@pytest.mark.parametrize("microbatch", [1, 3, 10_000])
def test_micro_batches_change_nothing(tiny_policy, batch, microbatch, average):
    one, other = copy.deepcopy(tiny_policy), copy.deepcopy(tiny_policy)
    for policy, size in ((one, 5), (other, microbatch)):
        trainer = Trainer(policy, replace(SETTINGS, microbatch=size, average=average))
        trainer._gradient(batch, np.arange(13), token_weights(batch.mask, batch.episode, average), 0.8, "")
    assert (gradient_of(one) - gradient_of(other)).norm() < 1e-6 * gradient_of(one).norm()


def test_masked_tokens_do_not_matter(tiny_policy, batch):
    """Neither what was sampled after the end, nor how likely it was, changes the new weights."""
    one, other = copy.deepcopy(tiny_policy), copy.deepcopy(tiny_policy)
    Trainer(one, SETTINGS).fit(batch, 0.8, seed=1)
    assert (~batch.mask).any()
    tokens = np.where(batch.mask, batch.tokens, 0).astype(np.int16)
    changed = replace(batch, tokens=tokens, logprob=np.where(batch.mask, batch.logprob, -3).astype(np.float32))
    Trainer(other, SETTINGS).fit(changed, 0.8, seed=1)
    assert all(torch.equal(a, b) for a, b in zip(weights_of(one), weights_of(other), strict=True))


def test_two_updates_in_one_go_equal_one_reload_and_another(tiny_policy, batch, tmp_path: Path):
    straight = copy.deepcopy(tiny_policy)
    settings = replace(SETTINGS, max_logprob_gap=1e9)
    trainer = Trainer(straight, settings)
    trainer.fit(batch, 0.8, seed=1)
    trainer.saver()(tmp_path)
    trainer.fit(batch, 0.8, seed=2)
    assert (tmp_path / STATE_FILE).is_file()
    reloaded = load_policy(tmp_path)
    Trainer(reloaded, settings, tmp_path).fit(batch, 0.8, seed=2)
    assert all(torch.equal(a, b) for a, b in zip(weights_of(straight), weights_of(reloaded), strict=True))
    forgetful = load_policy(tmp_path)
    Trainer(forgetful, settings).fit(batch, 0.8, seed=2)
    assert not all(torch.equal(a, b) for a, b in zip(weights_of(straight), weights_of(forgetful), strict=True))


def test_another_policy_is_refused_before_the_first_step(tiny_policy, batch):
    with torch.no_grad():
        tiny_policy.module.head.bias += torch.linspace(0, 0.1, len(tiny_policy.module.head.bias))
    before = weights_of(tiny_policy)
    with pytest.raises(UserError, match="collected with another policy"):
        Trainer(tiny_policy, SETTINGS).fit(batch, 0.8, seed=0)
    assert all(torch.equal(a, b) for a, b in zip(before, weights_of(tiny_policy), strict=True))


def test_how_far_off_is_another_policy_depends_on_the_precision(tiny_policy, batch):
    assert logprob_tolerance(tiny_policy.module) == 1e-3
    off = replace(batch, logprob=batch.logprob + 0.05)
    with pytest.raises(UserError, match="collected with another policy"):
        Trainer(copy.deepcopy(tiny_policy), SETTINGS).fit(off, 0.8, seed=0)
    health = Trainer(copy.deepcopy(tiny_policy), replace(SETTINGS, max_logprob_gap=0.1)).fit(off, 0.8, seed=0)
    assert health["first_logprob_gap"] == pytest.approx(0.05, abs=1e-4)
    assert health["first_ratio_deviation"] == pytest.approx(1 - np.exp(-0.05), abs=1e-4)
    assert logprob_tolerance(tiny_policy.module.bfloat16()) == 0.2


def test_it_stops_where_the_policy_has_gone_far_enough(tiny_policy, batch):
    far = Trainer(copy.deepcopy(tiny_policy), SETTINGS).fit(batch, 0.8, seed=3)
    stopping = copy.deepcopy(tiny_policy)
    health = Trainer(stopping, replace(SETTINGS, max_kl=1e-7)).fit(batch, 0.8, seed=3)
    assert (health["stopped_early"], health["optimizer_steps"]) == (1, 1)
    assert (far["stopped_early"], far["optimizer_steps"]) == (0, 2 * -(-len(batch) // 16))
    whole = copy.deepcopy(tiny_policy)
    assert Trainer(whole, replace(SETTINGS, max_kl=1e3)).fit(batch, 0.8, seed=3)["approx_kl"] == far["approx_kl"]
    assert not all(torch.equal(a, b) for a, b in zip(weights_of(stopping), weights_of(whole), strict=True))


def test_a_loss_that_is_not_finite_names_the_minibatch(tiny_policy, batch):
    with pytest.raises(UserError, match=r"minibatch 2 of \d+ in epoch 1"):
        Trainer(tiny_policy, replace(SETTINGS, lr=1e30)).fit(batch, 0.8, seed=0)


def test_foreign_optimizer_state(tiny_policy, batch, tmp_path: Path):
    trainer = Trainer(copy.deepcopy(tiny_policy), SETTINGS)
    trainer.fit(batch, 0.8, seed=0)
    trainer.saver()(tmp_path)
    other = type(tiny_policy)(replace(tiny_policy.config, hidden=20))
    with pytest.raises(UserError, match="belongs to another network"):
        Trainer(other, SETTINGS, tmp_path)


def test_settings_are_checked():
    wrongs = [{"epochs": 0}, {"lr": 0.0}, {"beta2": 1.0}, {"clip_low": 1.0}, {"dual_clip": 1.0}, {"max_kl": 0.0}]
    wrongs += [{"kl_coef": -1.0}, {"entropy_coef": -1.0}, {"awr_temperature": 0.0}, {"max_logprob_gap": 0.0}]
    for wrong in wrongs:
        with pytest.raises(UserError, match=next(iter(wrong))):
            TrainerSettings(**wrong)


SCRIPT = """
import sys, torch
from pathlib import Path
from data.store import RolloutStore
from stages.learning.advantages import AdvantageSettings
from stages.learning.batch import build_batch, select
from stages.learning.settings import TrainerSettings
from stages.learning.trainer import Trainer
from stages.policies.loading import load_policy
torch.set_num_threads(1)
store = RolloutStore.open(sys.argv[1])
batch = build_batch(store, select(store, "binary", AdvantageSettings()))
settings = TrainerSettings(minibatch=15, microbatch=4, lr=1e-3, average="episode")
trainer = Trainer(load_policy(sys.argv[2]), settings)
health = trainer.fit(batch, 0.8, seed=4)
if trainer.accelerator.is_main_process:
    Path(sys.argv[3]).mkdir()
    trainer.saver()(Path(sys.argv[3]))
"""


@pytest.mark.slow
def test_two_processes_equal_one(tiny_policy, tiny_folder, made_up_store, tmp_path: Path):
    store = made_up_store(tiny_policy, tiny_folder)
    script = tmp_path / "train.py"
    script.write_text(SCRIPT)
    root = Path(__file__).parents[3]
    environment = os.environ | {"PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--cpu", "--num_processes", "2", "--mixed_precision"]
    for command, out in (([sys.executable], "one"), ([*launch, "no", "--main_process_port", "0"], "two")):
        arguments = [str(script), str(store), str(tiny_folder), str(tmp_path / out)]
        subprocess.run([*command, *arguments], check=True, env=environment, timeout=120, cwd=tmp_path)
    one, two = (load_policy(tmp_path / name) for name in ("one", "two"))
    for a, b in zip(weights_of(one), weights_of(two), strict=True):
        assert (a - b).norm() <= 1e-5 * a.norm() + 1e-7


def test_the_learning_rate_falls_with_the_steps_of_all_updates():
    falling = TrainerSettings(lr=0.3, lr_half=100)
    assert [learning_rate(falling, taken) for taken in (0, 100, 200)] == pytest.approx([0.3, 0.15, 0.1])
    assert learning_rate(TrainerSettings(lr=0.3), 10_000) == 0.3
    with pytest.raises(UserError, match="lr_half"):
        TrainerSettings(lr_half=0)


def test_the_learning_rate_goes_on_falling_after_a_resume(tiny_policy, batch, tmp_path):
    settings = replace(SETTINGS, epochs=1, lr_half=2, max_logprob_gap=100.0)
    first = Trainer(tiny_policy, settings)
    first.fit(batch, 0.8, seed=0)
    steps = -(-len(batch) // settings.minibatch)
    first.saver()(tmp_path)
    again = Trainer(copy.deepcopy(tiny_policy), settings, tmp_path)
    again.fit(batch, 0.8, seed=1)
    assert again.optimizer.param_groups[0]["lr"] == pytest.approx(settings.lr / (1 + (2 * steps - 1) / 2))
