"""The objective against numbers worked by hand and against loops."""

import math

import numpy as np
import pytest
import torch

from stages.learning.objectives import (
    clipped_surrogate,
    exact_kl,
    is_clipped,
    k1,
    k2,
    k3,
    masked_sum,
    probability_ratio,
    regression_weight,
)


def tensors(*values: float) -> list[torch.Tensor]:
    return [torch.tensor([[v]], dtype=torch.float64) for v in values]


@pytest.mark.parametrize(
    ("ratio", "advantage", "dual_clip", "loss"),
    [
        (1.5, 0.768332, None, -0.983465),
        (1.1, 0.768332, None, -0.845165),
        (0.7, -0.254811, None, 0.203849),
        (5.0, -1.753933, None, 8.769665),
        (5.0, -1.753933, 1e4, 8.769665),
        (5.0, -1.753933, 3.0, 5.261799),
        (0.7, 0.5, 3.0, -0.35),
        (1.1, -0.5, 3.0, 0.55),
    ],
)
def test_worked_token_losses(ratio, advantage, dual_clip, loss):
    new, old, a = tensors(math.log(ratio) - 1.3, -1.3, advantage)
    assert clipped_surrogate(new, old, a, dual_clip=dual_clip).item() == pytest.approx(loss, abs=1e-6)


def slow(new: float, old: float, a: float, low: float, high: float, dual: float | None) -> tuple[float, float, bool]:
    ratio = math.exp(new - old)
    candidates = [ratio * a, min(max(ratio, 1 - low), 1 + high) * a]
    loss = -min(candidates)
    if dual is not None and a < 0:
        loss = min(loss, -dual * a)
    stopped = (a > 0 and ratio > 1 + high) or (a < 0 and ratio < 1 - low)
    return loss, ratio - 1 - math.log(ratio), stopped


@pytest.mark.parametrize("dual", [None, 1.5])
def test_against_loops(dual):
    rng = np.random.default_rng(2)
    old = -rng.exponential(2, (6, 9))
    new = old + rng.normal(0, 0.6, (6, 9))
    a = rng.normal(size=(6, 1))
    logprob, before, advantage = (torch.from_numpy(x) for x in (new, old, a))
    loss = clipped_surrogate(logprob, before, advantage, 0.2, 0.28, dual)
    kl = k3(before, logprob)
    stopped = is_clipped(logprob, before, advantage, 0.2, 0.28)
    for i in range(6):
        for j in range(9):
            want = slow(new[i, j], old[i, j], a[i, 0], 0.2, 0.28, dual)
            assert loss[i, j].item() == pytest.approx(want[0], abs=1e-12)
            assert kl[i, j].item() == pytest.approx(want[1], abs=1e-12)
            assert stopped[i, j].item() == want[2]


def test_a_stopped_token_has_no_gradient_and_any_other_has():
    rng = np.random.default_rng(3)
    old = torch.from_numpy(-rng.exponential(2, (50, 4)))
    new = (old + torch.from_numpy(rng.normal(0, 0.6, (50, 4)))).requires_grad_()
    a = torch.from_numpy(rng.normal(size=(50, 1)))
    clipped_surrogate(new, old, a).sum().backward()
    stopped = is_clipped(new, old, a)
    assert stopped.any()
    assert torch.equal(new.grad == 0, stopped)
    expected = -(probability_ratio(new, old) * a)
    torch.testing.assert_close(new.grad[~stopped], expected[~stopped].detach())


def test_kl_estimators_against_loops():
    rng = np.random.default_rng(7)
    p, q = (rng.dirichlet(np.ones(6), (4, 5)) for _ in range(2))
    token = rng.integers(6, size=(4, 5))
    new, reference = (np.log(np.take_along_axis(x, token[..., None], -1)[..., 0]) for x in (p, q))
    found = [k(torch.from_numpy(new), torch.from_numpy(reference)) for k in (k1, k2, k3)]
    exact = exact_kl(torch.from_numpy(np.log(p)), torch.from_numpy(np.log(q)))
    for i in range(4):
        for j in range(5):
            ratio = q[i, j, token[i, j]] / p[i, j, token[i, j]]
            want = -math.log(ratio), math.log(ratio) ** 2 / 2, ratio - 1 - math.log(ratio)
            assert [k[i, j].item() for k in found] == pytest.approx(want, abs=1e-12)
            divergence = sum(p[i, j, b] * math.log(p[i, j, b] / q[i, j, b]) for b in range(6))
            assert exact[i, j].item() == pytest.approx(divergence, abs=1e-12)


def test_k1_and_k3_are_unbiased_and_k2_has_the_gradient():
    """Over every token, each as often as the policy samples it."""
    rng = np.random.default_rng(4)
    q = torch.from_numpy(rng.dirichlet(np.ones(6)))
    logits = torch.from_numpy(rng.normal(size=6)).requires_grad_()
    log_p = logits.log_softmax(0)
    p, exact = log_p.detach().exp(), exact_kl(log_p, q.log())
    for k in (k1, k3):
        assert (p * k(log_p, q.log())).sum().item() == pytest.approx(exact.item(), abs=1e-12)
    assert (k3(log_p, q.log()) >= 0).all()

    def gradient(loss: torch.Tensor) -> torch.Tensor:
        return torch.autograd.grad(loss, logits, retain_graph=True)[0]

    torch.testing.assert_close(gradient((p * k2(log_p, q.log())).sum()), gradient(exact))
    torch.testing.assert_close(gradient((p * k1(log_p, q.log())).sum()), torch.zeros_like(logits))


def test_a_token_that_is_never_produced_adds_nothing_to_the_divergence():
    logits = torch.tensor([[0.3, -0.2, -1e9], [1.0, 0.1, -1e9]], dtype=torch.float64)
    with_it, without = logits.log_softmax(-1), logits[:, :2].log_softmax(-1)
    assert exact_kl(*with_it).item() == pytest.approx(exact_kl(*without).item(), abs=1e-12)


def test_regression_weights():
    weight = regression_weight(torch.tensor([-2.0, 0.0, 1.0, 1e4], dtype=torch.float64), 0.5, 20.0)
    assert weight.tolist() == pytest.approx([math.exp(-4), 1, math.exp(2), 20], abs=1e-12)


def test_extreme_ratios_stay_finite_and_the_mask_hides_nan():
    new, old = torch.tensor([[0.0, -200.0]]), torch.tensor([[-200.0, 0.0]])
    for a in (1.0, -1.0):
        assert torch.isfinite(clipped_surrogate(new, old, torch.tensor([[a]]))).all()
    values = torch.tensor([[1.0, float("nan")], [2.0, 4.0]], requires_grad=True)
    total = masked_sum(values, torch.tensor([[True, False], [True, False]]))
    total.backward()
    assert total.item() == 3
    assert values.grad.tolist() == [[1, 0], [1, 0]]
