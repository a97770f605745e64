"""Distances of paths: against loops over single moments, and what tempo and progress should do to them."""

from collections.abc import Callable

import numpy as np
import pytest

from data.errors import UserError
from stages.progress.paths import PATH_DISTANCES, compare


def _of_paths(name: str) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    return lambda moments, references: PATH_DISTANCES[name](compare(moments, references))


MEASURES = {name: _of_paths(name) for name in PATH_DISTANCES}
dtw, remaining, furthest, open_end = (MEASURES[name] for name in ("dtw", "remaining", "furthest", "open end"))


def random_paths(seed: int, n: int = 6, m: int = 5, d: int = 4) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, m, d)).cumsum(axis=1).astype(np.float32)


def gap(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.sqrt(sum((float(x) - float(y)) ** 2 for x, y in zip(a, b, strict=True))))


def lengths(path: np.ndarray) -> list[float]:
    return [gap(path[k], path[k + 1]) for k in range(len(path) - 1)]


def scale(references: np.ndarray) -> float:
    return float(np.median([sum(lengths(reference)) for reference in references]))


def matchings(rows: int, columns: int, start: int = 0) -> list[list[int]]:
    """Every way to give each row a column, none left of the one before, the first row at the first column."""
    if rows == 1:
        return [[start]]
    return [[start, *rest] for column in range(start, columns) for rest in matchings(rows - 1, columns, column)]


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("m", [3, 5, 6])
class TestLoops:
    """Episodes of m moments against two references of 5."""

    def test_dtw_is_the_least_over_all_matchings(self, seed: int, m: int) -> None:
        paths, references = random_paths(seed, m=m), random_paths(seed + 50, n=2)
        costs = [
            [min(sum(gap(r[k], path[j]) for k, j in enumerate(way)) / 5 for r in references) for way in matchings(5, m)]
            for path in paths
        ]
        np.testing.assert_allclose(dtw(paths, references), np.min(costs, axis=1) / scale(references))

    def test_open_end_is_after_the_end_of_the_best_of_all_matchings(self, seed: int, m: int) -> None:
        paths, references = random_paths(seed, m=m), random_paths(seed + 50, n=2)
        for path, found in zip(paths, open_end(paths, references), strict=True):
            _, r, end = min(
                (sum(gap(reference[k], path[j]) for j, k in enumerate(way)), r, way[-1])
                for r, reference in enumerate(references)
                for way in matchings(m, 5)
            )
            steps = lengths(references[r])
            assert found == pytest.approx(sum(steps[end:]) / sum(steps))

    def test_remaining_is_the_way_to_the_nearest_moment_and_on(self, seed: int, m: int) -> None:
        paths, references = random_paths(seed, m=m), random_paths(seed + 50, n=2)

        def to_go(moment: np.ndarray) -> float:
            ways = []
            for reference in references:
                off, nearest = min((gap(moment, reference[k]), k) for k in range(5))
                ways.append(off + sum(lengths(reference)[nearest:]))
            return min(ways) / scale(references)

        each = np.array([[to_go(moment) for moment in path] for path in paths])
        np.testing.assert_allclose(remaining(paths, references), each[:, -1])
        np.testing.assert_allclose(furthest(paths, references), each.min(axis=1))


def curve(share: np.ndarray, d: int = 300) -> np.ndarray:
    """Points of a smooth curve in d dimensions at shares (...) of its length: (..., d)."""
    turns = np.stack([np.cos(2 * share), np.sin(2 * share), share], axis=-1)
    frame = np.linalg.qr(np.random.default_rng(0).normal(size=(d, 3)))[0]
    return turns @ frame.T + 5


def walks(*schedules: np.ndarray) -> np.ndarray:
    return curve(np.stack(schedules))


EVEN = np.linspace(0, 1, 32)
RESTING = np.clip(np.linspace(-0.3, 1.4, 32), 0, 1)
"""the same way, faster, with rests at its beginning and its end"""


def test_a_reference_is_at_itself() -> None:
    paths = walks(EVEN, EVEN / 2, RESTING)
    for measure in MEASURES.values():
        np.testing.assert_array_equal(measure(paths, paths[[0, 2]])[[0, 2]], 0)


@pytest.mark.parametrize("schedule", [EVEN**2, np.sqrt(EVEN), RESTING])
def test_another_tempo_is_nearly_no_distance(schedule: np.ndarray) -> None:
    paths = walks(EVEN, schedule, EVEN * 0.5)
    step = 1 / 31
    for measure in MEASURES.values():
        fast, short = measure(paths, paths[:1])[1:]
        assert fast < step < short / 3
    slow = np.linalg.norm(paths[1] - paths[0], axis=-1).mean() / np.linalg.norm(paths[2] - paths[0], axis=-1).mean()
    assert slow > 0.2, "a comparison by the clock does see the tempo"


@pytest.mark.parametrize("name", MEASURES)
def test_further_is_nearer(name: str) -> None:
    shares = np.array([0, 0.25, 0.5, 0.75, 1])
    stops = np.stack([np.minimum(EVEN * pace, share) for share in shares for pace in (1.0, 1.7)])
    stops[-2:] = EVEN, RESTING
    found = MEASURES[name](walks(*stops), walks(EVEN)).reshape(5, 2)
    if name == "open end":
        np.testing.assert_allclose(found, 1 - np.stack([shares, shares], axis=1), atol=0.04)
    assert (np.diff(found, axis=0) < -0.03).all()  # dtw falls with the square of what is left: (1 - 0.75)^2 / 2
    np.testing.assert_allclose(found[:, 0], found[:, 1], atol=0.04)


def test_one_who_turns_back_got_as_far_but_is_not_as_near() -> None:
    there_and_back = np.concatenate([np.linspace(0, 0.8, 16), np.linspace(0.8, 0.1, 16)])
    paths = walks(EVEN, there_and_back, np.minimum(EVEN, 0.8))
    last, least = remaining(paths, paths[:1]), furthest(paths, paths[:1])
    assert least[1] == pytest.approx(least[2], abs=0.05)
    assert last[1] > last[2] + 0.5


def test_one_who_strays_is_farther_away() -> None:
    paths = walks(EVEN, EVEN, np.minimum(EVEN, 0.9))
    paths[1] += 0.5 * np.random.default_rng(1).normal(size=300) / np.sqrt(300)
    for measure in (dtw, remaining):
        off = measure(paths, paths[:1])[1]
        assert off == pytest.approx(0.5 / np.linalg.norm(np.diff(paths[0], axis=0), axis=1).sum(), rel=0.1)


def test_a_place_at_the_start_has_the_whole_way_to_go() -> None:
    line = np.zeros((2, 32, 3))
    line[0, :, 0] = EVEN
    assert remaining(line, line[:1])[1] == pytest.approx(1)
    assert dtw(line, line[:1])[1] == pytest.approx(0.5)
    assert open_end(line, line[:1])[1] == 1


@pytest.mark.parametrize("name", MEASURES)
def test_the_nearest_reference_counts_and_unit_and_offset_do_not(name: str) -> None:
    paths, measure = random_paths(9, n=7, m=8), MEASURES[name]
    references, found = paths[[0, 3, 5]], measure(paths, paths[[0, 3, 5]])
    np.testing.assert_allclose(measure(100 * paths.astype(float) + 7, 100 * references.astype(float) + 7), found)
    if name != "open end":
        each = [measure(paths, one[None]) * scale(one[None]) for one in references]
        np.testing.assert_allclose(found * scale(references), np.min(each, axis=0), atol=1e-12)


def test_far_from_the_origin_rounding_is_no_distance() -> None:
    paths = random_paths(3).astype(np.float64) + 1e4
    np.testing.assert_array_equal(dtw(paths, paths[:2])[:2], 0)
    np.testing.assert_allclose(dtw(paths, paths[:2]), dtw(paths - 1e4, paths[:2] - 1e4), rtol=1e-6)


def test_a_reference_that_never_moves_among_others() -> None:
    paths = random_paths(2)
    paths[4] = paths[4, :1]
    assert np.isfinite(open_end(paths, paths[[0, 1, 4]])).all()
    with pytest.raises(UserError, match="never move"):
        dtw(paths, paths[4:5])


def test_no_episode_has_no_distance() -> None:
    paths = random_paths(2)
    for measure in MEASURES.values():
        assert measure(paths[:0], paths).shape == (0,)


def test_bad_paths_are_refused() -> None:
    paths = random_paths(1)
    with pytest.raises(UserError, match=r"\(N, m, d\) and \(R, M, d\)"):
        dtw(paths, paths[..., :2])
    with pytest.raises(UserError, match="encode 2 or more"):
        dtw(paths, paths[:, :1])
    with pytest.raises(UserError, match="no success"):
        open_end(paths, paths[:0])
    bad = paths.copy()
    bad[3, 2, 1] = np.nan
    with pytest.raises(UserError, match="moments are NaN or infinite in row 3"):
        dtw(bad, paths)
    with pytest.raises(UserError, match="references are NaN or infinite in row 3"):
        remaining(paths, bad)
