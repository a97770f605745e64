"""`srpo reward` as typed: exit codes, the JSON object, one line for a mistake."""

import json
from pathlib import Path

import numpy as np
import pytest

from srpo_cli.__main__ import run


@pytest.fixture
def file(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    success = np.array([1, 0, 1, 0, 0, 0, 0, 0])
    np.savez(tmp_path / "mine.npz", embedding=rng.normal(size=(8, 5)), success=success, task=np.arange(8) // 4)
    return tmp_path / "mine.npz"


def test_json_is_one_object(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["reward", str(file), "--preset", "siirl", "--set", "alpha=0.5", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["settings"]["alpha"] == 0.5
    assert result["out"].startswith(str(file.with_name("mine-siirl-")))
    assert Path(result["out"]).is_file()


def test_a_table_and_a_word_about_tasks_without_success(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["reward", str(file)]) == 0
    shown = capsys.readouterr()
    assert "rewards: " in shown.out
    assert "task 1: no success to measure against, its 4 failures get 0" in shown.err
    assert run(["reward", str(file)]) == 0
    assert "up to date" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    {
        ("--preset", "papr"): "did you mean 'paper'",
        ("--set", "nois=keep"): "did you mean 'noise'",
        ("--set", "noise=kept"): "'drop' | 'keep'",
        ("--set", "alpha"): "--set takes key=value",
        ("--set", "alpha=2"): "alpha must be in [0, 1]",
        ("--set", "scope=group"): "scope=group",
        ("--label", "x"): "--label is for a store",
        ("--embedding", "x", "--earlier", "y"): "--embedding, --earlier is for a store",
        ("--presett", "paper"): "--help",
    }.items(),
)
def test_mistakes_end_2_with_one_line(
    file: Path, arguments: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["reward", str(file), *arguments]) == 2
    shown = capsys.readouterr()
    assert message in shown.err
    assert shown.err.count("\n") == 1
    assert sorted(file.parent.iterdir()) == [file]


def test_a_store_has_no_out_and_must_exist(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["reward", str(tmp_path), "--out", "x.npz"]) == 2
    assert "--out is for a FILE.npz" in capsys.readouterr().err
    for wrong in (tmp_path, tmp_path / "gone.zarr", tmp_path / "gone.npz"):
        assert run(["reward", str(wrong)]) == 2
        assert capsys.readouterr().err.count("\n") == 1
