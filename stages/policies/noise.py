"""The random numbers of an episode: a function of its seed and the query alone, so that no scheduling changes them."""

import numpy as np


def query_noise(seed: int, query: int, size: int) -> np.ndarray:
    """Uniform numbers in [0, 1) that sample the tokens of one policy query.

    Args:
        seed: the episode's seed, >= 0.
        query: the index of the query within the episode, >= 0.
        size: how many, one a token.

    Returns:
        (size,) f64.
    """
    return np.random.Generator(np.random.Philox(key=[seed, query])).random(size)
