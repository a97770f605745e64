"""Advantages of single queries from progress curves: no critic, no other episodes of the group.

Shapes: M queries.
"""

from dataclasses import replace

import numpy as np

from data.errors import UserError
from stages.learning.advantages import AdvantageSettings
from stages.learning.batch import Batch
from stages.policies.base import Policy


def curve_advantages(
    batch: Batch, outcome: np.ndarray, policy: Policy, settings: AdvantageSettings, seed: int
) -> tuple[Batch, dict[str, float]]:
    """The batch with A = (D - mean) / std for every query, D how much the progress curve rises over its chunk, mean and
    standard deviation over all queries of all episodes (arXiv 2511.15605, Eq. 15).

    Returns:
        The batch, and {curve_rise: the mean of D}.

    Raises:
        UserError: the reward has no curves, or none that rises or falls.
    """
    if batch.rise is None:
        raise UserError(
            "this algorithm learns from progress curves, which the reward has not: `srpo encode --set prefixes=16`,"
            " then `srpo reward` with a distance between embeddings (--preset paper)"
        )
    rise = batch.rise.astype(np.float64)
    spread = float(rise.std())
    if spread == 0:
        raise UserError("no progress curve rises or falls: nothing to learn from; are there successes?")
    advantage = (rise - rise.mean()) / spread
    return replace(batch, advantage=advantage.astype(np.float32)), {"curve_rise": float(rise.mean())}
