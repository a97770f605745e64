"""The policies of a run on the same episodes: which, with what settings, kept where, and gone on with."""

import shutil
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from data.errors import UserError
from data.runs import Run
from data.settings import build
from data.store import RolloutStore
from stages.evaluate import EvalSettings
from stages.evaluate_run import chosen, evaluate_run, label_of, own_settings
from stages.policies.loading import identity
from stages.policies.mini import MiniConfig, MiniPolicy
from tests.srpo_cli.conftest import fingerprint
from tests.stages.test_compare import unseen

EVAL = {"tasks": "2", "episodes": 2, "horizon": 10, "seed": 4, "every": 6, "engine": "fast"}


def add_policy(run: Run, number: int) -> None:
    folder = run.policy(number)
    folder.mkdir(parents=True)
    MiniPolicy(MiniConfig(cameras={"agentview": 32}, channels=(8, 8, 8), hidden=32), seed=number).save(folder)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A run with policies 0, 2 and 3, and what is no policy."""
    made = Run.start(tmp_path / "run", {"eval": EVAL})
    for number in (0, 2, 3):
        add_policy(made, number)
    (made.folder / "policies" / "004").mkdir()
    (made.folder / "policies" / ".005.partial").mkdir()
    return made


def settings_of(run: Run) -> EvalSettings:
    return build(EvalSettings, own_settings(run) | {"workers": 1})


def test_multiples_and_the_last(run: Run) -> None:
    assert run.policies() == [0, 2, 3]
    assert chosen(run, 1) == [0, 2, 3]
    assert chosen(run, 2) == [0, 2, 3]
    assert chosen(run, 10) == [0, 3]


def test_the_means_that_the_run_evaluated(run: Run) -> None:
    with pytest.raises(UserError, match="has no averages"):
        chosen(run, 1, averages=True)
    shutil.copytree(run.policy(2), run.average(3))
    assert chosen(run, 1, averages=True) == [0, 3]
    found = evaluate_run(run, settings_of(run), lambda *_: nullcontext(lambda *_: None), lambda _: None, averages=True)
    assert [row["iteration"] for row in found["policies"]] == [0, 3]
    kept = RolloutStore.open(f"{found['kept']}/003.zarr").attrs["policy"]
    assert found["kept"].endswith("-averages") and kept == identity(run.policy(2))


def test_nothing_to_choose_from(run: Run, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--every must be 1 or more, not 0"):
        chosen(run, 0)
    with pytest.raises(UserError, match="no policies in .*; `srpo loop"):
        chosen(Run.start(tmp_path / "new", {"eval": EVAL}), 1)


def test_settings_are_the_runs_own(run: Run, tmp_path: Path) -> None:
    assert settings_of(run) == EvalSettings(tasks="2", episodes=2, horizon=10, seed=4, workers=1)
    unset = Run.start(tmp_path / "unset", {"eval": {"episodes": None, "every": 5}, "update": {"lr": 1.0}})
    assert build(EvalSettings, own_settings(unset)) == EvalSettings()
    assert own_settings(Run.start(tmp_path / "other", {"update": {"lr": 1.0}})) == {}


def test_what_goes_with_a_changed_setting_is_not_the_runs(run: Run) -> None:
    assert own_settings(run, {"seed", "workers"}) == {"tasks": "2", "episodes": 2, "horizon": 10, "engine": "fast"}
    assert own_settings(run, {"inits"}) == {"tasks": "2", "horizon": 10, "seed": 4, "engine": "fast"}
    assert own_settings(run, {"suite"}) == {"seed": 4, "engine": "fast"}


def test_label_tells_what_is_asked_not_how_it_is_run(run: Run) -> None:
    settings = settings_of(run)
    assert label_of(settings).startswith("heldout-2-")
    assert label_of(replace(settings, workers=7, slots=1)) == label_of(settings)
    assert label_of(replace(settings, horizon=11)) != label_of(settings)
    assert label_of(replace(settings, inits="0-3,12")).startswith("0_3_12-2-")


def test_it_goes_on_where_it_stopped(run: Run) -> None:
    told: list[dict[str, Any]] = []

    def stop(row: dict[str, Any]) -> None:
        told.append(row)
        if row["iteration"] == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate_run(run, settings_of(run), unseen, stop)
    result = evaluate_run(run, settings_of(run), unseen, told.append)
    assert [row["iteration"] for row in told] == [0, 2, 0, 2, 3]
    assert [row["collected"] for row in result["policies"]] == [0, 0, 2]
    kept = run.evaluations(label_of(settings_of(run)))
    assert result["kept"] == str(kept) and sorted(p.name for p in kept.iterdir()) == [
        "000.zarr",
        "002.zarr",
        "003.zarr",
    ]
    plans = [RolloutStore.open(store).plan for store in sorted(kept.iterdir())]
    assert all(plan.same(plans[0]) for plan in plans)
    first, later, _ = result["policies"]
    assert first["first"] is None and (later["first"]["n"], later["first"]["neither"]) == (2, 2)
    assert result["verdict"].startswith("no difference can be told: p = 1, n = 2; policy 003 - policy 000 is +0.0")

    before = fingerprint(run.folder)
    assert all(row["up_to_date"] for row in evaluate_run(run, settings_of(run), unseen, told.append)["policies"])
    assert fingerprint(run.folder) == before


def test_a_policy_that_the_run_removes_meanwhile_is_left_out(run: Run) -> None:
    def remove(row: dict[str, Any]) -> None:
        if row["iteration"] == 0:
            shutil.rmtree(run.policy(3))

    result = evaluate_run(run, settings_of(run), unseen, remove)
    assert ([row["iteration"] for row in result["policies"]], result["gone"]) == ([0, 2], [3])


def test_another_place_and_a_single_policy(tmp_path: Path) -> None:
    run = Run.start(tmp_path / "one", {"eval": EVAL})
    add_policy(run, 5)
    result = evaluate_run(run, settings_of(run), unseen, lambda _: None, every=2, out=tmp_path / "kept")
    assert (tmp_path / "kept" / "005.zarr").is_dir() and not (run.folder / "eval").exists()
    assert result["verdict"] == "one policy: nothing to compare"
