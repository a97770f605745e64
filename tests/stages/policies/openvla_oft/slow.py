"""One query's logits, slowly and in f64, from the published description: no batch, no SDPA, none of our modules."""

import math
from typing import Any

import torch
from torch import Tensor

from tests.stages.policies.openvla_oft.tiny import HEADS

State = dict[str, Tensor]


def logits(state: State, *inputs: Any, causal: bool = False) -> Tensor:
    """As `read` -> (56, 256)."""
    return (read(state, *inputs, causal=causal) @ state["language_model.lm_head.weight"].T)[:, 31744:32000]


def read(state: State, pixels: Tensor, prompt: list[int], proprio: Tensor | None, causal: bool = False) -> Tensor:
    """pixels (n, 6, S, S), prompt ids from BOS to 29871, proprio (8,) -> what the head reads, (56, 64)."""
    towers = [torch.cat([features(state, image[:3], True), features(state, image[3:], False)], 1) for image in pixels]
    seen = [project(state, x) for x in towers]
    if proprio is not None:
        hidden = gelu(linear(state, "proprio_projector.fc1", proprio))
        seen.append(linear(state, "proprio_projector.fc2", hidden)[None])
    words = state["language_model.model.embed_tokens.weight"]
    parts = [words[prompt[:1]], *seen, words[prompt[1:]], torch.zeros(56, 64, dtype=torch.double), words[[2]]]
    x = torch.cat(parts)
    first = len(x) - 1 - 56 - 1  # the position of 29871
    for i in range(2):
        x = llama_layer(state, f"language_model.model.layers.{i}.", x, causal)
    return rms(x, state["language_model.model.norm.weight"])[first : first + 56]


def features(state: State, image: Tensor, dino: bool) -> Tensor:
    """(3, 56, 56) -> (16, D): all blocks but the last."""
    prefix = "vision_backbone.featurizer." if dino else "vision_backbone.fused_featurizer."
    kernel, bias = state[f"{prefix}patch_embed.proj.weight"], state[f"{prefix}patch_embed.proj.bias"]
    rows = []
    for r in range(4):
        for c in range(4):
            patch = image[:, 14 * r : 14 * r + 14, 14 * c : 14 * c + 14]
            rows.append((kernel * patch).sum((1, 2, 3)) + bias)
    x = torch.stack(rows) + state[f"{prefix}pos_embed"][0]
    if dino:
        x = torch.cat([state[f"{prefix}cls_token"][0], state[f"{prefix}reg_token"][0], x])
    for i in range(2):
        block = f"{prefix}blocks.{i}."
        y = vit_attention(state, block, norm(state, f"{block}norm1", x))
        x = x + (y * state[f"{block}ls1.scale_factor"] if dino else y)
        y = linear(state, f"{block}mlp.fc2", gelu(linear(state, f"{block}mlp.fc1", norm(state, f"{block}norm2", x))))
        x = x + (y * state[f"{block}ls2.scale_factor"] if dino else y)
    return x[5:] if dino else x


def vit_attention(state: State, block: str, x: Tensor) -> Tensor:
    query, key, value = linear(state, f"{block}attn.qkv", x).chunk(3, -1)
    return linear(state, f"{block}attn.proj", attention(query, key, value, HEADS, False))


def project(state: State, x: Tensor) -> Tensor:
    x = gelu(linear(state, "projector.fc1", x))
    return linear(state, "projector.fc3", gelu(linear(state, "projector.fc2", x)))


def llama_layer(state: State, layer: str, x: Tensor, causal: bool) -> Tensor:
    y = rms(x, state[f"{layer}input_layernorm.weight"])
    query, key, value = (y @ state[f"{layer}self_attn.{name}_proj.weight"].T for name in "qkv")
    heads = 4
    y = attention(rotate(query, heads), rotate(key, heads), value, heads, causal)
    x = x + y @ state[f"{layer}self_attn.o_proj.weight"].T
    y = rms(x, state[f"{layer}post_attention_layernorm.weight"])
    gate, up = (y @ state[f"{layer}mlp.{name}_proj.weight"].T for name in ("gate", "up"))
    return x + (gate / (1 + torch.exp(-gate)) * up) @ state[f"{layer}mlp.down_proj.weight"].T


def attention(query: Tensor, key: Tensor, value: Tensor, heads: int, causal: bool) -> Tensor:
    size = query.shape[1] // heads
    out = []
    for h in range(heads):
        part = slice(h * size, (h + 1) * size)
        scores = query[:, part] @ key[:, part].T / math.sqrt(size)
        if causal:
            scores = scores.masked_fill(torch.ones_like(scores).triu(1).bool(), -torch.inf)
        weights = torch.exp(scores - scores.max(1, keepdim=True).values)
        out.append(weights / weights.sum(1, keepdim=True) @ value[:, part])
    return torch.cat(out, 1)


def rotate(x: Tensor, heads: int) -> Tensor:
    """Rotary positions as pairs (k, k + size/2) of each head, base 10000."""
    size = x.shape[1] // heads
    out = x.clone()
    for position in range(len(x)):
        for k in range(size // 2):
            angle = position / 10000 ** (2 * k / size)
            for h in range(heads):
                i, j = h * size + k, h * size + k + size // 2
                a, b = float(x[position, i]), float(x[position, j])
                out[position, i] = a * math.cos(angle) - b * math.sin(angle)
                out[position, j] = b * math.cos(angle) + a * math.sin(angle)
    return out


def rms(x: Tensor, weight: Tensor) -> Tensor:
    return weight * x / torch.sqrt((x * x).mean(1, keepdim=True) + 1e-6)


def norm(state: State, name: str, x: Tensor) -> Tensor:
    centred = x - x.mean(1, keepdim=True)
    unit = centred / torch.sqrt((centred**2).mean(1, keepdim=True) + 1e-6)
    return unit * state[f"{name}.weight"] + state[f"{name}.bias"]


def linear(state: State, name: str, x: Tensor) -> Tensor:
    return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]


def gelu(x: Tensor) -> Tensor:
    return x * 0.5 * (1 + torch.erf(x / math.sqrt(2)))
