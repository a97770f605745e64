"""OpenVLA-OFT with random weights, made on the device itself, without files: as fast and as large as a trained one."""

import torch
from torch import nn

from stages.policies.openvla_oft.network import Architecture, OpenVLANetwork
from stages.policies.openvla_oft.towers import TowerShape

VOCABULARY = {"vocab_size": 32064, "pad_token_id": 32000}
SMALL = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4}
SIZES = {
    "openvla-oft": Architecture(
        dino=TowerShape(1024, 24, 4096, 16, 14, 256, 4),
        siglip=TowerShape(1152, 27, 4304, 16, 14, 256, None),
        projector=8704,
        llama=VOCABULARY,
        vocabulary=32000,
    ),
    "tiny": Architecture(
        dino=TowerShape(32, 3, 128, 2, 14, 16, 4),
        siglip=TowerShape(48, 3, 179, 2, 14, 16, None),
        projector=320,
        llama=VOCABULARY | SMALL,
        vocabulary=32000,
    ),
}
"""name -> the released checkpoints' network (7.54 B parameters), and one of 4.4 M with all of its parts"""
DTYPE = torch.bfloat16
LAYER_SCALE = 0.1
WORD = 0.5
"""deviation of embeddings and positions"""
GAINS = {"lm_head.weight": 2.0, "o_proj.weight": 0.5, "down_proj.weight": 0.5}
"""deviation of an output whose inputs have unit size: logits as uneven as a policy's, branches that stay small"""


def outline(size: str) -> OpenVLANetwork:
    """The network of a size on the meta device: its shapes, no memory."""
    with torch.device("meta"):
        return OpenVLANetwork(SIZES[size]).to(DTYPE)


def fill(network: OpenVLANetwork, device: torch.device, seed: int = 0) -> None:
    """Give an outline memory on `device` and weights that keep activations near unit size."""
    network.to_empty(device=device)
    network.restore_rotary(device)
    rng = torch.Generator(device).manual_seed(seed)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            _draw(name, parameter, rng)


def _draw(name: str, parameter: nn.Parameter, rng: torch.Generator) -> None:
    if name.endswith("scale_factor"):
        parameter.fill_(LAYER_SCALE)
    elif parameter.dim() == 1:
        parameter.fill_(float(name.endswith("weight")))
    elif "embed" in name and "patch" not in name:
        parameter.normal_(0, WORD, generator=rng)
    else:
        gain = next((value for end, value in GAINS.items() if name.endswith(end)), 1.0)
        parameter.normal_(0, gain / parameter[0].numel() ** 0.5, generator=rng)
