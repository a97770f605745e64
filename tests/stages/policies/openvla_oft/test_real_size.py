"""The real size, without its weights; and with them where `SRPO_OPENVLA` names a released checkpoint."""

import os
from pathlib import Path

import pytest
import torch

from stages.policies.config import read_config
from stages.policies.openvla_oft.network import Architecture, OpenVLANetwork
from stages.policies.openvla_oft.prompt import Prompts
from stages.policies.openvla_oft.released import architecture_of, check_kind, settings_of
from stages.policies.openvla_oft.towers import TowerShape
from stages.policies.openvla_oft.weights import WeightFiles

DINO = TowerShape(1024, 24, 4096, 16, 14, 256, 4)
SIGLIP = TowerShape(1152, 27, 4304, 16, 14, 256, None)
REAL = Architecture(DINO, SIGLIP, 8704, {"vocab_size": 32064, "pad_token_id": 32000}, 32000)
INSTRUCTION = "pick up the black bowl between the plate and the ramekin and place it on the plate"
IDS = [1, 512, 29901, 1724, 3158, 881, 278, 19964, 2125, 304, 5839, 701, 278, 4628, 12580, 29880, 1546, 278, 15284]
IDS += [322, 278, 364, 420, 9089, 322, 2058, 372, 373, 278, 15284, 29973, 13, 3744, 29901, 29871]
"""recorded with the original stack (README of tc-huang/lerobot-policy-openvla-oft)"""


def real() -> OpenVLANetwork:
    with torch.device("meta"):
        return OpenVLANetwork(REAL)


def test_parameters_and_keys():
    network = real()
    counts = {name: sum(p.numel() for p in part.parameters()) for name, part in network.named_children() if part}
    towers = network.vision_backbone
    assert sum(p.numel() for p in towers.featurizer.parameters()) == 303_230_976
    assert sum(p.numel() for p in towers.fused_featurizer.parameters()) == 427_680_704
    assert (counts["projector"], counts["language_model"]) == (71_385_600, 6_738_939_904)
    assert sum(counts.values()) == 7_541_237_184
    assert (len(towers.featurizer.state_dict()), len(towers.fused_featurizer.state_dict())) == (343, 342)
    assert len(network.state_dict()) == 982
    assert network.language_model.config.rms_norm_eps == 1e-6


def test_a_released_checkpoint_has_this_size():
    folder = Path(os.environ.get("SRPO_OPENVLA", ""))
    if not os.environ.get("SRPO_OPENVLA"):
        pytest.skip("SRPO_OPENVLA names no folder of a released checkpoint")
    config = read_config(folder)
    check_kind(folder, config)
    files = WeightFiles(folder)
    found = architecture_of(config, files.shapes, settings_of(config, folder), folder)
    assert (found.dino, found.siglip, found.projector, found.vocabulary) == (DINO, SIGLIP, 8704, 32000)
    assert files.shapes == {key: tuple(value.shape) for key, value in real().state_dict().items()}
    assert Prompts((folder / "tokenizer.json").read_text(), str(folder)).ids(INSTRUCTION) == IDS
