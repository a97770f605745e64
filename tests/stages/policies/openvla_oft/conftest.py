"""Tiny released checkpoints, made once a session, and what two cameras see."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from stages.policies.base import Observation
from stages.policies.openvla_oft import OpenVLAPolicy
from tests.stages.policies.openvla_oft.tiny import make


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int, bool], Path]:
    """(images, proprio) -> the folder; not to be written to."""
    made: dict[tuple[int, bool], Path] = {}

    def get(images: int, proprio: bool) -> Path:
        if (images, proprio) not in made:
            folder = tmp_path_factory.mktemp("openvla") / "checkpoint"
            made[images, proprio] = make(folder, images=images, proprio=proprio)
        return made[images, proprio]

    return get


@pytest.fixture
def released(checkpoint: Callable[[int, bool], Path]) -> Path:
    """One image, no proprioception, as the released token checkpoints."""
    return checkpoint(1, False)


@pytest.fixture
def policy(released: Path) -> OpenVLAPolicy:
    return OpenVLAPolicy.load(released, torch.device("cpu"))


@pytest.fixture
def observe() -> Callable[[OpenVLAPolicy, int], Observation]:
    def get(policy: OpenVLAPolicy, batch: int) -> Observation:
        rng = np.random.default_rng(1)
        shape = (batch, 256, 256, 3)
        images = {name: rng.integers(0, 256, shape, dtype=np.uint8) for name in policy.spec.cameras}
        return Observation(images, rng.normal(size=(batch, 8)).astype(np.float32) / 4)

    return get
