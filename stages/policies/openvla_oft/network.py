"""The network: images, prompt and proprioception in, logits of a chunk's action tokens out, in one pass.

The sequence of a query, with l prompt tokens, n images of G patches, p = 1 with proprioception, else 0:

    0     1 ... P = nG + p            P+1 ... P+l-1       P+l ... P+l+55   P+l+56   then
    BOS   patches, proprioception     rest of the prompt  56 zero slots    </s>     padding

The logits of token i are read at P + l - 1 + i, the position before its slot (modeling_prismatic.py:928-932). Every
position sees every other one that is not padding. The prefix therefore depends on what follows it and cannot be kept
between passes; nor need it be, since one pass gives all 56 tokens. Padding comes last and positions are counted from 0,
so a query does not depend on its batch.

Shapes: B queries, n images, S pixels a side, T = text positions (prompt, slots, </s>, padding), A*C = 56 action tokens,
K = 256 bins, D = Llama's width.
"""

from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

from stages.policies.base import ACTION_DIM
from stages.policies.openvla_oft.towers import Perceptron, Tower, TowerShape

BINS = 256
CHUNK = 8
SLOTS = CHUNK * ACTION_DIM
PROPRIO = 8


@dataclass(frozen=True)
class Architecture:
    """What decides the names and shapes of all weights, and how they are used."""

    dino: TowerShape
    siglip: TowerShape
    projector: int
    """the projector's first hidden width; the second is Llama's"""
    llama: dict[str, Any]
    """fields of LlamaConfig that differ from its defaults"""
    vocabulary: int
    """tokens before the padding of the vocabulary; the last K of them are the bins"""
    proprio: bool = False
    """whether one position holds proprioception"""
    attention: Literal["bidirectional", "causal"] = "bidirectional"
    """what a position sees"""


class OpenVLANetwork(nn.Module):
    """See `forward`; the names of its weights are those of the released files."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture = architecture
        self.vision_backbone = VisionBackbone(architecture.dino, architecture.siglip)
        self.language_model = LlamaForCausalLM(LlamaConfig(**architecture.llama | {"attn_implementation": "sdpa"}))
        width = self.language_model.config.hidden_size
        self.projector = Projector(architecture.dino.width + architecture.siglip.width, architecture.projector, width)
        self.proprio_projector = Perceptron(PROPRIO, width, width) if architecture.proprio else None

    def forward(self, pixels: Tensor, text: Tensor, length: Tensor, proprio: Tensor | None = None) -> Tensor:
        """Logits of the action tokens.

        Args:
            pixels: (B, n, 6, S, S) f32, each image normalised for DINOv2 and for SigLIP.
            text: (B, T) i64, prompt, slots (any id), </s>, padding.
            length: (B,) i64, the tokens of each prompt.
            proprio: (B, 8) f32 in [-1, 1], if the checkpoint has a place for it.

        Returns:
            (B, 56, K) f32, in the order of the token ids: the higher the bin's index, the lower its value.
        """
        last = self.architecture.vocabulary
        read = self.read(pixels, text, length, proprio)
        return linear_f32(read, self.language_model.lm_head.weight[last - BINS : last])

    def next_tokens(self, **inputs: Tensor) -> Tensor:
        """As `forward`, logits of the whole vocabulary: (B, 56, V) f32."""
        return self.language_model.lm_head(self.read(**inputs)).float()

    def restore_rotary(self, device: torch.device) -> None:
        """Compute the rotary frequencies, which no file holds, in f32 on `device`."""
        with torch.device(device):
            self.language_model.model.rotary_emb = LlamaRotaryEmbedding(self.language_model.config)

    def read(self, pixels: Tensor, text: Tensor, length: Tensor, proprio: Tensor | None = None) -> Tensor:
        """What the language model's head reads at the action tokens: (B, 56, D)."""
        seen = self._seen(pixels, proprio)
        embedded = self._embedded(text, length)
        sequence = torch.cat([embedded[:, :1], seen, embedded[:, 1:]], 1)
        end = seen.shape[1] + length[:, None] + SLOTS
        hidden = self._llama(sequence, end)
        index = end - SLOTS - 1 + torch.arange(SLOTS, device=text.device)
        return self.language_model.model.norm(hidden.gather(1, index[..., None].expand(-1, -1, hidden.shape[-1])))

    def _seen(self, pixels: Tensor, proprio: Tensor | None) -> Tensor:
        """The positions between BOS and the rest of the prompt: (B, P, D)."""
        dtype = self.projector.fc1.weight.dtype
        features = self.vision_backbone(pixels.flatten(0, 1).to(dtype))
        patches = self.projector(features).unflatten(0, pixels.shape[:2]).flatten(1, 2)
        if self.proprio_projector is None:
            return patches
        assert proprio is not None
        return torch.cat([patches, self.proprio_projector(proprio.to(dtype))[:, None]], 1)

    def _embedded(self, text: Tensor, length: Tensor) -> Tensor:
        """(B, T, D), zero at the slots."""
        place = torch.arange(text.shape[1], device=text.device) - length[:, None]
        slot = (place >= 0) & (place < SLOTS)
        return self.language_model.model.embed_tokens(text).masked_fill(slot[..., None], 0)

    def _llama(self, sequence: Tensor, end: Tensor) -> Tensor:
        """Llama's layers over a sequence (B, P + T, D) with </s> at `end` (B, 1), before its last norm.

        They are called one by one, because LlamaModel's own mask is causal. A causal position never sees the padding,
        which comes last; of the others all get a mask, padded or not, so that no SDPA backend is chosen by the padding.
        """
        model, causal = self.language_model.model, self.architecture.attention == "causal"
        positions = torch.arange(sequence.shape[1], device=sequence.device)[None]
        given: dict[str, Any] = {"position_ids": positions, "is_causal": causal, "attention_mask": None}
        if not causal:
            given["attention_mask"] = (positions <= end)[:, None, None].expand(-1, 1, sequence.shape[1], -1)
        given["position_embeddings"] = model.rotary_emb(sequence, position_ids=positions)
        for layer in model.layers:
            sequence = layer(sequence, **given)
        return sequence


def linear_f32(x: Tensor, weight: Tensor) -> Tensor:
    """`x @ weight.T` in f32, also within autocast: in bf16 a logit of 20, and so its log-prob, has steps of 0.125.

    MiniMax-M1 (arXiv 2506.13585) and ScaleRL (arXiv 2510.13786) found f32 logits to matter for reinforcement.
    """
    with torch.autocast(x.device.type, enabled=False):
        return F.linear(x.float(), weight.float())


class VisionBackbone(nn.Module):
    """Both towers: (N, 6, S, S) -> (N, G, D_dino + D_siglip); DINOv2 has the first three channels and features."""

    def __init__(self, dino: TowerShape, siglip: TowerShape) -> None:
        super().__init__()
        self.featurizer = Tower(dino)
        self.fused_featurizer = Tower(siglip)

    def forward(self, pixels: Tensor) -> Tensor:
        return torch.cat([self.featurizer(pixels[:, :3]), self.fused_featurizer(pixels[:, 3:])], -1)


class Projector(nn.Module):
    """Patches into Llama's space: (N, G, inputs) -> (N, G, D)."""

    def __init__(self, inputs: int, hidden: int, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(inputs, hidden)
        self.fc2 = nn.Linear(hidden, width)
        self.fc3 = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc3(F.gelu(self.fc2(F.gelu(self.fc1(x)))))
