"""An update whose products are in bf16, as an Accelerate config asks: f32 weights all the same, and another update."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from stages.learning.launching import config_file
from stages.policies.mini import MiniPolicy

ROOT = Path(__file__).parents[2]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "bf16.yaml"
    file.write_text(
        yaml.safe_dump(yaml.safe_load(config_file("one_gpu_lora").read_text()) | {"mixed_precision": "bf16"})
    )
    return file


def update(*words: str | Path) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable,
        "-m",
        "srpo_cli",
        "update",
        *map(str, words),
        "--set",
        "minibatch=16",
        "--set",
        "lr=1e-3",
    ]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.run([*command, "--json"], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)


def test_products_in_bf16(
    tiny_policy: MiniPolicy, tiny_folder: Path, made_up_store: Callable[..., Path], config: Path, tmp_path: Path
) -> None:
    ways: dict[str, list[str | Path]] = {"f32": [], "bf16": ["--accelerate", config]}
    asked = [made_up_store(tiny_policy, tiny_folder), "--policy", tiny_folder, "--reward", "binary", "--out"]
    made = {name: update(*asked, tmp_path / name, *more) for name, more in ways.items()}
    assert {name: done.returncode for name, done in made.items()} == {"f32": 0, "bf16": 0}, made
    health = {name: json.loads(done.stdout)["health"] for name, done in made.items()}
    assert health["f32"]["first_logprob_gap"] < 1e-3 < health["bf16"]["first_logprob_gap"] < 0.2
    start = load_file(tiny_folder / "model.safetensors")
    steps = {}
    for name in made:
        weights = load_file(tmp_path / name / "model.safetensors")
        assert {value.dtype for value in weights.values()} == {torch.float32}
        steps[name] = torch.cat([(weights[key] - start[key]).flatten() for key in start])
    assert torch.cosine_similarity(steps["f32"], steps["bf16"], dim=0) > 0.8
    again = update(*asked, tmp_path / "bf16", *ways["bf16"])
    assert json.loads(again.stdout)["up_to_date"]
    assert update(*asked, tmp_path / "bf16").returncode == 2
