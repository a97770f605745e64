"""The runs themselves, on one real task, tiny."""

import json
import shutil
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from data.errors import UserError
from data.runs import Run
from data.shards import Shard
from stages.bench.learning.runs import Runs, bench_learning, read_rows
from stages.bench.learning.settings import Arm, LearningSettings
from tests.stages.tiny_run import TINY

SHORT = ("collect.horizon=8", "eval.horizon=8")


def settings(folder: Path, *arms: str, iterations: int = 1) -> LearningSettings:
    preset = folder / "tiny.toml"
    preset.write_text(TINY)
    parsed = [Arm.parse(arm) for arm in arms]
    return LearningSettings(parsed, (4,), preset=str(preset), iterations=iterations, changes=SHORT)


def bench(out: Path, asked: LearningSettings, shard: str = "0/1") -> tuple[Runs, list[str], list[dict[str, Any]]]:
    begun: list[str] = []
    told: list[dict[str, Any]] = []
    runs = bench_learning(
        out, asked, lambda *_: nullcontext(lambda *_: None), told.append, begun.append, Shard.parse(shard)
    )
    return runs, begun, told


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, LearningSettings]:
    folder = tmp_path_factory.mktemp("learning")
    asked = settings(folder, "binary", "half: reward.preset=paper reward.alpha=0.4")
    bench(folder / "out", asked)
    return folder / "out", asked


def test_arms_learn_from_the_very_same_start(whole: tuple[Path, LearningSettings]) -> None:
    out, _ = whole
    start, binary, half = (out / name for name in ("starts/normal-4", "runs/normal-binary-4", "runs/normal-half-4"))
    weights = [(run / "policies/000/model.safetensors").read_bytes() for run in (start, binary, half)]
    assert weights[0] == weights[1] == weights[2]
    stages = [m["stage"] for m in Run.open(half).metrics()]
    assert stages == ["demo", "sft", "eval", "collect", "encode", "reward", "update", "eval"]
    assert [m for m in Run.open(binary).metrics() if m["iteration"] == 0] == Run.open(start).metrics()


def test_every_iteration_is_a_line(whole: tuple[Path, LearningSettings]) -> None:
    out, _ = whole
    lines = [json.loads(line) for line in (out / "learning.jsonl").read_text().splitlines()]
    assert [(x["start"], x["arm"], x["seed"], x["iteration"], x["episodes"]) for x in lines] == [
        ("normal", "binary", 4, 0, 0),
        ("normal", "binary", 4, 1, 2),
        ("normal", "half", 4, 0, 0),
        ("normal", "half", 4, 1, 2),
    ]
    assert read_rows(out).keys() == {("normal", "binary"), ("normal", "half")}


def test_what_is_whole_is_not_done_again(whole: tuple[Path, LearningSettings]) -> None:
    out, asked = whole
    before = (out / "runs/normal-half-4/metrics.jsonl").read_bytes()
    _, begun, told = bench(out, asked)
    assert begun == ["normal-binary-4", "normal-half-4"]
    assert not told
    assert (out / "runs/normal-half-4/metrics.jsonl").read_bytes() == before


def test_stopped_between_stages_it_goes_on(whole: tuple[Path, LearningSettings], tmp_path: Path) -> None:
    """In the second arm's first iteration, after its collection."""
    out, asked = whole
    copy = tmp_path / "out"
    shutil.copytree(out, copy)
    run = Run.open(copy / "runs/normal-half-4")
    shutil.rmtree(run.policy(1))
    lines = [m for m in run.metrics() if (m["iteration"], m["stage"]) not in ((1, "update"), (1, "eval"))]
    run.metrics_file.write_text("".join(json.dumps(m) + "\n" for m in lines))
    _, begun, told = bench(copy, asked)
    assert begun == ["normal-binary-4", "normal-half-4"]
    assert [m["stage"] for m in told if not m["up_to_date"]] == ["update"]
    weights = [(root / "runs/normal-half-4/policies/001/model.safetensors").read_bytes() for root in (out, copy)]
    assert weights[0] == weights[1]
    kept = [
        [(r.iteration, r.episodes, r.sampled, r.greedy) for r in read_rows(o)["normal", "half"][4]] for o in (out, copy)
    ]
    assert kept[0] == kept[1]


def test_an_arm_whose_world_model_does_not_load_is_told_at_once(tmp_path: Path) -> None:
    wrong = "wrong: encode.world_model=efficientnet-lite0 encode.size=100"
    with pytest.raises(UserError, match="not 100"):
        bench(tmp_path / "out", settings(tmp_path, "binary", wrong))
    assert not (tmp_path / "out").exists()


def test_nothing_for_a_shard(tmp_path: Path) -> None:
    asked = settings(tmp_path, "binary")
    assert bench(tmp_path / "out", asked, "1/2")[:2] == ({}, [])


def test_a_shard_does_its_own_runs(whole: tuple[Path, LearningSettings]) -> None:
    _, begun, _ = bench(*whole, "1/2")
    assert begun == ["normal-half-4"]


def test_other_settings_and_other_places_are_refused(whole: tuple[Path, LearningSettings], tmp_path: Path) -> None:
    out, asked = whole
    with pytest.raises(UserError, match="collect.samples"):
        bench(out, replace(asked, changes=(*SHORT, "collect.samples=4")))
    (tmp_path / "letters.txt").write_text("dear")
    with pytest.raises(UserError, match="something else"):
        bench(tmp_path, asked)
