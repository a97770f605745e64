"""Sampling: the inverse CDF, its edges, and the noise it is fed."""

import numpy as np

from stages.policies.base import MASKED, choose
from stages.policies.noise import query_noise


def log_softmax(logits: np.ndarray) -> np.ndarray:
    return (logits - np.logaddexp.reduce(logits, -1, keepdims=True)).astype(np.float32)


def test_frequencies_follow_the_distribution():
    p = np.array([0.5, 0.2, 0.0, 0.3])
    log_p = np.log(np.maximum(p, 1e-300)).astype(np.float32)
    u = (np.arange(1000) + 0.5) / 1000
    tokens = choose(np.tile(log_p, (1000, 1)), 1.0, u)
    assert np.bincount(tokens, minlength=4).tolist() == [500, 200, 0, 300]


def test_a_token_of_probability_zero_is_never_chosen():
    log_p = log_softmax(np.array([[MASKED, 0.3, MASKED, 1.0, MASKED]]))
    for u in (0.0, np.nextafter(0, 1), 0.5, np.nextafter(1, 0)):
        assert choose(log_p, 1.0, np.array([u]))[0] in (1, 3)


def test_the_ends_of_the_interval_give_the_first_and_last_token():
    rng = np.random.default_rng(0)
    log_p = log_softmax(rng.normal(size=(2000, 41)))
    assert (choose(log_p, 1.0, np.zeros(2000)) == 0).all()
    assert (choose(log_p, 1.0, np.full(2000, np.nextafter(1, 0))) == 40).all()


def test_against_a_slow_search():
    rng = np.random.default_rng(1)
    log_p, u = log_softmax(rng.normal(size=(300, 41))), rng.random(300)
    slow = []
    for row, x in zip(np.exp(log_p.astype(np.float64)), u, strict=True):
        token, left = 0, x * row.sum()
        while left >= row[token]:
            left -= row[token]
            token += 1
        slow.append(token)
    assert choose(log_p, 0.6, u).tolist() == slow


def test_noise_depends_on_seed_and_query_only():
    assert np.array_equal(query_noise(5, 2, 56), query_noise(5, 2, 56))
    assert np.array_equal(query_noise(5, 2, 56)[:7], query_noise(5, 2, 7))
    a, b, c = query_noise(5, 2, 56), query_noise(5, 3, 56), query_noise(6, 2, 56)
    assert not np.array_equal(a, b)
    assert not np.array_equal(a, c)
    assert a.dtype == np.float64
    assert a.min() >= 0
    assert a.max() < 1
