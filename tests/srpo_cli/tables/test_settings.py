"""`srpo settings`: a preset written out in full is the same preset."""

import json
import tomllib
from dataclasses import fields, replace
from pathlib import Path

import pytest
import tomli_w

from data.descriptions import descriptions
from data.settings import load_preset, preset_names
from srpo_cli.__main__ import run
from srpo_cli.tables.settings import as_preset
from stages.progress.settings import PRESETS
from stages.recipe import SECTIONS, load_recipe


@pytest.mark.parametrize("preset", preset_names())
def test_written_out_it_is_the_same_recipe(tmp_path: Path, preset: str) -> None:
    recipe = load_recipe(preset, ["update.dual_clip=3.5", "collect.horizon=77"])
    file = tmp_path / "mine.toml"
    file.write_text(as_preset(recipe, load_preset(preset)["task"]))
    assert load_recipe(str(file)) == recipe


def test_another_reward_preset_replaces_the_one_of_a_file_whole(tmp_path: Path) -> None:
    recipe = load_recipe("laptop", ["reward.all_fail=zero"])
    file = tmp_path / "mine.toml"
    file.write_text(as_preset(recipe, load_preset("laptop")["task"]))
    wanted = replace(PRESETS["paper"], all_fail="zero")
    assert load_recipe(str(file), ["reward.preset=paper", "encode.moments=0"]).reward == wanted
    file.write_text(file.read_text().replace('preset = "path"', 'preset = "paper"'))
    assert load_recipe(str(file)).reward == wanted
    known = {key: value for key, value in recipe.sections()["reward"].items() if value is not None}
    file.write_text(tomli_w.dumps({"reward": known}))
    assert load_recipe(str(file), ["reward.preset=paper"]).reward == wanted


def test_no_setting_is_without_its_meaning() -> None:
    missing = [f"{n}.{f.name}" for n, cls in SECTIONS.items() for f in fields(cls) if f.name not in descriptions(cls)]
    assert missing == []


def test_one_section(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["settings", "quick", "--section", "reward", "--set", "reward.alpha=0.5"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "[reward]" and "alpha = 0.5    # float; default: 0.8" in lines
    assert sum(line.startswith("[") for line in lines) == 1


def test_the_section_that_is_shared_out(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["settings", "quick", "--section", "task", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"task": load_preset("quick")["task"]}
    assert run(["settings", "quick", "--section", "task"]) == 0
    assert tomllib.loads(capsys.readouterr().out) == {"task": load_preset("quick")["task"]}


def test_what_is_set_for_all_sections_is_shared_out_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["settings", "quick", "--set", "task.seed=7", "--set", "task.tasks=2"]) == 0
    said = tomllib.loads(capsys.readouterr().out)
    assert (said["task"]["seed"], said["task"]["tasks"]) == (7, "2")
    assert not any({"seed", "tasks"} & set(said[section]) for section in SECTIONS)


def test_what_only_a_loop_knows_is_marked(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["settings", "laptop"]) == 0
    lines = capsys.readouterr().out.splitlines()
    marked = {line.split(" = ")[0] for line in lines if line.endswith("a loop's own")}
    assert marked == {"temperature_half", "refill", "every", "average"}
    assert any(line.startswith("world_model = ") and "--world-model" in line for line in lines)


def test_a_section_that_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["settings", "--section", "rewards"]) == 2
    assert "reward" in capsys.readouterr().err
