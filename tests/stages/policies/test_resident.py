"""What a run keeps in memory: a policy on a GPU, never one on the CPU."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from stages.policies import resident
from stages.policies.resident import Resident


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Path, str]]:
    """The loads, each of a network on the device that the folder's name says."""
    calls: list[tuple[Path, str]] = []

    def load(folder: Path, device: str) -> Any:
        calls.append((folder, device))
        return SimpleNamespace(module=torch.nn.Linear(2, 2, device=folder.parent.name))

    monkeypatch.setattr(resident, "load_policy", load)
    return calls


def test_one_on_a_gpu_is_kept_and_goes_on_as_what_it_became(loaded: list[tuple[Path, str]]) -> None:
    old, new, kept = Path("meta/000"), Path("meta/001"), Resident()
    assert kept.kept(old) is None
    policy = kept.get(old)
    assert kept.get(old) is policy and kept.kept(old) is policy
    policy.module.weight.grad = torch.zeros(2, 2, device="meta")
    kept.became(new)
    assert kept.kept(old) is None and kept.get(new) is policy
    assert [value.grad for value in policy.module.parameters()] == [None, None]
    assert kept.get(Path("meta/007")) is not policy
    assert loaded == [(old, "auto"), (Path("meta/007"), "auto")]


def test_one_on_the_cpu_is_loaded_anew(loaded: list[tuple[Path, str]]) -> None:
    folder, kept = Path("cpu/000"), Resident()
    assert kept.get(folder) is not kept.get(folder)
    assert kept.kept(folder) is None
    kept.became(Path("cpu/001"))
    assert kept.kept(Path("cpu/001")) is None
