"""`srpo loop --plan`."""

import json
from pathlib import Path

import pytest

from data.runs import Run
from srpo_cli.__main__ import run
from srpo_cli.tables.plan import size, span
from stages.recipe import load_recipe


def test_a_plan_is_printed_and_nothing_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "run"
    assert run(["loop", str(folder), "--preset", "quick", "--iterations", "4", "--plan"]) == 0
    shown = capsys.readouterr().out
    assert "2.54 M parameters, all of them trained" in shown and "activations" in shown
    assert "time: not known before the first iteration" in shown
    assert not folder.exists()


def test_the_time_that_is_left(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    begun = Run.start(tmp_path / "run", load_recipe("quick").sections())
    begun.policy(1).mkdir(parents=True)
    for stage in ("collect", "update"):
        begun.log(1, stage, {"seconds": 1800.0})
    assert run(["loop", str(begun.folder), "--preset", "quick", "--iterations", "3", "--plan"]) == 0
    assert "2 h 0 min" in capsys.readouterr().out


def test_what_does_not_fit_ends_with_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    imagined = ["--memory", "0.04", "--devices", "2", "--set", "update.lora_rank=8", "--json"]
    assert run(["loop", str(tmp_path / "run"), "--preset", "quick", "--plan", *imagined]) == 2
    told = capsys.readouterr()
    plan = json.loads(told.out)
    assert plan["memory"]["free"] == 4e7 and plan["policy"]["trained"] < 5e5
    assert len(told.err.splitlines()) == 1 and plan["problems"][0] in told.err


def test_a_run_goes_on_with_its_own_settings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = str(tmp_path / "run")
    sections = load_recipe("quick", ["task.seed=3", "collect.horizon=77"]).sections()
    sections["update"]["credit"] = "episode"  # as an earlier version wrote it
    Run.start(folder, sections)
    assert run(["loop", folder, "--plan", "--iterations", "4"]) == 0
    assert run(["loop", folder, "--plan", "--preset", "quick", "--set", "task.seed=3"]) == 2
    assert "collect.horizon = 77, now 160: use" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "mend"),
    [(["--memory", "80"], "add --plan"), (["--plan", "--devices", "8"], "--devices needs --memory")],
)
def test_options_of_a_plan_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], mend: str
) -> None:
    assert run(["loop", str(tmp_path / "run"), "--preset", "quick", *options]) == 2
    assert mend in capsys.readouterr().err


def test_sizes_and_times() -> None:
    assert [size(1.25e10), size(4.44e6)] == ["12.5 GB", "4.4 MB"]
    assert [span(12000), span(725), span(40)] == ["3 h 20 min", "12 min", "40 s"]
