"""Rewards against worked examples, against a slow second implementation, and against what must hold for any batch."""

import numpy as np
import pytest

from data.errors import UserError
from stages.learning.advantages import AdvantageSettings, group_advantages
from stages.progress.rewards import RewardResult, compute_rewards, minmax, zscore
from stages.progress.settings import PRESETS, RewardSettings, reward_settings
from tests.stages.progress import examples, slow

VECTORS = [name for name, settings in PRESETS.items() if not settings.needs_paths]
SETTINGS = {name: PRESETS[name] for name in VECTORS} | {"squared": reward_settings("paper", {"distance": "l2_squared"})}


def one_task(rows: np.ndarray, success: np.ndarray, settings: RewardSettings) -> RewardResult:
    return compute_rewards(rows, success, np.zeros(len(rows), int), None, settings)


def example(name: str, preset: str) -> RewardResult:
    return one_task(examples.WON[name][0], examples.success(name), SETTINGS[preset])


@pytest.mark.parametrize(("name", "preset"), examples.REWARD)
def test_worked_rewards(name: str, preset: str) -> None:
    result, won = example(name, preset), examples.success(name)
    np.testing.assert_allclose(result.reward[~won], examples.REWARD[name, preset], atol=1e-6)
    assert (result.reward[won] == 1).all()


@pytest.mark.parametrize("preset", ["paper", "siirl"])
@pytest.mark.parametrize("name", examples.DISTANCE)
def test_worked_distances(name: str, preset: str) -> None:
    np.testing.assert_allclose(
        example(name, preset).distance[~examples.success(name)], examples.DISTANCE[name], atol=1e-6
    )


@pytest.mark.parametrize("preset", ["paper", "siirl", "cosine"])
def test_worked_centres(preset: str) -> None:
    result = example("some cluster", preset)
    np.testing.assert_allclose(result.centres, [[1.1, 0.05, 2.05, -0.95]])
    np.testing.assert_array_equal(result.is_reference, [True, True, False, False, False, False])


@pytest.mark.parametrize("preset", ["paper", "siirl"])
def test_two_clusters_and_noise(preset: str) -> None:
    result = example("two clusters and noise", preset)
    np.testing.assert_allclose(result.centres, [[0.05, 0, 0.05, 0], [5.05, 5, 0.05, 0]])
    np.testing.assert_array_equal(result.reference, [0, 0, 1, 1, 0, 0, 1, 0])
    np.testing.assert_array_equal(result.is_reference, [True] * 4 + [False] * 4)
    [task] = result.tasks
    assert (task.centres, task.clustered, task.unused, task.references, task.fallback) == (2, 2, 1, 4, False)


def test_lone_successes_kept_count_as_references() -> None:
    """Dropped, the failure beside the lone success gets the lowest reward; kept, it is 1.0 away."""
    won = examples.success("two clusters and noise")
    result = one_task(examples.EIGHT, won, reward_settings("paper", {"noise": "keep"}))
    np.testing.assert_allclose(result.distance[~won], [0.674537, 1.733494, 1.0], atol=1e-6)
    assert result.reward[7] > result.reward[6]
    assert result.is_reference[:5].all()


def test_every_success_for_itself() -> None:
    won = examples.success("two clusters and noise")
    result = one_task(examples.EIGHT, won, reward_settings("paper", {"centre": "each"}))
    np.testing.assert_allclose(result.distance[~won], [0.648074, 1.732051, 1.0], atol=1e-6)


@pytest.mark.parametrize("name", examples.CODE_ADVANTAGE)
def test_worked_advantages_of_the_code(name: str) -> None:
    result = example(name, "siirl")
    advantage, kept = group_advantages(result.reward, np.zeros(6, int), AdvantageSettings("sample"))
    np.testing.assert_allclose(advantage, examples.CODE_ADVANTAGE[name], atol=1e-6)
    assert kept.all() == bool(np.any(advantage))


@pytest.mark.parametrize("name", examples.PAPER_ADVANTAGE)
def test_worked_advantages_of_the_paper(name: str) -> None:
    advantage, _ = group_advantages(example(name, "paper").reward, np.zeros(6, int))
    np.testing.assert_allclose(advantage, examples.PAPER_ADVANTAGE[name], atol=1e-6)


def clustered_batch(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Random sizes, clusters of random tightness, offsets and scales, twins now and then."""
    rng = np.random.default_rng(seed)
    n, d, k = rng.integers(1, 30), rng.integers(1, 40), rng.integers(1, 4)
    centres = rng.normal(size=(k, d)) * rng.uniform(0.1, 3)
    rows = centres[rng.integers(k, size=n)] + rng.choice([0.003, 0.05, 1.0]) * rng.normal(size=(n, d))
    rows = rows * rng.uniform(0.1, 10, size=d) + rng.normal(size=d)
    if n > 3:
        rows[2] = rows[1]
    return rows, rng.random(n) < rng.uniform(0.1, 0.9)


@pytest.mark.parametrize("preset", VECTORS)
def test_against_a_slow_implementation(preset: str) -> None:
    clusters = set()
    for seed in range(60):
        rows, success = clustered_batch(seed)
        result = one_task(rows, success, PRESETS[preset])
        np.testing.assert_allclose(result.reward, slow.reward(rows, success, preset), atol=1e-9, err_msg=str(seed))
        clusters.add(result.tasks[0].clustered)
    assert len(clusters) >= 3 or preset == "binary"


def many_tasks(seed: int = 0, n: int = 64, d: int = 24) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    task, group = np.arange(n) % 4, np.arange(n) // 8
    success = (rng.random(n) < 0.4) & (task != 3)
    return rng.normal(size=(n, d)), success, task, group


@pytest.mark.parametrize("preset", VECTORS)
def test_each_task_is_rewarded_as_if_alone(preset: str) -> None:
    rows, success, task, group = many_tasks()
    result = compute_rewards(rows, success, task, group, PRESETS[preset])
    for t in range(4):
        mine = task == t
        np.testing.assert_allclose(result.reward[mine], slow.reward(rows[mine], success[mine], preset), atol=1e-9)
        referred = result.reference[mine]
        assert set(result.centre_task[referred[referred >= 0]]) <= {t}
    assert [(s.task, s.successes, s.failures) for s in result.tasks] == [
        (t, success[task == t].sum(), (~success & (task == t)).sum()) for t in range(4)
    ]


@pytest.mark.parametrize("preset", ["paper", "siirl", "cosine"])
@pytest.mark.parametrize("scope", ["task", "group"])
def test_rewards_fall_with_distance_and_never_reach_a_success(preset: str, scope: str) -> None:
    rows, success, task, group = many_tasks(seed=3)
    settings = reward_settings(preset, {"scope": scope})
    result = compute_rewards(rows, success, task, group, settings)
    failed = ~success & (task != 3)
    assert (result.reward[failed] > 0).all()
    assert (result.reward[failed] < settings.alpha).all()
    assert (result.reward[success] == 1).all()
    together = task if scope == "task" else task * 100 + group
    for name in np.unique(together[failed]):
        mine = np.flatnonzero(failed & (together == name))
        order = mine[np.argsort(result.distance[mine])]
        assert (np.diff(result.reward[order]) < 0).all()


def test_scope_group_normalises_each_group_alone() -> None:
    rows, success, task, _ = many_tasks(seed=5)
    group = np.arange(len(task)) // 32
    result = compute_rewards(rows, success, task, group, reward_settings("paper", {"scope": "group"}))
    for t in range(3):
        for g in range(2):
            mine = (task == t) & (group == g) & ~success
            expected = slow.scores(list(result.distance[mine]), "paper")
            np.testing.assert_allclose(result.reward[mine], expected, atol=1e-12)


def test_more_distance_units_change_nothing_but_squares_do() -> None:
    rows, success, task, _ = many_tasks()
    for preset in ("paper", "siirl", "cosine"):
        once = compute_rewards(rows, success, task, None, PRESETS[preset]).reward
        np.testing.assert_allclose(compute_rewards(1000 * rows, success, task, None, PRESETS[preset]).reward, once)


def test_one_far_failure_squeezes_min_max_more_than_z_scores() -> None:
    """What min-max does to the others when one failure is far off is known and chosen, not an accident."""
    rows = np.array([[0.0, 1], [1, 1], [2, 1], [3, 1], [1000, 1]])
    success = np.array([True, False, False, False, False])
    siirl, paper = (one_task(rows, success, PRESETS[preset]).reward[1:] for preset in ("siirl", "paper"))
    assert np.ptp(siirl[:3]) < 1e-3
    assert siirl[3] == pytest.approx(0.6 / (1 + np.exp(5)))
    assert (np.diff(paper) < 0).all()


def test_equal_distances() -> None:
    rows = np.array([[0.1] * 3, [0.4] * 3, [0.4] * 3, [0.4] * 3])
    success = np.array([1, 0, 0, 0])
    assert one_task(rows, success, PRESETS["paper"]).reward[1:] == pytest.approx([0.4] * 3)
    assert one_task(rows, success, PRESETS["siirl"]).reward[1:] == pytest.approx([0.3] * 3)
    np.testing.assert_array_equal(zscore(np.array([0.1, 0.1, 0.1])), np.zeros(3))
    np.testing.assert_array_equal(zscore(np.array([2.0]), ddof=1), [0])
    np.testing.assert_array_equal(minmax(np.array([1.0, 1.0 + 9e-7])), [0.5, 0.5])


def test_sample_standard_deviation() -> None:
    d = np.array([1.0, 2.0, 4.0, 8.0])
    np.testing.assert_allclose(zscore(d, ddof=1), (d - 3.75) / np.std(d, ddof=1))


def test_all_fail_without_memory_gets_zero_and_says_so() -> None:
    rows, success, task, group = many_tasks()
    result = compute_rewards(rows, success, task, group, PRESETS["paper"])
    assert (result.reward[task == 3] == 0).all()
    assert np.isnan(result.distance[task == 3]).all()
    last = result.tasks[3]
    assert (last.all_fail, last.source, last.centres) == (True, "none", 0)


def test_all_fail_is_measured_against_remembered_successes() -> None:
    rows, success, task, group = many_tasks()
    remembered = {3: rows[success][:5] + 0.5, 0: rows[:1] + 100}
    result = compute_rewards(rows, success, task, group, PRESETS["paper"], remembered)
    mine = task == 3
    both = np.concatenate([remembered[3], rows[mine]])
    alone = slow.reward(both, np.arange(len(both)) < 5, "paper")
    np.testing.assert_allclose(result.reward[mine], alone[5:], atol=1e-9)
    assert result.tasks[3].source == "remembered"
    assert not result.is_reference[mine].any()
    without = compute_rewards(rows, success, task, group, PRESETS["paper"])
    np.testing.assert_array_equal(result.reward[task == 0], without.reward[task == 0])
    zero = compute_rewards(rows, success, task, group, PRESETS["siirl"], remembered)
    assert (zero.reward[mine] == 0).all()


def test_groups_that_only_failed_learn_from_the_task_s_successes() -> None:
    """Rewards come before groups are dropped: the sparse case that the progress reward is for."""
    rows, _, task, _ = many_tasks(n=16)
    group = np.arange(16) // 8
    task = np.zeros(16, int)
    success = group == 1
    result = compute_rewards(rows, success, task, group, PRESETS["paper"])
    advantage, kept = group_advantages(result.reward, group)
    assert kept[group == 0].all()
    assert np.ptp(advantage[group == 0]) > 1
    binary = compute_rewards(None, success, task, group, PRESETS["binary"])
    assert not group_advantages(binary.reward, group)[1].any()


def test_no_progress_reward_needs_no_embedding() -> None:
    result = compute_rewards(None, np.array([1, 0]), np.array(["a", "b"]), None, PRESETS["binary"])
    np.testing.assert_array_equal(result.reward, [1, 0])
    assert [task.task for task in result.tasks] == ["a", "b"]


def walks(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Paths (12, 6, 3) that drift the same way at different paces, and who succeeded."""
    rng = np.random.default_rng(seed)
    pace = rng.uniform(0.2, 1, (12, 1, 1))
    paths = np.cumsum(pace * (np.array([1.0, 0.5, -1.0]) + 0.3 * rng.normal(size=(12, 6, 3))), axis=1)
    return paths, np.arange(12) < 1 + seed % 5


def test_paths_against_a_slow_implementation() -> None:
    for seed in range(20):
        paths, success = walks(seed)
        result = one_task(paths, success, PRESETS["path"])
        expected = slow.path_reward(paths, success)
        np.testing.assert_allclose(result.reward, expected, atol=1e-9, err_msg=str(seed))
        assert result.centres.shape == (success.sum(), 6, 3)
        assert (result.distance[success] == 0).all()


def test_tempo_does_not_count_for_paths() -> None:
    """Moments seen twice change nothing, nor does a rest at the end; to get only halfway does, to go beside it more."""
    way = np.cumsum(np.ones((8, 2)), axis=0)
    slowly, stopped, beside = way[np.arange(8) // 2], way[np.minimum(np.arange(8), 3)], way + np.array([3, -3])
    result = one_task(
        np.stack([way, way[[0, 2, 4, 6, 7, 7, 7, 7]], slowly, stopped, beside]), [1, 0, 0, 0, 0], PRESETS["path"]
    )
    np.testing.assert_allclose(result.distance[2], result.distance[3])
    assert result.reward[1] > result.reward[2]
    assert result.reward[2] > result.reward[4]


def test_paths_and_vectors_are_not_mistaken_for_each_other() -> None:
    paths, success = walks(1)
    with pytest.raises(UserError, match=r"must be \(N, m, d\) for distance=dtw"):
        one_task(paths[:, 0], success, PRESETS["path"])
    with pytest.raises(UserError, match=r"must be \(N, D\)"):
        one_task(paths, success, PRESETS["paper"])
    paths[3, 1, 0] = np.nan
    with pytest.raises(UserError, match="row 3: embedding is NaN"):
        one_task(paths, success, PRESETS["path"])
    with pytest.raises(UserError, match="paths have no mean"):
        reward_settings("path", {"centre": "mean"})
    task, shorter = np.zeros(12, int), {0: walks(1)[0][:2, :4]}
    with pytest.raises(UserError, match=r"4 x 3 dimensions, the batch's have 6 x 3"):
        compute_rewards(walks(1)[0], np.zeros(12), task, None, PRESETS["path"], shorter)
