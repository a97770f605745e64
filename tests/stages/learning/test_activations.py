"""What waits for the backward pass: how much, where, and that gradients do not notice."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from stages.learning.activations import FRUGAL, Activations, activations_of
from stages.policies.base import blocks_of
from stages.policies.mini import MiniConfig, MiniPolicy

LAYERS, WIDTH, ROWS = 3, 8, 5


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner, self.outer = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)
        self.calls = 0

    def forward(self, x: Tensor, scale: float = 1.0) -> Tensor:
        self.calls += 1
        return x + scale * self.outer(torch.tanh(self.inner(x)))


class Row(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block() for _ in range(LAYERS))

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x, scale=0.5)
        return x


@pytest.fixture
def row() -> Row:
    torch.manual_seed(0)
    return Row()


@contextmanager
def counted() -> Iterator[list[Tensor]]:
    """What autograd saves within, of whole rows."""
    saved: list[Tensor] = []

    def pack(x: Tensor) -> Tensor:
        saved.append(x)
        return x

    with saved_tensors_hooks(pack, lambda x: x):
        yield saved


def gradient(row: Row, how: Activations, **more: Any) -> Tensor:
    row.zero_grad()
    x = torch.linspace(-1, 1, ROWS * WIDTH).view(ROWS, WIDTH).requires_grad_()
    with activations_of(row, blocks_of(row), how, **more):
        row(x).square().sum().backward()
    return torch.cat([value.grad.flatten() for value in (x, *row.parameters()) if value.grad is not None])


@pytest.mark.parametrize("how", FRUGAL)
def test_gradients_are_those_of_finite_differences(row: Row, how: Activations) -> None:
    row.double()
    x = torch.randn(ROWS, WIDTH, dtype=torch.float64, requires_grad=True)
    with activations_of(row, blocks_of(row), how):
        assert torch.autograd.gradcheck(row, (x,))
    assert row(x).requires_grad


def test_all_ways_give_the_same_gradient_bit_for_bit(row: Row) -> None:
    keep, recompute, offload = (gradient(row, how) for how in FRUGAL)
    assert torch.equal(keep, recompute) and torch.equal(keep, offload)


@pytest.mark.parametrize(("how", "calls"), [("keep", 1), ("recompute", 2), ("offload", 2)])
def test_blocks_are_computed_again(row: Row, how: Activations, calls: int) -> None:
    gradient(row, how)
    assert [block.calls for block in row.blocks] == [calls] * LAYERS
    row(torch.ones(1, WIDTH))
    assert [block.calls for block in row.blocks] == [calls + 1] * LAYERS


def test_only_inputs_of_blocks_are_kept_and_offload_sends_them_away(row: Row) -> None:
    away: list[Tensor] = []

    def elsewhere() -> AbstractContextManager[Any]:
        return saved_tensors_hooks(lambda x: away.append(x) or len(away) - 1, lambda i: away[i])

    with counted() as all_of_them:
        gradient(row, "keep")
    with counted() as inputs:
        gradient(row, "recompute")
    with counted() as nothing:
        gradient(row, "offload", away=elsewhere)
    wide = [x for x in all_of_them if x.shape == (ROWS, 4 * WIDTH)]
    assert len(wide) >= LAYERS and not [x for x in inputs if x.shape == (ROWS, 4 * WIDTH)]
    kept = [x for x in away if x.shape == (ROWS, WIDTH)]
    assert len(kept) == LAYERS and len(inputs) - len(nothing) == len(away)


def test_without_gradients_nothing_is_done(row: Row) -> None:
    with torch.no_grad(), activations_of(row, blocks_of(row), "recompute"):
        row(torch.ones(1, WIDTH))
    assert [block.calls for block in row.blocks] == [1] * LAYERS


def test_a_network_without_blocks_is_left_alone() -> None:
    policy = MiniPolicy(MiniConfig())
    assert policy.blocks() == []
    with activations_of(policy.module, policy.blocks(), "recompute"):
        assert "forward" not in vars(policy.module)
