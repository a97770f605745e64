"""What is measured: a network, queries made up for it, and what of it an update trains.

Shapes: B queries, n images, S pixels a side, T = prompt, 56 slots, </s>, padding.
"""

from abc import ABC, abstractmethod

import numpy as np
import torch
from torch import Tensor, nn

from stages.policies.adapters import need_peft
from stages.policies.base import Observation, Policy
from stages.policies.openvla_oft.network import PROPRIO, SLOTS, OpenVLANetwork
from stages.policies.openvla_oft.prompt import BOS, PAD, STOP, padded_length

PROMPT = 35
"""tokens of a long instruction of LIBERO, with all that stands around it"""
SHORTER = 3
"""fewer in every other query"""
WORDS = (3, 31000)
"""ids of words: neither special tokens nor actions"""
ALPHA = 16
"""LoRA's scale times its rank, at most: as in OpenVLA-OFT's own fine-tuning"""
LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
INSTRUCTION = "pick up the milk and place it in the basket"
NEED = "an update of OpenVLA-OFT needs peft: pip install peft; or measure none: --lora 0"
Inputs = dict[str, Tensor]
"""The keyword arguments of a network."""


def part_of(inputs: Inputs, rows: slice) -> Inputs:
    """Some of the queries."""
    return {key: value[rows] for key, value in inputs.items()}


class Subject(ABC):
    """A network and what is asked of it."""

    module: nn.Module
    tokens: int
    """of a query"""
    images: tuple[int, ...]
    """numbers of images that it is measured with where none is asked for"""
    checkpointing: tuple[bool, ...]
    """the ways to learn: with activations kept, and computed again"""

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.module.parameters()).device

    @abstractmethod
    def queries(self, batch: int, images: int, seed: int = 0) -> Inputs:
        """B random queries."""

    @abstractmethod
    def trainable(self, rank: int) -> dict[str, nn.Parameter]:
        """Make ready to learn: name -> what an update changes; all else is frozen."""


class OpenVLASubject(Subject):
    """An update trains LoRA adapters (f32) on all linear layers of the language model."""

    checkpointing = (False, True)
    tokens = SLOTS

    def __init__(self, network: OpenVLANetwork, images: tuple[int, ...]) -> None:
        self.module: OpenVLANetwork = network
        self.images = images

    def queries(self, batch: int, images: int, seed: int = 0) -> Inputs:
        """Every other prompt is shorter."""
        device, side = self.device, self.module.architecture.dino.side
        rng = torch.Generator(device).manual_seed(seed)
        length = torch.full((batch,), PROMPT, device=device)
        length[1::2] -= SHORTER
        place = torch.arange(padded_length(PROMPT), device=device)
        end = length[:, None] + SLOTS
        text = torch.randint(*WORDS, (batch, len(place)), generator=rng, device=device)
        text[:, 0] = BOS
        text = torch.where(place == end, STOP, torch.where(place > end, PAD, text))
        pixels = torch.randn(batch, images, 6, side, side, generator=rng, device=device)
        inputs = {"pixels": pixels, "text": text, "length": length}
        if self.module.architecture.proprio:
            inputs["proprio"] = 2 * torch.rand(batch, PROPRIO, generator=rng, device=device) - 1
        return inputs

    def trainable(self, rank: int) -> dict[str, nn.Parameter]:
        """
        Raises:
            UserError: peft is missing.
        """
        need_peft(NEED)
        from peft import LoraConfig, inject_adapter_in_model

        self.module.requires_grad_(False)
        config = LoraConfig(r=rank, lora_alpha=min(rank, ALPHA), lora_dropout=0.0, target_modules=LINEAR)
        inject_adapter_in_model(config, self.module.language_model)
        found = {name: value for name, value in self.module.named_parameters() if "lora_" in name}
        for parameter in found.values():
            parameter.data = parameter.data.float()
            parameter.requires_grad_(True)
        return found


class WholeSubject(Subject):
    """Any other policy: an update trains all weights, as `srpo update` does."""

    checkpointing = (False,)

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self.module = policy.module
        self.tokens = policy.spec.tokens
        self.images = (len(policy.spec.cameras),)

    def queries(self, batch: int, images: int, seed: int = 0) -> Inputs:
        rng, spec = np.random.default_rng(seed), self._policy.spec
        seen = {name: rng.integers(0, 256, (batch, side, side, 3), np.uint8) for name, side in spec.cameras.items()}
        observation = Observation(seen, rng.normal(size=(batch, spec.proprio)).astype(np.float32))
        return self._policy.inputs(observation, [INSTRUCTION] * batch)

    def trainable(self, rank: int) -> dict[str, nn.Parameter]:
        return dict(self.module.named_parameters())
