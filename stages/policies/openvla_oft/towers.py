"""The two vision towers in plain torch, under the names that timm gives their weights.

DINOv2 ViT-L/14 with registers and SigLIP so400m/14, as timm 0.9.10 computes them: pre-norm blocks, one matrix for
query, key and value, erf GELU, LayerNorm with eps 1e-6. The policy reads the output of the second-to-last block,
without the final norm and without class and register tokens (modeling_prismatic.py:135-137).

Shapes: N images, S pixels a side, G = (S/patch)^2 patches, D the tower's width, R class and register tokens.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

EPS = 1e-6
Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class TowerShape:
    """The size of a tower."""

    width: int
    """D"""
    depth: int
    """blocks, the last one included, which is never run"""
    mlp: int
    """width of the perceptrons within the blocks"""
    heads: int
    """attention heads"""
    patch: int
    """pixels of a patch's side"""
    patches: int
    """G"""
    registers: int | None
    """register tokens of DINOv2; none: a SigLIP tower"""

    @property
    def side(self) -> int:
        """S, the pixels of the square image that the positions are for."""
        return self.patch * round(self.patches**0.5)


def tower_shape(shapes: Shapes, prefix: str, heads: int, dino: bool) -> TowerShape:
    """The size of the tower under `prefix`, from the shapes of its weights; the number of heads is not among them.

    Raises:
        KeyError: a weight that decides the size is missing.
    """
    depth = sum(key.startswith(f"{prefix}blocks.") and key.endswith(".norm1.weight") for key in shapes)
    _, patches, width = shapes[f"{prefix}pos_embed"]
    return TowerShape(
        width=width,
        depth=depth,
        mlp=shapes[f"{prefix}blocks.0.mlp.fc1.weight"][0],
        heads=heads,
        patch=shapes[f"{prefix}patch_embed.proj.weight"][-1],
        patches=patches,
        registers=shapes[f"{prefix}reg_token"][1] if dino else None,
    )


class Tower(nn.Module):
    """Images to the features of their patches; see `forward`."""

    def __init__(self, shape: TowerShape) -> None:
        super().__init__()
        width = shape.width
        self.patch_embed = PatchEmbedding(shape)
        self.pos_embed = nn.Parameter(torch.zeros(1, shape.patches, width))
        self.prefix = 0
        if shape.registers is not None:
            self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
            self.reg_token = nn.Parameter(torch.zeros(1, shape.registers, width))
            self.prefix = 1 + shape.registers
        self.blocks = nn.ModuleList(Block(shape) for _ in range(shape.depth))
        self.norm = nn.LayerNorm(width, eps=EPS)
        unused: list[nn.Module] = [self.blocks[-1], self.norm]
        if shape.registers is None:
            self.attn_pool = AttentionPool(width, shape.mlp)
            unused.append(self.attn_pool)
        for module in unused:
            module.requires_grad_(False)

    def forward(self, image: Tensor) -> Tensor:
        """(N, 3, S, S), normalised -> (N, G, D)."""
        x = self.patch_embed(image) + self.pos_embed
        if self.prefix:
            tokens = torch.cat([self.cls_token, self.reg_token], 1).expand(len(x), -1, -1)
            x = torch.cat([tokens, x], 1)
        for block in self.blocks[:-1]:
            x = block(x)
        return x[:, self.prefix :]


class PatchEmbedding(nn.Module):
    """(N, 3, S, S) -> (N, G, D), row by row of patches."""

    def __init__(self, shape: TowerShape) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, shape.width, shape.patch, stride=shape.patch)

    def forward(self, image: Tensor) -> Tensor:
        return self.proj(image).flatten(2).transpose(1, 2)


class Block(nn.Module):
    """One transformer block: (N, R + G, D) -> the same."""

    def __init__(self, shape: TowerShape) -> None:
        super().__init__()
        scaled = shape.registers is not None
        self.norm1 = nn.LayerNorm(shape.width, eps=EPS)
        self.attn = Attention(shape.width, shape.heads)
        self.ls1 = LayerScale(shape.width) if scaled else nn.Identity()
        self.norm2 = nn.LayerNorm(shape.width, eps=EPS)
        self.mlp = Perceptron(shape.width, shape.mlp, shape.width)
        self.ls2 = LayerScale(shape.width) if scaled else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.ls1(self.attn(self.norm1(x)))
        return x + self.ls2(self.mlp(self.norm2(x)))


class Attention(nn.Module):
    """Self-attention; the rows of `qkv` are query, key, value."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return self.proj(F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2))


class LayerScale(nn.Module):
    """A factor for every feature; timm's `gamma`, which the released files call `scale_factor`."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale_factor = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale_factor


class Perceptron(nn.Module):
    """Two layers with the exact GELU between them."""

    def __init__(self, inputs: int, hidden: int, outputs: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(inputs, hidden)
        self.fc2 = nn.Linear(hidden, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class AttentionPool(nn.Module):
    """The weights of SigLIP's pooling: never run, kept so that a saved checkpoint has every key of a released one."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.latent = nn.Parameter(torch.zeros(1, 1, width))
        self.q = nn.Linear(width, width)
        self.kv = nn.Linear(width, 2 * width)
        self.proj = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width, eps=EPS)
        self.mlp = Perceptron(width, hidden, width)
