"""Arms as they are written, and what they may not change."""

import pytest

from data.errors import UserError
from stages.bench.learning.settings import Arm, LearningSettings


def test_a_name_stands_for_its_reward() -> None:
    recipe = LearningSettings([Arm.parse("binary")], preset="quick").recipe(3, Arm.parse("binary"))
    assert (recipe.reward_preset, recipe.reward.needs_embedding, recipe.demo.seed) == ("binary", False, 3)


def test_ones_own_arm_is_on_top_of_the_preset() -> None:
    arm = Arm.parse("half: reward.alpha=0.4 update.lr=1e-4")
    recipe = LearningSettings([arm], preset="quick").recipe(0, arm)
    assert (arm.name, recipe.reward.alpha, recipe.update.lr, recipe.reward.distance) == ("half", 0.4, 1e-4, "dtw")


def test_the_sparse_start_is_for_all_arms() -> None:
    settings = LearningSettings([Arm.parse("path")], start="sparse", preset="quick", changes=["collect.temperature=1"])
    start, run = settings.recipe(0), settings.recipe(0, settings.arms[0])
    assert (start.demo.per_task, run.demo.per_task, run.collect.temperature) == (1, 1, 1.0)
    assert start.collect.temperature != 1.0  # what only arms need does not change the start that is there


def test_a_given_policy_is_the_start_of_all() -> None:
    settings = LearningSettings([Arm.parse("path")], preset="quick", changes=["run.policy=a/b", "run.keep_images=2"])
    start, run = settings.recipe(0), settings.recipe(0, settings.arms[0])
    assert (start.run.policy, run.run.policy) == ("a/b", "a/b")
    assert run.run.keep_images == 2 != start.run.keep_images


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("binery", "binary"),
        ("a b: reward.alpha=1", "letters"),
        ("a: reward.alpha", "section.key=value"),
        ("a: demo.per_task=3", "share their start"),
        ("a: task.seed=3", "share their start"),
        ("a: run.policy=there", "share their start"),
    ],
)
def test_arms_that_cannot_be(text: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        Arm.parse(text)


def test_experiments_that_cannot_be() -> None:
    path = Arm.parse("path")
    for wrong, words in (
        ({"arms": [path, path]}, "twice"),
        ({"start": "spars"}, "sparse"),
        ({"seeds": []}, "at least one"),
        ({"iterations": 0}, "at least one"),
    ):
        with pytest.raises(UserError, match=words):
            LearningSettings(**{"arms": [path], **wrong})
    settings = LearningSettings([path], changes=["collect.group=1"])
    with pytest.raises(UserError, match="groups"):
        settings.recipe(0, path)
