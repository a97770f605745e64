"""Meta's own checkpoints of V-JEPA 2 (facebookresearch/vjepa2: vitl.pt, vith.pt, vitg.pt, vitg-384.pt).

Their key `encoder` holds the network under other names, with query, key and value in one matrix. The shapes tell the
size of the network; the number of heads is not among them (64 wide each, 80 in ViT-H).
"""

import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from data.checkpoint import check_keys
from data.errors import UserError

State = dict[str, Tensor]
HEAD, HEAD_OF_H, WIDTH_OF_H = 64, 80, 1280
ATTENTION = ("query", "key", "value")
RENAMED = (
    (r"^patch_embed\.", "embeddings.patch_embeddings."),
    (r"^blocks\.(\d+)\.attn\.proj\.", r"layer.\1.attention.proj."),
    (r"^blocks\.(\d+)\.", r"layer.\1."),
    (r"^norm\.", "layernorm."),
)
QKV = re.compile(r"^blocks\.(\d+)\.attn\.qkv\.(weight|bias)$")


def encoder_of_pt(path: Path, size: int) -> nn.Module:
    """The encoder of a .pt file, for frames of `size` pixels.

    Raises:
        UserError: not a file of V-JEPA 2, or weights that do not fit.
    """
    from transformers import VJEPA2Config, VJEPA2Model

    found = _read(path)
    try:
        config = VJEPA2Config(crop_size=size, **_shape(found))
    except (KeyError, ValueError) as error:
        raise UserError(f"{path} is no V-JEPA 2: it lacks {error}") from error
    with torch.device("meta"):
        encoder: nn.Module = VJEPA2Model(config).encoder
    state, wanted = renamed(found), encoder.state_dict()
    shapes = [key for key, value in state.items() if key in wanted and wanted[key].shape != value.shape]
    check_keys(str(path), wanted.keys() - state.keys(), state.keys() - wanted.keys(), shapes)
    encoder.load_state_dict({key: value.float() for key, value in state.items()}, strict=True, assign=True)
    return encoder.eval().requires_grad_(False)


def trained_size(path: Path) -> int:
    """Pixels a side that a file was trained at, which only its name tells: 384 in vitg-384.pt, else 256."""
    return 384 if "384" in path.stem else 256


def renamed(found: Mapping[str, Tensor]) -> State:
    """Meta's names -> those of transformers' VJEPA2Encoder; the unused table of positions is dropped."""
    state: State = {}
    for key, value in found.items():
        if fused := QKV.match(key):
            layer, kind = fused.groups()
            parts = zip(ATTENTION, value.chunk(3), strict=True)
            state |= {f"layer.{layer}.attention.{name}.{kind}": part for name, part in parts}
        elif key != "pos_embed":
            state[_renamed(key)] = value
    return state


def _renamed(key: str) -> str:
    for pattern, replacement in RENAMED:
        key, count = re.subn(pattern, replacement, key)
        if count:
            return key
    return key


def _read(path: Path) -> State:
    """The encoder's entry, without the prefixes of distributed training."""
    try:
        saved: Any = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except FileNotFoundError as error:
        raise UserError(f"no file {path}") from error
    except (OSError, RuntimeError, ValueError, pickle.UnpicklingError) as error:
        raise UserError(f"cannot read {path} as a checkpoint: {str(error).splitlines()[0]}") from error
    keys = list(saved) if isinstance(saved, dict) else []
    if "ema_encoder" in keys or re.search(r"2[_.]1", path.stem):
        raise UserError(f"{path} is V-JEPA 2.1, whose positions are rotated otherwise; give one of V-JEPA 2")
    if "encoder" not in keys:
        raise UserError(f"{path} has no entry `encoder` (it has {', '.join(map(str, keys[:5])) or 'none'})")
    return {re.sub(r"module\.|backbone\.", "", key): value for key, value in saved["encoder"].items()}


def _shape(found: Mapping[str, Tensor]) -> dict[str, Any]:
    """The fields of VJEPA2Config that the shapes tell."""
    width, _, tubelet, patch, _ = found["patch_embed.proj.weight"].shape
    layers = {int(key.split(".")[1]) for key in found if key.startswith("blocks.")}
    return {
        "hidden_size": width,
        "tubelet_size": tubelet,
        "patch_size": patch,
        "num_hidden_layers": len(layers),
        "num_attention_heads": width // (HEAD_OF_H if width == WIDTH_OF_H else HEAD),
        "mlp_ratio": found["blocks.0.mlp.fc1.weight"].shape[0] / width,
        "qkv_bias": "blocks.0.attn.qkv.bias" in found,
    }
