"""Clustering against scikit-learn, and the radius in many dimensions."""

import numpy as np
import pytest
from sklearn.cluster import DBSCAN
from sklearn.preprocessing import StandardScaler

from stages.progress.distances import pairwise
from stages.progress.references import dbscan, find_references, gap_radius, standardise
from stages.progress.settings import RewardSettings


@pytest.mark.parametrize("min_samples", [1, 2, 3, 5])
def test_dbscan_is_scikit_learn_s(min_samples: int) -> None:
    for seed in range(40):
        rng = np.random.default_rng(seed)
        rows = rng.normal(size=(rng.integers(1, 40), 2))
        rows = np.concatenate([rows, rows[:3]])
        ours = dbscan(pairwise(rows), 0.5, min_samples)
        np.testing.assert_array_equal(ours, DBSCAN(eps=0.5, min_samples=min_samples).fit_predict(rows))


def test_standardise_is_scikit_learn_s() -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(9, 6)) * [1, 1e-6, 1e6, 1, 1, 1] + [0, 0, 0, 1e3, 0, 0]
    rows[:, 4] = 0.1
    rows[:, 5] = 1e8 + 1e-9 * rows[:, 5]
    np.testing.assert_allclose(standardise(rows), StandardScaler().fit_transform(rows), atol=1e-9)


def test_pairwise() -> None:
    rows = np.random.default_rng(1).normal(size=(12, 50))
    np.testing.assert_allclose(pairwise(rows), np.linalg.norm(rows[:, None] - rows[None], axis=2), atol=1e-6)


def clouds(counts: list[int], dimensions: int, spread: float, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(len(counts), dimensions))
    return np.concatenate([c + spread * rng.normal(size=(n, dimensions)) for c, n in zip(centres, counts, strict=True)])


@pytest.mark.parametrize("dimensions", [8, 16, 256, 1408])
def test_clusters_are_found_in_any_number_of_dimensions(dimensions: int) -> None:
    rows = clouds([4, 5, 3], dimensions, 0.1)
    found = find_references(rows, RewardSettings())
    assert (found.clustered, len(found.centres)) == (3, 3)
    np.testing.assert_array_equal(found.member, [0] * 4 + [1] * 5 + [2] * 3)
    np.testing.assert_allclose(found.centres[1], rows[4:9].mean(axis=0))


def test_a_fixed_radius_of_half_finds_nothing_there() -> None:
    found = find_references(clouds([4, 5, 3], 1408, 0.1), RewardSettings(radius="fixed", eps=0.5))
    assert (found.clustered, found.fallback, len(found.centres)) == (0, True, 1)


@pytest.mark.parametrize("dimensions", [32, 1408])
@pytest.mark.parametrize("n", [1, 2, 3, 20, 100])
def test_one_cloud_is_one_mean(dimensions: int, n: int) -> None:
    rows = clouds([n], dimensions, 1.0, seed=n)
    found = find_references(rows, RewardSettings())
    assert found.fallback
    np.testing.assert_allclose(found.centres, [rows.mean(axis=0)])
    assert (found.member == 0).all()


def test_identical_successes_are_one_centre() -> None:
    rows = np.tile(np.random.default_rng(0).normal(size=64), (5, 1))
    for radius in ("gap", "fixed"):
        found = find_references(rows, RewardSettings(radius=radius))
        np.testing.assert_allclose(found.centres, rows[:1])


@pytest.mark.parametrize("copies", [2, 4])
def test_twins_do_not_throw_out_the_others(copies: int) -> None:
    rows = clouds([8], 256, 1.0)
    rows[:copies] = rows[0]
    found = find_references(rows, RewardSettings())
    assert (found.fallback, found.radius) == (True, None)
    np.testing.assert_allclose(found.centres, [rows.mean(axis=0)])
    fixed = find_references(rows, RewardSettings(radius="fixed"))
    np.testing.assert_array_equal(fixed.member, [0] * copies + [-1] * (8 - copies))


def test_a_lone_success_beside_clusters_is_a_choice() -> None:
    rows = clouds([4, 5, 1], 256, 0.05)
    dropped, kept = (find_references(rows, RewardSettings(noise=noise)) for noise in ("drop", "keep"))
    np.testing.assert_array_equal(dropped.member, [0] * 4 + [1] * 5 + [-1])
    np.testing.assert_array_equal(kept.member, [0] * 4 + [1] * 5 + [2])
    np.testing.assert_array_equal(kept.centres[2], rows[-1])
    assert (kept.clustered, len(dropped.centres)) == (2, 2)


def test_without_a_gap_close_pairs_in_few_dimensions_cluster() -> None:
    rows = np.array([[0.0, 0], [0.1, 0], [0.9, 1], [2.0, 2.5], [3.4, 2]])
    assert find_references(rows, RewardSettings()).radius == 0.5
    np.testing.assert_array_equal(find_references(rows, RewardSettings()).member, [0, 0, -1, -1, -1])


def test_the_gap_s_radius_lies_between_clusters() -> None:
    line = np.array([[0.0], [1], [2], [12], [13], [40]])
    radius = gap_radius(pairwise(line), RewardSettings())
    assert radius == pytest.approx(5.5)
    assert gap_radius(pairwise(line), RewardSettings(gap=11)) is None


def test_medoid_is_a_success() -> None:
    rows = clouds([5, 6], 32, 0.05)
    found = find_references(rows, RewardSettings(centre="medoid"))
    assert len(found.centres) == 2
    for centre, members in zip(found.centres, (rows[:5], rows[5:]), strict=True):
        total = [np.linalg.norm(standardise(rows)[i] - standardise(rows)[:5], axis=1).sum() for i in range(5)]
        assert (members == centre).all(axis=1).any()
        if members is rows[:5]:
            np.testing.assert_array_equal(centre, rows[int(np.argmin(total))])
