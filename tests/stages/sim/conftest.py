"""A pool of two workers, and a store that it has filled undisturbed."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from stages.sim.workers.pool import Pool
from tests.stages.sim.pools import STARTS, decide, new_job


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    with Pool(2, slots=2) as made:
        yield made


@pytest.fixture(scope="module")
def whole(pool: Pool, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store that an undisturbed pool has filled."""
    path = tmp_path_factory.mktemp("pool") / "whole.zarr"
    report = pool.run(new_job(path), STARTS, decide)
    assert (report.episodes, report.queries, report.steps) == (6, 18, 120)
    assert not report.retries
    assert report.summary()["queries_per_batch"] == 18 / report.batches
    return path
