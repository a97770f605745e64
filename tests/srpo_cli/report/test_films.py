"""Which episodes are shown of a reward, in which words, and the picture of all."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from data.errors import UserError
from data.store import RolloutStore
from srpo_cli.report.films import FILM_SIZE, GAP, films, save_films, stacked, task_words
from srpo_cli.report.pictures import BAND, band
from srpo_cli.report.reward_facts import Facts, reward_facts
from srpo_cli.report.rewarded import read_reward

WIDTH = 6 * FILM_SIZE + 5 * 4


def tasks_of(store: RolloutStore, label: str = "paper") -> list[Facts]:
    tasks: list[Facts] = reward_facts(read_reward(store, label))["tasks"]
    return tasks


def test_a_typical_success_then_failures_best_first(measured: RolloutStore) -> None:
    task, lost = tasks_of(measured)
    assert [film.episode for film in films(task, 1)] == [0, 4, 5]
    assert [film.episode for film in films(task, 2)] == [0, 4, 3, 5]
    first, best, *_ = films(task, 1)
    assert first.words == "Episode 0, typical success: initial state 10, distance 0.07071 to its centre"
    reward = task["ranked"][0]["reward"]
    assert best.words == (
        f"Episode 4, best failure: initial state 14, reward {reward:.3f}, distance 2.000, nearest reference 0"
    )
    assert [film.words for film in films(lost, 1)] == ["Episode 6, failure: initial state 16, reward 0.000"]
    assert task_words(task) == "Task 2: pick up the salad dressing, 3 successes, 3 failures"


def test_one_picture_of_all(measured: RolloutStore, tmp_path: Path) -> None:
    """Two titles, and three and two strips, each below its words and above its captions."""
    count = save_films(measured, tasks_of(measured), 1, tmp_path / "x.png")
    assert count == 4
    picture = cv2.imread(str(tmp_path / "x.png"))
    assert picture is not None
    assert picture.shape == (2 * BAND + 4 * (FILM_SIZE + 2 * BAND) + 5 * GAP, WIDTH + 2 * GAP, 3)
    assert (picture[:GAP] == 255).all()
    frame = picture[GAP + 2 * BAND :][:FILM_SIZE, GAP : GAP + FILM_SIZE]
    assert frame.std() > 10


def test_what_cannot_be_written_is_refused(measured: RolloutStore, tmp_path: Path) -> None:
    tasks = tasks_of(measured)
    with pytest.raises(UserError, match=r"must end in \.png"):
        save_films(measured, tasks, 1, tmp_path / "x.jpg")
    with pytest.raises(UserError, match="neither references nor failures"):
        save_films(measured, [{**tasks[1], "ranked": []}], 1, tmp_path / "x.png")
    assert not (tmp_path / "x.png").exists()


def test_stacked() -> None:
    rows = [np.full((3, 5, 3), 7, np.uint8), np.full((2, 5, 3), 9, np.uint8)]
    picture = stacked(rows, gap=1)
    assert picture.shape == (8, 7, 3)
    assert picture[:, 3, 0].tolist() == [255, 7, 7, 7, 255, 9, 9, 255]
    assert (picture[:, [0, -1]] == 255).all()


def test_long_words_are_squeezed_into_their_band() -> None:
    """The last pixels stay white, where text cut off at the edge would be."""
    for text in ("short", "a long text " * 30):
        for bold in (False, True):
            shown = band(300, text, bold)
            assert shown.shape == (BAND, 300, 3)
            assert shown.min() < 200
            assert (shown[:, -3:] == 255).all()
