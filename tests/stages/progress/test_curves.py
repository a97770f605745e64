"""Progress curves against loops over single numbers."""

import numpy as np
import pytest

from data.errors import UserError
from stages.progress.curves import progress_curves, rises
from stages.progress.settings import PRESETS
from tests.stages.progress import slow

TASK = np.array([7, 3, 7, 3, 7, 5])
CENTRE_TASK = np.array([7, 7, 3])


@pytest.fixture
def arrays() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.normal(size=(6, 4, 5)).astype(np.float32), rng.normal(size=(3, 5))


@pytest.mark.parametrize("preset", ["paper", "siirl", "cosine"])
def test_against_loops(arrays: tuple[np.ndarray, np.ndarray], preset: str) -> None:
    prefix, centres = arrays
    found = progress_curves(prefix, TASK, centres, CENTRE_TASK, PRESETS[preset])
    measure = slow.one_minus_cosine if preset == "cosine" else slow.euclidean
    alpha = PRESETS[preset].alpha
    for task in (7, 3):
        places = [(i, k) for i in range(6) if TASK[i] == task for k in range(4)]
        own = [[float(x) for x in centres[c]] for c in range(3) if CENTRE_TASK[c] == task]
        distance = [min(measure([float(x) for x in prefix[i, k]], centre) for centre in own) for i, k in places]
        for (i, k), score in zip(places, slow.scores(distance, preset), strict=True):
            assert found[i, k] == pytest.approx(score / alpha, abs=1e-9)
    assert (found[5] == 0).all(), "no success of that task, here or remembered"


def test_a_distance_that_is_not_finite_is_refused(arrays: tuple[np.ndarray, np.ndarray]) -> None:
    prefix, centres = arrays
    prefix[1, 2] = 0.0
    with np.errstate(invalid="ignore"), pytest.raises(UserError, match="prefixes of task 3"):
        progress_curves(prefix, TASK, centres, CENTRE_TASK, PRESETS["cosine"])


def test_rises_by_hand() -> None:
    """Known at control steps 2, 6 and 10: level before 2, half way from 0.1 to 0.5 at 4, from 0.5 to 0.3 at 8."""
    found = rises(np.array([0.1, 0.5, 0.3]), np.array([2, 6, 10]), np.array([0, 4, 8, 10]))
    np.testing.assert_allclose(found, [0.2, 0.1, -0.1], atol=1e-12)
