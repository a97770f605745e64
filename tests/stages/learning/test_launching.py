"""Accelerate configs: the shipped ones as Accelerate reads them, and what of others is refused."""

import os
import socket
from dataclasses import fields, replace
from pathlib import Path

import pytest
import yaml
from accelerate import FullyShardedDataParallelPlugin
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.commands.launch import _validate_launch_command, launch_command_parser
from accelerate.utils.launch import prepare_multi_gpu_env

from data.errors import UserError
from data.settings import from_options
from stages.learning.launching import CONFIGS, Launch, config_file, launch_of, settings_words
from stages.learning.settings import UpdateSettings

SHIPPED = sorted(path.stem for path in CONFIGS.glob("*.yaml"))


@pytest.fixture(autouse=True)
def same_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Back to what it was, whatever a test changes."""
    monkeypatch.setattr(os, "environ", os.environ.copy())


def free_port() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return str(free.getsockname()[1])


def test_three_are_shipped() -> None:
    assert SHIPPED == ["eight_gpus_fsdp", "one_gpu_lora", "two_nodes"]


@pytest.mark.parametrize("name", SHIPPED)
def test_accelerate_reads_it(name: str) -> None:
    config = load_config_from_file(str(config_file(name)))
    wanted = {"one_gpu_lora": (1, 1, "NO"), "eight_gpus_fsdp": (8, 1, "FSDP"), "two_nodes": (16, 2, "FSDP")}[name]
    kind = getattr(config.distributed_type, "value", config.distributed_type)
    assert (config.num_processes, config.num_machines, kind) == wanted
    options = vars(launch_command_parser().parse_args(["-m", "srpo_cli"]))
    assert set(config.fsdp_config) <= set(options)


def test_processes_are_told_what_accelerate_tells_them() -> None:
    found = launch_of("eight_gpus_fsdp", None)
    assert found.processes == 8 and found.shares_out
    words = ["--config_file", str(config_file("eight_gpus_fsdp")), "--main_process_port", free_port(), "-m", "srpo_cli"]
    arguments, *_ = _validate_launch_command(launch_command_parser().parse_args(words))
    theirs = prepare_multi_gpu_env(arguments)
    assert {name: theirs[name] for name in found.environment} == found.environment
    os.environ.update(found.environment)
    plugin = FullyShardedDataParallelPlugin()
    assert plugin.fsdp_version == 2 and plugin.reshard_after_forward and plugin.activation_checkpointing


def test_one_process_is_this_one() -> None:
    assert launch_of("one_gpu_lora", None).processes == 1
    assert os.environ["ACCELERATE_MIXED_PRECISION"] == "no"
    assert launch_of(None, 3) == Launch(3) and not Launch(3).shares_out
    os.environ["WORLD_SIZE"] = "2"
    assert launch_of("eight_gpus_fsdp", None) == Launch()


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"num_machines": 2}, "start on each.*accelerate launch --config_file"),
        ({"distributed_type": "DEEPSPEED"}, "says distributed_type: DEEPSPEED"),
        ({"num_procceses": 8}, "Accelerate cannot read"),
        ({"num_processes": "many"}, "Accelerate cannot read"),
    ],
)
def test_what_an_update_cannot_follow(changes: dict[str, object], told: str, tmp_path: Path) -> None:
    config = yaml.safe_load(config_file("eight_gpus_fsdp").read_text())
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(config | changes))
    with pytest.raises(UserError, match=told):
        launch_of(str(tmp_path / "mine.yaml"), None)


def test_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="eight_gpus_fsdp"):
        config_file("eight_gpus")
    with pytest.raises(UserError, match="accelerate config --config_file"):
        config_file(str(tmp_path / "none.yaml"))


def test_settings_survive_the_command_line() -> None:
    for settings in (
        UpdateSettings(),
        replace(UpdateSettings(), lr=3.3e-7, lora_rank=8, max_kl=0.02, activations="offload", average="query"),
    ):
        words = settings_words(settings)
        assert words[::2] == ["--set"] * len(fields(UpdateSettings))
        assert from_options(UpdateSettings, {"algorithm": "grpo", "assign": words[1::2]}, "update") == settings
