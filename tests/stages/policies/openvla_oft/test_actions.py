"""Bins, ranges and the gripper against vectors worked by hand from the published formulas."""

import numpy as np
import pytest

from stages.policies.openvla_oft.actions import Range, decode, encode, tokens_of, values_of
from tests.stages.policies.openvla_oft.tiny import QUANTILES

SPAN = Range(np.array(QUANTILES["q01"]), np.array(QUANTILES["q99"]), np.array([True] * 6 + [False]))


def test_values_of_ids():
    """c_k = -1 + (2k + 1)/255 with k = clip(31999 - id, 0, 254)."""
    ids = np.array([31744, 31745, 31746, 31808, 31809, 31872, 31998, 31999])
    expected = np.array([254 / 255, 254 / 255, 252 / 255, 128 / 255, 126 / 255, 0, -252 / 255, -254 / 255])
    np.testing.assert_allclose(values_of(ids - 31744), expected, atol=1e-12)


def test_ids_of_values():
    """id = 32000 - digitize(value, linspace(-1, 1, 256)): edges lie at -1 + 2k/255."""
    values = np.array([-2.0, -1.0, -0.9999, -1 + 2 / 255 + 1e-9, 0.0, 0.99999, 1.0, 3.0])
    assert (tokens_of(values) + 31744).tolist() == [31999, 31999, 31999, 31998, 31872, 31745, 31744, 31744]
    assert tokens_of(values).dtype == np.int16


def test_every_token_but_the_first_comes_back():
    tokens = np.arange(256)
    assert tokens_of(values_of(tokens)).tolist() == [1, *range(1, 256)]


def test_unnormalised_actions():
    """a = (x + 1)/2 (q99 - q01) + q01: the middle token gives the middle of the range, the ends nearly its ends."""
    middle = decode(np.full(56, 31872 - 31744), SPAN)
    np.testing.assert_allclose(middle[0, :6], [0, 0, 0.35, 0, 0.05, 0.1], atol=1e-6)
    highest = decode(np.zeros(56, np.int64), SPAN)
    expected = [254 / 255, 0.5 * 254 / 255, 0.35 + 0.55 * 254 / 255, 0.1 * 254 / 255]
    np.testing.assert_allclose(highest[7, :4], expected, atol=1e-6)
    assert highest.shape == (8, 7) and highest.dtype == np.float32


def test_gripper():
    """Ids 31744 to 31808 open (-1), 31809 to 31999 close (+1)."""
    tokens = np.zeros((256, 7), np.int64)
    tokens[:, 6] = np.arange(256)
    grip = decode(tokens.reshape(-1), SPAN)[:, 6]
    assert (grip[:65] == -1).all() and (grip[65:] == 1).all()
    actions = np.zeros((2, 7))
    actions[:, 6] = [-1, 1]
    assert (encode(actions, SPAN).reshape(2, 7)[:, 6] + 31744).tolist() == [31744, 31872]
    assert decode(encode(actions, SPAN), SPAN)[:, 6].tolist() == [-1, 1]


def test_nearest_tokens_of_actions():
    rng = np.random.default_rng(0)
    low, high = SPAN.low, SPAN.high
    actions = rng.uniform(np.maximum(low, -1), np.minimum(high, 1), (50, 8, 7))
    tokens = encode(actions, SPAN)
    assert tokens.shape == (50, 56)
    error = np.abs(decode(tokens, SPAN) - actions)[..., :6]
    assert (error <= (high - low)[:6] / 255 / 2 * 1.0001 + 1e-6).all()
    assert np.array_equal(encode(decode(tokens, SPAN), SPAN), np.where(tokens == 0, 1, tokens))


@pytest.mark.parametrize("shape", [(56,), (3, 56), (2, 3, 56)])
def test_leading_axes(shape: tuple[int, ...]):
    tokens = np.random.default_rng(0).integers(1, 256, shape)
    assert decode(tokens, SPAN).shape == (*shape[:-1], 8, 7)
    assert encode(decode(tokens, SPAN), SPAN).shape == shape
