"""Action tokens and LIBERO's actions.

A token is j = id - 31744, the place of its id among the last 256 of the vocabulary; the higher it is, the lower the
value (prismatic/vla/action_tokenizer.py:38-68 in moojink/openvla-oft@213c5ff). Values in [-1, 1] stand for the range
q01 to q99 of the training data (modeling_prismatic.py:772-791), except the gripper's, which is 0 closed to 1 open there
and -1 open, +1 closed in LIBERO (run_libero_eval.py:265-275).

Shapes: C actions a chunk, A = 7 dimensions.
"""

from dataclasses import dataclass

import numpy as np

from stages.policies.base import ACTION_DIM
from stages.policies.openvla_oft.network import BINS

EDGES = np.linspace(-1, 1, BINS)
CENTRES = (EDGES[:-1] + EDGES[1:]) / 2
"""(255,): the first two tokens share the highest"""
TINY = 1e-8
"""added to a range, as in the reference, so that an empty one divides"""


@dataclass(frozen=True)
class Range:
    """What -1 and 1 stand for, a value a dimension: (P,) f64 each."""

    low: np.ndarray
    """the data's first percentile, q01"""
    high: np.ndarray
    """the 99th, q99"""
    mask: np.ndarray
    """bool: false where values are taken as they are"""

    def normalise(self, x: np.ndarray) -> np.ndarray:
        """Data (..., P) -> (..., P) f64, clipped to [-1, 1]."""
        unit = 2 * (np.asarray(x, np.float64) - self.low) / (self.high - self.low + TINY) - 1
        return np.clip(np.where(self.mask, unit, x), -1, 1)

    def restore(self, x: np.ndarray) -> np.ndarray:
        """Values in [-1, 1] (..., P) -> data (..., P) f64."""
        data = 0.5 * (np.asarray(x, np.float64) + 1) * (self.high - self.low + TINY) + self.low
        return np.where(self.mask, data, x)


def tokens_of(values: np.ndarray) -> np.ndarray:
    """The bins of values (...,), clipped to [-1, 1]: (...,) i16 in [0, 255]."""
    return (BINS - np.digitize(np.clip(values, -1, 1), EDGES)).astype(np.int16)


def values_of(tokens: np.ndarray) -> np.ndarray:
    """The centres of tokens (...,): (...,) f64."""
    return CENTRES[np.clip(BINS - 1 - np.asarray(tokens, np.int64), 0, BINS - 2)]


def encode(actions: np.ndarray, span: Range) -> np.ndarray:
    """LIBERO's actions (..., C, A) -> tokens (..., C*A) i16; the gripper's sign decides between its ends."""
    data = np.array(actions, np.float64)
    data[..., -1] = data[..., -1] <= 0
    tokens = tokens_of(span.normalise(data))
    return tokens.reshape(*tokens.shape[:-2], -1)


def decode(tokens: np.ndarray, span: Range) -> np.ndarray:
    """Tokens (..., C*A) -> LIBERO's actions (..., C, A) f32 in [-1, 1], the gripper -1 (open) or 1."""
    actions = span.restore(values_of(tokens).reshape(*tokens.shape[:-1], -1, ACTION_DIM))
    actions[..., -1] = np.where(actions[..., -1] > 0.5, -1, 1)
    return np.clip(actions, -1, 1).astype(np.float32)
