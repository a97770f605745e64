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
from stages.policies.openvla_oft.prompt import BOS, PAD, STOP

PROMPT = 35
"""tokens of a long instruction of LIBERO, with all that stands around it"""
SHORTER = 3
"""fewer in every other padded query"""
WORDS = (3, 31000)
"""ids of words: neither special tokens nor actions"""
ALPHA = 16
"""LoRA's scale times its rank, at most: as in OpenVLA-OFT's own fine-tuning"""
LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
INSTRUCTION = "pick up the milk and place it in the basket"
NEED = "an update of OpenVLA-OFT needs peft: pip install peft; or measure none: --lora 0"
Inputs = dict[str, Tensor]
"""The keyword arguments of a network."""


class Subject(ABC):
    """A network and what is asked of it."""

    module: nn.Module
    tokens: int
    """of a query"""
    images: tuple[int, ...]
    """numbers of images that it is measured with where none is asked for"""
    padding: tuple[bool, ...]
    """whether prompts in a batch can differ in length, so that some are padded"""
    checkpointing: tuple[bool, ...]
    """the ways to learn: with activations kept, and computed again"""

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.module.parameters()).device

    @abstractmethod
    def queries(self, batch: int, images: int, padded: bool = False, seed: int = 0) -> Inputs:
        """B random queries; `padded`: every other prompt is shorter."""

    def rows(self, inputs: Inputs, low: int, high: int) -> Inputs:
        """Some of the queries, as a policy would give them by themselves."""
        return {key: value[low:high] for key, value in inputs.items()}

    @abstractmethod
    def trainable(self, rank: int) -> dict[str, nn.Parameter]:
        """Make ready to learn: name -> what an update changes; all else is frozen."""


class OpenVLASubject(Subject):
    """An update trains LoRA adapters (f32) on all linear layers of the language model."""

    padding = (False, True)
    checkpointing = (False, True)
    tokens = SLOTS

    def __init__(self, network: OpenVLANetwork, images: tuple[int, ...]) -> None:
        self.module: OpenVLANetwork = network
        self.images = images

    def queries(self, batch: int, images: int, padded: bool = False, seed: int = 0) -> Inputs:
        device, side = self.device, self.module.architecture.dino.side
        rng = torch.Generator(device).manual_seed(seed)
        length = torch.full((batch,), PROMPT, device=device)
        if padded:
            length[1::2] -= SHORTER
        place = torch.arange(PROMPT + SLOTS + 1, device=device)
        end = length[:, None] + SLOTS
        text = torch.randint(*WORDS, (batch, len(place)), generator=rng, device=device)
        text[:, 0] = BOS
        text = torch.where(place == end, STOP, torch.where(place > end, PAD, text))
        pixels = torch.randn(batch, images, 6, side, side, generator=rng, device=device)
        inputs = {"pixels": pixels, "text": text, "length": length}
        if self.module.architecture.proprio:
            inputs["proprio"] = 2 * torch.rand(batch, PROPRIO, generator=rng, device=device) - 1
        return inputs | ({"mask": place <= end} if padded else {})

    def rows(self, inputs: Inputs, low: int, high: int) -> Inputs:
        """Cut to the longest; no mask where none is padded."""
        part = super().rows(inputs, low, high)
        longest = int(part["length"].max()) + SLOTS + 1
        part["text"] = part["text"][:, :longest]
        if "mask" in part:
            part["mask"] = part["mask"][:, :longest]
            if part["mask"].all():
                del part["mask"]
        return part

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

    padding = (False,)
    checkpointing = (False,)

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self.module = policy.module
        self.tokens = policy.spec.tokens
        self.images = (len(policy.spec.cameras),)

    def queries(self, batch: int, images: int, padded: bool = False, seed: int = 0) -> Inputs:
        rng, spec = np.random.default_rng(seed), self._policy.spec
        seen = {name: rng.integers(0, 256, (batch, side, side, 3), np.uint8) for name, side in spec.cameras.items()}
        observation = Observation(seen, rng.normal(size=(batch, spec.proprio)).astype(np.float32))
        return self._policy.inputs(observation, [INSTRUCTION] * batch)

    def trainable(self, rank: int) -> dict[str, nn.Parameter]:
        return dict(self.module.named_parameters())
