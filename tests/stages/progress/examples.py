"""Worked examples: embeddings, who succeeded, and the numbers that two hand-written programs agreed on."""

import numpy as np

SIX = np.array(
    [
        [1, 0, 2, -1],
        [1.2, 0.1, 2.1, -0.9],
        [3, 1, 0, 0.5],
        [0.5, 0.2, 1.5, -1],
        [2, -0.5, 1, 0],
        [4, 3, -2, 2],
    ]
)
EIGHT = np.array(
    [
        [0, 0, 0, 0],
        [0.1, 0, 0.1, 0],
        [5, 5, 0, 0],
        [5.1, 5, 0.1, 0],
        [9, -9, 3, 1],
        [0.5, 0.5, 0, 0],
        [4, 4, 1, 0],
        [9, -8, 3, 1],
    ]
)

WON = {
    "some cluster": (SIX, [0, 1, 2]),
    "nothing clusters": (SIX, [0, 2]),
    "one success": (SIX, [0]),
    "one failure": (SIX, [0, 1, 2, 3, 4]),
    "none succeed": (SIX, []),
    "all succeed": (SIX, [0, 1, 2, 3, 4, 5]),
    "two clusters and noise": (EIGHT, [0, 1, 2, 3, 4]),
}
"""example -> (N, D) rows and the successes among them; all of one task and one group"""

DISTANCE = {
    "some cluster": [0.829156, 1.765644, 6.497500],
    "nothing clusters": [1.559647, 1.775528, 1.030776, 4.930771],
    "one success": [0.264575, 3.354102, 0.734847, 1.802776, 6.557439],
    "one failure": [6.4975],
    "two clusters and noise": [0.674537, 1.733494, 12.401814],
}
"""L2 of the failures, in their order"""

REWARD = {
    ("some cluster", "siirl"): [0.595984, 0.579621, 0.004016],
    ("some cluster", "paper"): [0.566682, 0.499832, 0.158593],
    ("some cluster", "squared"): [0.546815, 0.524219, 0.156698],
    ("some cluster", "cosine"): [0.576627, 0.485535, 0.160457],
    ("nothing clusters", "siirl"): [0.584710, 0.573896, 0.595984, 0.004016],
    ("nothing clusters", "paper"): [0.497965, 0.471001, 0.559757, 0.123088],
    ("nothing clusters", "squared"): [0.507866, 0.493818, 0.533796, 0.120804],
    ("one success", "siirl"): [0.595984, 0.313555, 0.591584, 0.556771, 0.004016],
    ("one success", "paper"): [0.585359, 0.329290, 0.551322, 0.464603, 0.116635],
    ("one failure", "siirl"): [0.3],
    ("one failure", "paper"): [0.4],
    ("none succeed", "siirl"): [0.0] * 6,
    ("none succeed", "paper"): [0.0] * 6,
    ("all succeed", "siirl"): [],
    ("all succeed", "paper"): [],
    ("two clusters and noise", "siirl"): [0.595984, 0.590190, 0.004016],
    ("two clusters and noise", "paper"): [0.552786, 0.517399, 0.157051],
}
"""(example, preset) -> rewards of the failures; `squared` is paper with squared distances"""

CODE_ADVANTAGE = {
    "some cluster": [0.768332, 0.768332, 0.768332, -0.254811, -0.296251, -1.753933],
    "one success": [1.475172, 0.258070, -0.592752, 0.244814, 0.139939, -1.525243],
    "one failure": [0.408247] * 5 + [-2.041234],
    "none succeed": [0.0] * 6,
    "all succeed": [0.0] * 6,
}
"""of the siirl rewards, sample standard deviation"""

PAPER_ADVANTAGE = {"some cluster": [0.919599, 0.919599, 0.919599, -0.427454, -0.635270, -1.696074]}
"""of the paper rewards, population standard deviation"""


def success(example: str) -> np.ndarray:
    """(N,) bool."""
    rows, won = WON[example]
    return np.isin(np.arange(len(rows)), won)
