"""`srpo inspect`: what it prints, the files it writes, what it refuses."""

import json
from pathlib import Path

import cv2
import pytest

from data.store import RolloutStore
from srpo_cli.__main__ import run as srpo
from tests.srpo_cli.report.conftest import measured, run, states, store

__all__ = ["measured", "run", "states", "store"]


def test_a_store(store: RolloutStore, capsys: pytest.CaptureFixture[str]) -> None:
    assert srpo(["inspect", store.path]) == 0
    text = capsys.readouterr().out
    for words in ("7 of 8 episodes of libero_object", "2 = 50.0 %", "1 episodes ended in an error", "3 of 4 groups"):
        assert words in " ".join(text.split())
    assert srpo(["inspect", store.path, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["done"] == 7


def test_an_episode_with_pictures(store: RolloutStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image, video = tmp_path / "strip.png", tmp_path / "episode.mp4"
    words = ["inspect", store.path, "--episode", "3", "--image", str(image), "--video", str(video), "--json"]
    assert srpo(words) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["steps"], facts["video_frames"]) == (8, 9)
    picture = cv2.imread(str(image))
    assert picture is not None
    assert picture.shape == (192 + 22, 6 * 192 + 5 * 4, 3)
    capture = cv2.VideoCapture(str(video))
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == 9
    assert capture.get(cv2.CAP_PROP_FPS) == 20
    whole, frame = capture.read()
    assert whole
    assert frame.shape == (256, 256, 3)
    assert frame.std() > 10


def test_a_run(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert srpo(["inspect", str(run)]) == 0
    text = capsys.readouterr().out
    assert "3 iterations finished" in text
    assert "75%" in text
    assert srpo(["inspect", str(run), "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["iterations"]) == 4


def test_a_reward(measured: RolloutStore, capsys: pytest.CaptureFixture[str]) -> None:
    assert srpo(["inspect", measured.path, "--reward", "paper", "--count", "1"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    for words in (
        "paper; embedding pixels; 8 episodes, 3 successes, 5 failures",
        "2.00 5.00 10.0",
        "0 (1.930)",
        "1 (9.930)",
    ):
        assert words in text
    assert "…" not in text
    assert "no reward yet" not in text
    assert srpo(["inspect", measured.path, "--reward", "binary"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "every failure gets 0" in text
    assert "best" not in text


def test_a_reward_with_filmstrips(measured: RolloutStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image = tmp_path / "ranks.png"
    words = ["inspect", measured.path, "--reward", "paper", "--count", "1", "--image", str(image)]
    assert srpo([*words, "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["strips"], facts["image"]) == (4, str(image))
    picture = cv2.imread(str(image))
    assert picture is not None
    assert picture.shape[1] == 2 * 10 + 6 * 160 + 5 * 4
    task, lost = facts["tasks"]
    assert [row["episode"] for row in task["ranked"]] == [4, 3, 5]
    assert len(task["map"]["points"]) == 6
    assert [curve["episode"] for curve in task["curves"]] == [0, 1, 4, 5, 3]
    assert (len(lost["map"]["points"]), lost["curves"]) == (2, [])
    assert srpo(words) == 0
    assert f"image: {image}" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--reward papre", "did you mean 'paper'? known: binary, paper"),
        ("--reward paper --episode 3", "give one of"),
        ("--reward paper --failures", "give one of"),
        ("--reward paper --video {folder}/x.mp4", "a video is of one episode"),
        ("--reward paper --image {folder}/x.jpg", "must end in .png"),
        ("--reward paper --image {folder}/none/x.png", "no folder"),
        ("--image {folder}/x.png", "give --episode I or --reward LABEL"),
        ("--count 3", "--count is for --reward"),
    ],
)
def test_mistakes_with_rewards(
    words: str, message: str, measured: RolloutStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert srpo(["inspect", measured.path, *words.format(folder=tmp_path).split()]) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.glob("x.*"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("{store} --image x.png", "give --episode"),
        ("{store} --episode 9", "episodes 0 to 7"),
        ("{store} --episode 4 --image {folder}/x.png", "not done"),
        ("{store} --episode 3 --image {folder}/x.jpg", "must end in .png"),
        ("{store} --episode 3 --video {folder}/none/x.mp4", "no folder"),
        ("{run} --episode 3", "is a run"),
        ("{run} --reward paper", "is a run"),
        ("{run} --image x.png", "is a run"),
        ("{run} --failures", "is a run"),
        ("{folder}/none", "no rollout store"),
    ],
)
def test_mistakes(
    words: str, message: str, store: RolloutStore, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = words.format(store=store.path, run=run, folder=tmp_path).split()
    assert srpo(["inspect", *arguments]) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.glob("x.*"))
