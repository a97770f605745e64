"""How the losses of single tokens become one loss. Pure numpy.

The loss of a minibatch is a weighted mean over its executed tokens, sum(w L) / sum(w). The weights are known before any
forward pass, so that neither micro-batches nor processes change the mean.

Shapes: M queries of a batch, n action tokens a query.
"""

from typing import Literal

import numpy as np

Average = Literal["token", "query", "episode"]


def token_weights(mask: np.ndarray, episode: np.ndarray, average: Average) -> np.ndarray:
    """The weight of each executed token, the same for all of a query.

    - token: 1. All tokens alike, so that long episodes count more (DAPO, arXiv 2503.14476, section 3.3).
    - query: 1 / (executed tokens of the query). The mean over each query, then over queries.
    - episode: 1 / (executed tokens of the episode in the whole batch). Over a minibatch that is the whole batch it is
      the mean over each episode, then over episodes (GRPO's loss, arXiv 2402.03300, Eq. 3); in a smaller one an episode
      counts by the share of its tokens that is there.

    Args:
        mask: (M, n) bool, executed; some of every query. episode: (M,) int >= 0.

    Returns:
        (M,) f64.
    """
    executed = mask.sum(1)
    if average == "query":
        return 1 / executed
    if average == "episode":
        return 1 / np.bincount(episode, executed)[episode]
    return np.ones(len(mask))
