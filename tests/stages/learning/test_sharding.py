"""Two processes that share weights, gradients and AdamW's memory out (FSDP2), against one that does not."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from data.errors import UserError
from stages.learning.launching import launch_of
from stages.learning.sharding import sharding_asked
from stages.policies.config import read_config
from stages.policies.loading import load_policy, weights_digest
from tests.stages.learning.sharded import CASES, EVERY, update
from tests.stages.policies.openvla_oft import tiny

ROOT = Path(__file__).parents[3]


def two_processes(what: str, folder: Path) -> list[tuple[int, str]]:
    """Exit code and output of each, told what the shipped config tells eight."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    environment = os.environ | launch_of("eight_gpus_fsdp", 2).environment | {"PYTHONPATH": str(ROOT)}
    environment |= {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    command = [sys.executable, "-m", "tests.stages.learning.sharded", what, str(folder)]
    running = [
        subprocess.Popen(
            command,
            env=environment | {"RANK": rank, "LOCAL_RANK": rank, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in "01"
    ]
    outputs = [process.communicate(timeout=240)[0] for process in running]
    return [(process.returncode, output) for process, output in zip(running, outputs, strict=True)]


def test_parts_learn_what_the_whole_does(
    tiny_policy, tiny_folder: Path, made_up_store: Callable[..., Path], tmp_path: Path
) -> None:
    """All of mini and of OpenVLA-OFT, adapters of it, and 32-bit adapters of 16-bit weights: the same files, and
    weights within rounding, which AdamW makes a step of where a gradient is all rounding."""
    tiny_folder.rename(tmp_path / "mini")
    made_up_store(tiny_policy, tmp_path / "mini", "mini.zarr", groups=2)
    for name, dtype in (("oft", torch.float32), ("half", torch.bfloat16)):
        made_up_store(load_policy(tiny.make(tmp_path / name, dtype)), tmp_path / name, f"{name}.zarr", groups=1)
    ends = two_processes("compare", tmp_path)
    assert [code for code, _ in ends] == [0, 0]
    for case, settings in CASES.items():
        one, two = tmp_path / f"{case}-one", tmp_path / f"{case}-two"
        assert update(tmp_path, case, one, settings)["updated"]
        assert sorted(path.name for path in one.iterdir()) == sorted(path.name for path in two.iterdir())
        assert read_config(one) == read_config(two)
        for file in one.glob("*.safetensors"):
            near(load_file(file), load_file(two / file.name), 1e-5 if "trainer" not in file.name else 1e-3)
    for _, output in ends:
        found = json.loads(output.splitlines()[-1])
        assert found["held"]["parts"] and found["held"]["blocks"] == 8
        assert found["held"]["weights"] == pytest.approx(0.5, abs=0.01)
        assert found["held"]["memory"] == pytest.approx(0.5, abs=0.01)
        assert found["bf16"] == 0


def near(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor], tolerance: float) -> None:
    assert one.keys() == two.keys()
    for name, value in one.items():
        assert two[name].dtype == value.dtype and two[name].shape == value.shape
        assert (two[name].double() - value.double()).norm() <= tolerance * value.double().norm() + 1e-9, name


@pytest.mark.slow
def test_killed_half_way_it_ends_as_if_it_had_not_been(
    tiny_policy, tiny_folder: Path, made_up_store: Callable[..., Path], tmp_path: Path
) -> None:
    tiny_folder.rename(tmp_path / "mini")
    made_up_store(tiny_policy, tmp_path / "mini", "mini.zarr")
    assert {code for code, _ in two_processes("kill", tmp_path)} == {-signal.SIGKILL}
    assert [path.name for path in (tmp_path / ".killed.halfway").iterdir()] == [str(EVERY)]
    ends = two_processes("resume", tmp_path)
    found: list[dict[str, Any]] = [json.loads(output.splitlines()[-1]) for _, output in ends]
    assert [one["first"] for one in found] == [EVERY + 1] * 2
    assert found[0]["health"][0] == found[0]["health"][1]
    assert weights_digest(tmp_path / "killed") == weights_digest(tmp_path / "straight")
    state = "trainer.safetensors"
    assert (tmp_path / "killed" / state).read_bytes() == (tmp_path / "straight" / state).read_bytes()
    assert not (tmp_path / ".killed.halfway").exists()


@pytest.mark.parametrize(
    ("told", "mend"),
    [
        ({"FSDP_VERSION": "1"}, "set fsdp_version: 2"),
        ({"FSDP_VERSION": "2", "FSDP_OFFLOAD_PARAMS": "true"}, "set fsdp_offload_params: false"),
        ({"FSDP_VERSION": "2", "FSDP_RESHARD_AFTER_FORWARD": "full_shard"}, "fsdp_config cannot be used"),
    ],
)
def test_what_cannot_be_done_is_refused(told: dict[str, str], mend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"WORLD_SIZE": "2", "ACCELERATE_USE_FSDP": "true", **told}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=mend):
        sharding_asked()
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert sharding_asked() is None


def test_nobody_outlives_the_process_that_started_all(tmp_path: Path) -> None:
    """A package `srpo_cli` of our own, whose processes write who they are and sleep."""
    (tmp_path / "srpo_cli").mkdir()
    (tmp_path / "srpo_cli/__init__.py").touch()
    (tmp_path / "srpo_cli/__main__.py").write_text(
        "import os, pathlib, time\npathlib.Path(os.environ['RANK']).write_text(str(os.getpid()))\ntime.sleep(60)\n"
    )
    script = "from stages.learning.processes import run_together; run_together(['update'], 2)"
    environment = os.environ | {"PYTHONPATH": f"{tmp_path}:{ROOT}"}
    parent = subprocess.Popen([sys.executable, "-c", script], cwd=tmp_path, env=environment)
    files = [tmp_path / rank for rank in "01"]
    until(lambda: all(file.is_file() and file.read_text() for file in files))
    parent.kill()
    parent.wait()
    until(lambda: not any(alive(int(file.read_text())) for file in files))


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)


def alive(process: int) -> bool:
    """It runs, and is not a corpse that nobody has taken note of."""
    try:
        return ") Z " not in Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return False
