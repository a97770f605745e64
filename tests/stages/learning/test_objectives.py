"""The objective against numbers worked by hand and against loops."""

import math

import numpy as np
import pytest
import torch

from stages.learning.objectives import approximate_kl, clipped_surrogate, is_clipped, masked_sum, probability_ratio


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
    args = [torch.from_numpy(x) for x in (new, old, a)]
    loss = clipped_surrogate(*args, 0.2, 0.28, dual)
    kl = approximate_kl(*args[:2])
    stopped = is_clipped(*args, 0.2, 0.28)
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


def test_kl_estimate_is_unbiased():
    rng = np.random.default_rng(4)
    p, q = (torch.from_numpy(rng.dirichlet(np.ones(6))) for _ in range(2))
    exact = (p * (p / q).log()).sum()
    assert (p * approximate_kl(q.log(), p.log())).sum().item() == pytest.approx(exact.item(), abs=1e-12)
    assert (approximate_kl(q.log(), p.log()) >= 0).all()


def test_extreme_ratios_stay_finite_and_the_mask_hides_nan():
    new, old = torch.tensor([[0.0, -200.0]]), torch.tensor([[-200.0, 0.0]])
    for a in (1.0, -1.0):
        assert torch.isfinite(clipped_surrogate(new, old, torch.tensor([[a]]))).all()
    values = torch.tensor([[1.0, float("nan")], [2.0, 4.0]], requires_grad=True)
    total = masked_sum(values, torch.tensor([[True, False], [True, False]]))
    total.backward()
    assert total.item() == 3
    assert values.grad.tolist() == [[1, 0], [1, 0]]
