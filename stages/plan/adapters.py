"""Low-rank adapters (LoRA, arXiv 2106.09685) on a network on the meta device, to see what training them would take."""

from typing import Any

import torch
from torch import Tensor, nn

LANGUAGE_MODEL = "language_model."
SCALE = 0.5


def add_adapters(module: nn.Module, rank: int) -> None:
    """Freeze a network and give linear layers adapters in fp32: those of its language model's blocks, or else all."""
    module.requires_grad_(False)
    layers = {name: part for name, part in module.named_modules() if isinstance(part, nn.Linear)}
    blocks = {name: part for name, part in layers.items() if name.startswith(LANGUAGE_MODEL) and ".layers." in name}
    for layer in (blocks or layers).values():
        device = layer.weight.device
        layer.add_module("down", nn.Linear(layer.in_features, rank, False, device, torch.float32))
        layer.add_module("up", nn.Linear(rank, layer.out_features, False, device, torch.float32))
        layer.register_forward_hook(_adapted)


def _adapted(layer: Any, given: tuple[Tensor], output: Tensor) -> Tensor:
    """s B A x more than the layer alone gives."""
    return (output + layer.up(layer.down(given[0].float())) * SCALE).to(output.dtype)
