"""Tiny subjects, made once: they are measured, not changed, but by learning."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from stages.bench.policy.random_weights import fill, outline
from stages.bench.policy.subjects import OpenVLASubject

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def tiny() -> OpenVLASubject:
    network = outline("tiny")
    fill(network, CPU)
    return OpenVLASubject(network, (1, 2))


@pytest.fixture(scope="session")
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two images and proprioception, bf16."""
    from tests.stages.policies.openvla_oft.tiny import make

    return make(tmp_path_factory.mktemp("bench") / "released", torch.bfloat16, proprio=True, images=2)
