"""A policy in one file: a camera pooled to 8 x 8 colours, the hand's pose and a bag of words, into a perceptron."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from stages.policies.base import ACTION_DIM, Observation, Policy, PolicySpec
from stages.policies.config import read_config
from stages.policies.mini import bag_of_words

WORDS = 64


class PooledNetwork(nn.Module):
    def __init__(self, spec: PolicySpec, width: int) -> None:
        super().__init__()
        self.shape = (spec.tokens, spec.bins)
        self.hidden = nn.Linear(3 * 8 * 8 + spec.proprio + WORDS, width)
        self.head = nn.Linear(width, spec.tokens * spec.bins)

    def forward(self, image: Tensor, proprio: Tensor, words: Tensor) -> Tensor:
        """image (B, H, W, 3) u8, proprio (B, 8) f32, words (B, WORDS) f32 -> logits (B, 56, 21) f32"""
        colours = F.adaptive_avg_pool2d(image.permute(0, 3, 1, 2).float() / 255, 8).flatten(1)
        hidden = torch.tanh(self.hidden(torch.cat([colours, proprio, words], 1)))
        return self.head(hidden).unflatten(1, self.shape)


class PooledPolicy(Policy):
    spec = PolicySpec(cameras={"agentview": 32}, proprio=8, chunk=8, bins=21)

    def __init__(self, width: int = 256) -> None:
        self.module = PooledNetwork(self.spec, width)

    def inputs(self, observation: Observation, instructions: Sequence[str]) -> dict[str, Tensor]:
        words = np.stack([bag_of_words(text, WORDS) for text in instructions])
        arrays = {"image": observation.images["agentview"], "proprio": observation.proprio, "words": words}
        return {name: torch.from_numpy(array).to(self.module.head.weight.device) for name, array in arrays.items()}

    def encode_actions(self, actions: np.ndarray) -> np.ndarray:
        tokens = np.rint((np.clip(actions, -1, 1) + 1) / 2 * (self.spec.bins - 1)).astype(np.int16)
        return tokens.reshape(*tokens.shape[:-2], self.spec.tokens)

    def decode_tokens(self, tokens: np.ndarray) -> np.ndarray:
        centres = np.linspace(-1, 1, self.spec.bins, dtype=np.float32)
        return centres[tokens].reshape(*tokens.shape[:-1], self.spec.chunk, ACTION_DIM)

    def save(self, folder: Path) -> None:
        config = {"model_type": "pooled", "width": self.module.hidden.out_features}
        (folder / "config.json").write_text(json.dumps(config))
        save_file(self.module.state_dict(), folder / "model.safetensors")

    @classmethod
    def load(cls, folder: Path, device: torch.device) -> "PooledPolicy":
        policy = cls(read_config(folder)["width"])
        policy.module.load_state_dict(load_file(folder / "model.safetensors"))
        policy.module.to(device)
        return policy


if __name__ == "__main__":
    Path("fresh").mkdir()
    PooledPolicy().save(Path("fresh"))
