"""The run directory: settings written once, one line of metrics a stage, whatever is killed when."""

from pathlib import Path

import pytest

from data.errors import UserError
from data.runs import Run, replace_folder

SETTINGS = {"collect": {"groups": 4, "temperature": 0.6}, "update": {"betas": (0.9, 0.99), "kl": None}}


def test_a_run_goes_on_with_the_same_settings_only(tmp_path: Path) -> None:
    Run.start(tmp_path / "r", SETTINGS)
    Run.start(tmp_path / "r", SETTINGS)
    with pytest.raises(UserError, match="collect.groups = 4, now 5"):
        Run.start(tmp_path / "r", SETTINGS | {"collect": {"groups": 5, "temperature": 0.6}})
    assert Run.open(tmp_path / "r").settings()["update"] == {"betas": [0.9, 0.99], "kl": "none"}


def test_all_that_differs_is_told_and_how_to_go_on(tmp_path: Path) -> None:
    Run.start(tmp_path / "r", {"a": dict.fromkeys("bcdef", 0)})
    told = rf"a\.b = 0, now 1; a\.c = 0, now 1; a\.d = 0, now 1 \(and 2 more\): .*`srpo loop {tmp_path / 'r'}`"
    with pytest.raises(UserError, match=told):
        Run(tmp_path / "r").check({"a": dict.fromkeys("bcdef", 1)})
    Run(tmp_path / "s").check({"a": {"b": 1}})
    assert not (tmp_path / "s").exists()


def test_a_setting_newer_than_the_run_was_at_its_default(tmp_path: Path) -> None:
    Run.start(tmp_path / "r", SETTINGS)
    newer = SETTINGS | {"update": SETTINGS["update"] | {"entropy": 0.0}}
    Run.start(tmp_path / "r", newer, defaults={"update": {"entropy": 0.0}})
    changed = SETTINGS | {"update": SETTINGS["update"] | {"entropy": 0.1}}
    with pytest.raises(UserError, match="update.entropy = 0.0, now 0.1"):
        Run.start(tmp_path / "r", changed, defaults={"update": {"entropy": 0.0}})


def test_a_run_with_a_setting_that_is_gone_goes_on_where_it_said_nothing_else(tmp_path: Path) -> None:
    retired = {"update": {"credit": "episode", "gap": 1e-3}}
    for name, credit in (("r", "episode"), ("s", "critic")):
        Run.start(tmp_path / name, SETTINGS | {"update": SETTINGS["update"] | {"credit": credit, "gap": 1e-3}})
    newer = SETTINGS | {"update": SETTINGS["update"] | {"gap": None}}
    Run.start(tmp_path / "r", newer, {"update": {"gap": None}}, retired)
    same = SETTINGS | {"update": SETTINGS["update"] | {"gap": 1e-3}}
    Run.start(tmp_path / "r", same, {"update": {"gap": None}}, retired)
    with pytest.raises(UserError, match=r"update\.credit = 'critic', now None"):
        Run.start(tmp_path / "s", newer, {"update": {"gap": None}}, retired)


def test_foreign_folders_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(UserError, match="not a run"):
        Run.start(tmp_path, SETTINGS)
    with pytest.raises(UserError, match="no run at"):
        Run.open(tmp_path)
    (tmp_path / "run.toml").write_text("[broken")
    with pytest.raises(UserError, match="not valid TOML.*restore it"):
        Run.open(tmp_path).settings()


def test_paths_and_progress(tmp_path: Path) -> None:
    run = Run.start(tmp_path / "r", SETTINGS)
    assert run.rollouts(1).name == "000.zarr"
    assert run.finished() == 0
    run.policy(0).mkdir(parents=True)
    run.policy(3).mkdir()
    (run.folder / "policies" / "004.partial").mkdir()
    assert run.finished() == 3


def test_a_stage_is_logged_once(tmp_path: Path) -> None:
    run = Run.start(tmp_path / "r", SETTINGS)
    run.log(1, "collect", {"episodes": 8})
    run.log(1, "collect", {"episodes": 9})
    run.log(1, "reward", {"mean": 0.5})
    assert [m["stage"] for m in run.metrics()] == ["collect", "reward"]
    assert run.metrics()[0]["episodes"] == 8


def test_a_line_cut_short_is_dropped_and_written_again(tmp_path: Path) -> None:
    run = Run.start(tmp_path / "r", SETTINGS)
    run.log(1, "collect", {"episodes": 8})
    with (run.folder / "metrics.jsonl").open("a") as file:
        file.write('{"iteration": 1, "sta')
    run.log(1, "reward", {"mean": 0.5})
    assert [m["stage"] for m in run.metrics()] == ["collect", "reward"]


def test_replace_folder(tmp_path: Path) -> None:
    made, target = tmp_path / "made", tmp_path / "deep" / "target"
    for text in ("old", "new"):
        made.mkdir()
        (made / "x").write_text(text)
        replace_folder(made, target)
        assert (target / "x").read_text() == text
