from pathlib import Path

import pytest
import torch

from data.errors import UserError
from stages.plan.machine import cgroup_free, free_bytes, imagined, this_machine


def write(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)


def test_the_limit_of_a_control_group_counts_and_its_cache_does_not(tmp_path: Path) -> None:
    write(tmp_path / "job", memory__max="1000\n", memory__current="700\n", memory__stat="anon 400\ninactive_file 300\n")
    assert cgroup_free("0::/job\n", tmp_path) == 600
    (tmp_path / "job/memory.max").write_text("max\n")
    assert cgroup_free("0::/job\n", tmp_path) == float("inf")


def test_version_1_as_seen_from_within_a_container(tmp_path: Path) -> None:
    files = {
        "memory__limit_in_bytes": "1000",
        "memory__usage_in_bytes": "700",
        "memory__stat": "total_inactive_file 50",
    }
    write(tmp_path / "memory", **files)
    assert cgroup_free("4:memory:/elsewhere\n3:cpu:/\n0::/\n", tmp_path) == 350
    assert cgroup_free("3:cpu:/\n", tmp_path) == float("inf")


def test_this_machine_has_memory() -> None:
    assert 1e8 < free_bytes(torch.device("cpu")) < 1e14
    assert this_machine().free > 1e8


def test_an_imagined_machine() -> None:
    assert (imagined(80, 8).free, imagined(80, 8).devices) == (80e9, 8)
    with pytest.raises(UserError, match="--memory must be above 0 GB"):
        imagined(0, 1)
