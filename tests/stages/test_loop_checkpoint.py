"""A run that starts from a checkpoint: a tiny OpenVLA-OFT goes through every stage on LIBERO's own pixels."""

import shutil
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data.checkpoint import read_record, write_checkpoint
from data.errors import UserError
from data.runs import Run
from data.store import RolloutStore
from stages import loop, start
from stages.learning.settings import UpdateSettings
from stages.loop import run_loop
from stages.policies.config import read_config
from stages.policies.loading import identity, load_policy, weights_digest
from stages.policies.mini import MiniConfig, MiniPolicy
from stages.recipe import Recipe, load_recipe
from stages.reward import reward_store
from stages.start import start_from
from stages.update import update_policy
from tests.stages.policies.openvla_oft.tiny import make

SUITE = "libero_spatial"


def recipe(policy: Path | str) -> Recipe:
    """The preset for such checkpoints, as small as can be."""
    task = ["task.tasks=0", "task.horizon=8", "task.workers=1", "task.preflight=false"]
    small = ["collect.groups=1", "collect.samples=2", "eval.every=1", "eval.episodes=1"]
    return load_recipe("openvla", [*task, *small, f"run.policy={policy}"])


def run(folder: Path, wanted: Recipe, iterations: int = 1) -> list[tuple[int, str, bool]]:
    """Run; returns (iteration, stage, up to date) in order."""
    told: list[dict[str, Any]] = []
    run_loop(folder, wanted, iterations, lambda *_: nullcontext(lambda *_: None), told.append)
    return [(record["iteration"], record["stage"], record["up_to_date"]) for record in told]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("released") / "checkpoint", suite=SUITE)


def made_up(store: Path, *given: Any, **named: Any) -> dict[str, Any]:
    """Rewards as if one of two episodes had succeeded: a random policy never does."""
    result = reward_store(store, *given, **named)
    RolloutStore.open(store, writable=True).group["reward/path/reward"][:] = np.array([0.0, 1.0])
    return result


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, checkpoint: Path) -> Path:
    """A run of one iteration, which learned something."""
    folder = tmp_path_factory.mktemp("run") / "run"
    after = ("collect", "encode", "reward", "update", "eval")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "reward_store", made_up)
        stages = [(n, stage) for n, stage, _ in run(folder, recipe(checkpoint))]
    assert stages == [(0, "start"), (0, "eval"), *[(1, stage) for stage in after]]
    return folder


def test_the_start_is_the_checkpoint(finished: Path, checkpoint: Path) -> None:
    first = Run.open(finished).policy(0)
    assert identity(first) == identity(checkpoint)
    assert read_record(first)["policy"] == str(checkpoint)
    assert Run.open(finished).settings()["run"]["policy"] == str(checkpoint)
    assert {file.name for file in checkpoint.iterdir()} <= {file.name for file in first.iterdir()}


def test_an_update_writes_adapters_alone(finished: Path) -> None:
    first, second = (Run.open(finished).policy(n) for n in (0, 1))
    assert read_config(second)["adapters_of"] == {"policy": "../000", "weights": weights_digest(first)}
    assert not list(second.glob("model*")) and Run.open(finished).metrics()[5]["updated"]


def test_an_update_of_all_weights_keeps_the_layout(finished: Path, tmp_path: Path) -> None:
    made = Run.open(finished)
    store = shutil.copytree(made.rollouts(1), tmp_path / "copy.zarr")
    update_policy(store, made.policy(0), tmp_path / "next", "path", UpdateSettings(epochs=1))
    first, second = (load_policy(folder).module.state_dict() for folder in (made.policy(0), tmp_path / "next"))
    assert list(first) == list(second)
    changed = {name for name in first if not (first[name] == second[name]).all()}
    assert "language_model.lm_head.weight" in changed and "projector.fc1.weight" in changed
    assert not any(".attn_pool." in name for name in changed)


def test_all_stores_are_there(finished: Path) -> None:
    made = Run.open(finished)
    rollouts = RolloutStore.open(made.rollouts(1))
    assert rollouts.attrs["policy"] == identity(made.policy(0)) and rollouts.attrs["look"] == "full"
    assert rollouts.read(0).tokens.shape == (1, 56)
    assert rollouts.read(0).images["agentview"].shape == (1, 256, 256, 3)
    (label,) = rollouts.labels("encode")
    assert np.isfinite(rollouts.group[f"encode/{label}/moments"][:]).all()
    for n in (0, 1):
        assert RolloutStore.open(made.evaluation(n)).attrs["policy"] == identity(made.policy(n))


def test_an_update_without_variance_is_a_copy_that_loads(finished: Path, tmp_path: Path) -> None:
    made = Run.open(finished)
    store = RolloutStore.open(shutil.copytree(made.rollouts(1), tmp_path / "flat.zarr"), writable=True)
    store.group.create_array("reward/flat/reward", data=np.zeros(2))
    store.group["reward/flat"].update_attributes({"inputs": "x"})
    result = update_policy(store.path, made.policy(0), tmp_path / "next", "flat")
    assert not result["updated"] and result["weights"] == weights_digest(made.policy(0))
    load_policy(tmp_path / "next")


def test_nothing_is_left_to_do(finished: Path, checkpoint: Path) -> None:
    assert all(up_to_date for *_, up_to_date in run(finished, recipe(checkpoint)))


def test_another_start_is_refused(finished: Path) -> None:
    with pytest.raises(UserError, match=r"run\.policy = '.*', now 'nobody/else'"):
        run(finished, recipe("nobody/else"))


@pytest.fixture
def mini(tmp_path: Path) -> Path:
    record = {"trained_inits": {"libero_object": {"2": [1]}}}
    write_checkpoint(tmp_path / "mini", MiniPolicy(MiniConfig()).save, record)
    (tmp_path / "mini" / "trainer.safetensors").write_bytes(b"")
    return tmp_path / "mini"


@pytest.mark.parametrize("large", [start.LARGE, 0])
def test_a_start_outlives_its_source(mini: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, large: int) -> None:
    monkeypatch.setattr(start, "LARGE", large)
    weights, out = weights_digest(mini), tmp_path / "000"
    assert not start_from(str(mini), out)["up_to_date"]
    assert ((out / "model.safetensors").stat().st_nlink == 2) == (large == 0)
    assert read_record(out)["trained_inits"] == {"libero_object": {"2": [1]}}
    assert not (out / "trainer.safetensors").exists()
    shutil.rmtree(mini)
    assert start_from(str(mini), out)["up_to_date"]
    assert weights_digest(out) == weights == load_and_digest(out, tmp_path / "again")


def load_and_digest(folder: Path, again: Path) -> str:
    again.mkdir()
    load_policy(folder).save(again)
    return weights_digest(again)


def test_other_weights_under_the_same_name_are_refused(mini: Path, tmp_path: Path) -> None:
    start_from(str(mini), tmp_path / "000")
    MiniPolicy(MiniConfig(), seed=1).save(mini)
    with pytest.raises(UserError, match="give the policy it began with"):
        start_from(str(mini), tmp_path / "000")


def test_what_cannot_be_a_start_makes_no_run(checkpoint: Path, tmp_path: Path) -> None:
    broken = shutil.copytree(checkpoint, tmp_path / "broken")
    (broken / "tokenizer.json").unlink()
    wrong_suite = load_recipe("openvla", [f"run.policy={checkpoint}", "task.suite=libero_object"])
    for wanted, message in ((recipe(broken), r"no tokenizer\.json"), (wrong_suite, "suite is libero_object")):
        with pytest.raises(UserError, match=message):
            run(tmp_path / "run", wanted)
    assert not (tmp_path / "run").exists()
