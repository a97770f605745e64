"""What passes between a simulated episode and a policy: a question with pictures, an answer with actions.

Both sides read this page and nothing of each other. Legend: C actions a chunk, H x W pixels, P proprioception size.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class Query:
    """An episode asks for its next actions."""

    episode: int
    """index of the episode in its plan"""
    number: int
    """which query of the episode, from 0"""
    images: Mapping[str, np.ndarray]
    """camera -> (H, W, 3) uint8, upright"""
    proprio: np.ndarray
    """(P,) float32: hand position (m), its axis-angle (rad), finger positions (m)"""


@dataclass(frozen=True)
class Answer:
    """The actions to take, and what is to be recorded about them."""

    actions: np.ndarray
    """(C, 7) float32, LIBERO's actions: six delta-pose values in [-1, 1] and a gripper (-1 opens, +1 closes)"""
    record: Mapping[str, np.ndarray] = field(default_factory=dict)
    """name -> array of this query, stacked over the episode and stored (`tokens`, `logprob`)"""


Decide = Callable[[Sequence[Query]], Sequence[Answer]]
"""Answers a batch of queries, in their order."""
