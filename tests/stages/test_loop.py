"""The loop end to end on one real task: it goes on where it was, and a kill changes nothing."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from data.checkpoint import read_record
from data.errors import UserError
from data.runs import Run
from data.store import RolloutStore
from stages.learning.launching import Launch
from stages.loop import _Stages, iteration_seed, run_loop
from stages.policies.loading import identity, weights_digest
from stages.recipe import Recipe, load_recipe, make_recipe
from tests.stages.tiny_run import TINY
from tests.stages.world_models.test_transformers_models import VIT, saved


@pytest.fixture(scope="module")
def preset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("preset") / "tiny.toml"
    path.write_text(TINY)
    return path


def watch(title: str, unit: str) -> Any:
    return nullcontext(lambda *_: None)


def loop(folder: Path, recipe: Recipe, iterations: int, track: str | None = None) -> list[tuple[int, str, bool]]:
    """Run; returns (iteration, stage, up to date) in order."""
    told: list[dict[str, Any]] = []
    run_loop(folder, recipe, iterations, watch, told.append, track)
    return [(record["iteration"], record["stage"], record["up_to_date"]) for record in told]


def content(run: Path) -> dict[str, np.ndarray | bytes]:
    """All arrays of all stores, and the weights and optimizer states of all policies."""
    found: dict[str, np.ndarray | bytes] = {}
    stores = sorted(p for p in run.rglob("*") if p.name.endswith((".zarr", ".zarr.zip")))
    for path in stores:
        name = str(path.relative_to(run)).removesuffix(".zip")
        group = RolloutStore.open(path).group
        found |= {f"{name}/{key}": value[:] for key, value in group.members(None) if isinstance(value, zarr.Array)}
        found |= {f"{name}/{key}@": repr(dict(g.attrs)).encode() for key, g in group.members(None)}
    found |= {str(p.relative_to(run)): p.read_bytes() for p in run.rglob("*.safetensors")}
    return found


def assert_same(a: dict[str, np.ndarray | bytes], b: dict[str, np.ndarray | bytes]) -> None:
    assert a.keys() == b.keys()
    for name in a:
        if isinstance(a[name], bytes):
            assert a[name] == b[name], name
        else:
            np.testing.assert_array_equal(a[name], b[name], err_msg=name)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, preset: Path) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed") / "run"
    loop(folder, load_recipe(str(preset)), 3)
    return folder


def test_every_stage_of_every_iteration_is_told_and_logged(undisturbed: Path) -> None:
    run = Run.open(undisturbed)
    stages = [(m["iteration"], m["stage"]) for m in run.metrics()]
    iteration = ["collect", "encode", "reward", "update"]
    expected = [(0, s) for s in ("demo", "sft", "eval")] + [(1, s) for s in iteration]
    expected += [(2, s) for s in (*iteration, "eval")] + [(3, s) for s in (*iteration, "eval")]
    assert stages == expected
    assert all(m["seconds"] >= 0 for m in run.metrics())


def test_old_iterations_are_tidied(undisturbed: Path) -> None:
    run = Run.open(undisturbed)
    assert run.rollouts(1).with_name("000.zarr.zip").is_file()
    assert not run.rollouts(1).exists()
    assert RolloutStore.open(run.rollouts(1)).cameras() == []
    assert RolloutStore.open(run.rollouts(3)).cameras() == ["agentview"]
    kept = sorted(path.name for path in (undisturbed / "policies").iterdir())
    assert kept == ["000", "002", "003"]


def test_it_goes_on_and_ends_as_one_run(undisturbed: Path, tmp_path: Path, preset: Path) -> None:
    recipe, folder = load_recipe(str(preset)), tmp_path / "run"
    loop(folder, recipe, 2)
    told = loop(folder, recipe, 3, track="tensorboard")
    assert [(n, s) for n, s, up_to_date in told if not up_to_date] == [
        (3, s) for s in ("collect", "encode", "reward", "update", "eval")
    ]
    assert_same(content(undisturbed), content(folder))
    assert json.loads((folder / "trackers/tensorboard.json").read_text())["told"] == len(Run(folder).metrics())


def test_a_tracker_that_is_missing_is_told_before_anything_is_made(tmp_path: Path, preset: Path) -> None:
    with pytest.raises(UserError, match="did you mean 'wandb'"):
        loop(tmp_path / "run", load_recipe(str(preset)), 3, track="wanb")
    assert not (tmp_path / "run").exists()


def test_the_mean_of_the_last_policies_is_evaluated(tmp_path: Path, preset: Path) -> None:
    run, recipe = (
        Run(tmp_path / "run"),
        load_recipe(str(preset), ["eval.average=3", "eval.every=4", "run.keep_policies=5"]),
    )
    loop(run.folder, recipe, 4)
    evaluated = {m["iteration"]: m["averaged"] for m in run.metrics() if m["stage"] == "eval"}
    assert evaluated == {0: 1, 4: 2}
    policies = [run.policy(3), run.policy(4)]
    assert read_record(run.average(4))["policies"] == [weights_digest(policy) for policy in policies]
    assert RolloutStore.open(run.evaluation(4)).attrs["policy"] == identity(run.average(4))
    assert [list(recipe.eval.averaged(n)) for n in (0, 1, 3, 9)] == [[0], [1], [3], [7, 8, 9]]
    assert run.policies() == [0, 2, 3, 4], "3 and 4 for the next iteration, 2 for its mean"


def test_the_temperature_falls_from_iteration_to_iteration(tmp_path: Path, preset: Path) -> None:
    changes = ["collect.temperature=0.6", "collect.temperature_half=2", "eval.every=0"]
    run, recipe = Run(tmp_path / "run"), load_recipe(str(preset), changes)
    loop(run.folder, recipe, 2)
    assert [RolloutStore.open(run.rollouts(n)).attrs["temperature"] for n in (1, 2)] == [0.6, 0.4]
    assert [m["temperature"] for m in run.metrics() if m["stage"] == "collect"] == [0.6, 0.4]
    assert [recipe.collect.cooled(n) for n in (3, 5, 7)] == [0.3, 0.2, 0.15]


def test_run_again_changes_no_store(undisturbed: Path, preset: Path) -> None:
    before = content(undisturbed)
    assert all(up_to_date for *_, up_to_date in loop(undisturbed, load_recipe(str(preset)), 3))
    assert_same(before, content(undisturbed))


def killed(folder: Path, preset: Path, seed: int, *words: str) -> None:
    """A loop of three iterations that is killed four times on its way."""
    rng = np.random.default_rng(seed)
    command = [sys.executable, "-m", "srpo_cli", "loop", str(folder), "--preset", str(preset), *words]
    command += ["--iterations", "3"]
    for _ in range(4):
        process = subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL)
        time.sleep(float(rng.uniform(3, 14)))
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    subprocess.run(command, check=True)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_killed_anywhere_it_ends_the_same(undisturbed: Path, tmp_path: Path, preset: Path, seed: int) -> None:
    killed(tmp_path / "run", preset, seed)
    assert_same(content(undisturbed), content(tmp_path / "run"))


@pytest.mark.slow
def test_killed_with_what_laptop_has_besides(tmp_path: Path, preset: Path) -> None:
    """Initial states by how earlier ones went, a falling temperature, paths of moments, and means of policies."""
    changes = ["collect.draw=hard", "collect.groups=2", "collect.temperature_half=2", "reward.preset=path"]
    changes += ["encode.moments=4", "eval.average=2", "demo.lapses=0.5", "update.lr_half=2"]
    loop(tmp_path / "whole", load_recipe(str(preset), changes), 3)
    killed(tmp_path / "killed", preset, 7, *(word for change in changes for word in ("--set", change)))
    assert_same(content(tmp_path / "whole"), content(tmp_path / "killed"))


def test_a_world_model_in_a_folder(tmp_path: Path, preset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Called as one that comes with srpo is, it is still the one of the folder; from elsewhere the run goes on."""
    saved(tmp_path / "pixels", "ViTModel", VIT)
    monkeypatch.chdir(tmp_path)
    given = ["encode.world_model=./pixels", "eval.every=0"]
    loop(Path("run"), load_recipe(str(preset), given), 1)
    encoded = RolloutStore.open("run/rollouts/000.zarr").label_attrs("encode", "pixels") or {}
    assert encoded["dim"] == 2 * VIT["hidden_size"], "the mean of the frames and the last one"
    assert Run.open("run").settings()["encode"]["world_model"] == str(tmp_path / "pixels")
    gone = load_recipe(str(preset), ["encode.world_model=pixel"])
    with pytest.raises(UserError, match="unknown world model 'pixel'.*did you mean 'pixels'"):
        loop(Path("other"), gone, 1)
    assert not Path("other").exists()


def test_a_world_model_that_cannot_be_so_is_told_before_anything_is_made(tmp_path: Path, preset: Path) -> None:
    for changes, told in (
        (["encode.world_model=efficientnet-lite0", "encode.size=100"], "not 100"),
        (["encode.world_model=none.pt"], "no file none.pt"),
    ):
        with pytest.raises(UserError, match=told):
            loop(tmp_path / "run", load_recipe(str(preset), changes), 1)
    assert not (tmp_path / "run").exists()


def test_a_second_loop_on_a_run_is_kept_out(tmp_path: Path, preset: Path) -> None:
    run = Run.start(tmp_path / "run", load_recipe(str(preset)).sections())
    with run.alone(), pytest.raises(UserError, match="another process is at work on"):
        loop(run.folder, load_recipe(str(preset)), 1)
    assert not run.demos().exists()


def test_other_settings_are_refused(undisturbed: Path, preset: Path) -> None:
    with pytest.raises(UserError, match=r"update\.lr = 0.0003, now 0.001"):
        loop(undisturbed, load_recipe(str(preset), ["update.lr=1e-3"]), 3)


def test_the_number_of_workers_may_change(undisturbed: Path, preset: Path) -> None:
    assert all(up_to_date for *_, up_to_date in loop(undisturbed, load_recipe(str(preset), ["task.workers=2"]), 3))


def test_seeds_differ_by_iteration() -> None:
    seeds = {iteration_seed(seed, n) for seed in range(3) for n in range(1, 50)}
    assert len(seeds) == 3 * 49


def test_progress_curves_need_prefixes_and_embeddings_that_are_compared() -> None:
    base = ["update.algorithm=awr-step", "update.negative_scale=1"]
    for more in ([], ["encode.prefixes=4", "reward.preset=path"], ["encode.prefixes=4", "reward.preset=binary"]):
        with pytest.raises(UserError, match=r"awr-step learns from progress curves: encode\.prefixes=16"):
            load_recipe("laptop", [*base, *more])
    assert load_recipe("laptop", [*base, "encode.prefixes=4", "reward.preset=paper"]).encode.prefixes == 4


def test_an_update_is_of_the_algorithm_asked_for_and_near_the_start(tmp_path: Path, monkeypatch) -> None:
    asked: list[dict[str, Any]] = []

    def note(store: Path, old: Path, new: Path, label: str, settings: Any, **more: Any) -> dict[str, Any]:
        asked.append({"algorithm": settings.algorithm, "reference": more["reference"]})
        return {}

    monkeypatch.setattr("stages.loop.update_policy", note)
    for n, changes in enumerate(([], ["update.algorithm=awr", "update.kl_coef=0.1"])):
        recipe = load_recipe("laptop", changes)
        run = Run.start(tmp_path / str(n), recipe.sections())
        _Stages(run, recipe, watch, lambda _: None, Launch()).update(5)
        assert run.settings()["update"]["algorithm"] == asked[-1]["algorithm"]
    assert asked[0] == {"algorithm": "grpo", "reference": None}
    assert asked[1] == {"algorithm": "awr", "reference": tmp_path / "1" / "policies" / "000"}


def test_shared_settings_reach_every_stage_and_its_own_section_wins() -> None:
    recipe = make_recipe({"task": {"tasks": "2", "horizon": 160, "seed": 4}, "eval": {"horizon": 280}})
    assert (recipe.demo.tasks, recipe.collect.tasks, recipe.eval.tasks) == ("2", "2", "2")
    assert (recipe.collect.horizon, recipe.eval.horizon) == (160, 280)
    assert recipe.sft.seed == recipe.update.seed == 4


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"task": {"horizn": 1}}, "did you mean 'horizon'"),
        ({"collet": {}}, "did you mean 'collect'"),
        ({"eval": {"evry": 1}}, "did you mean 'every'"),
        ({"reward": {"preset": "papr"}}, "did you mean 'paper'"),
        ({"run": {"keep_images": 0}}, "keep_images"),
        ({"eval": {"every": -3}}, "eval.every"),
        ({"collect": {"temperature_half": 0}}, "temperature_half must be 1 or more"),
        ({"reward": {"preset": "path"}}, "encode.moments=0"),
        ({"collect": {"keep_images": False}}, "collect.keep_images=false"),
        ({"collect": {"temperature": 0.0}}, "collect.temperature=0"),
        ({"collect": {"samples": 1}}, "collect.samples=1"),
    ],
)
def test_wrong_recipes(sections: dict[str, dict[str, Any]], message: str) -> None:
    with pytest.raises(UserError, match=message):
        make_recipe(sections)
