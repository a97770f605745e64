"""A random OpenVLA-OFT checkpoint of 4.4 M parameters in the released layout, every family of keys included."""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import Tensor

HEADS = 2
SIDE = 56
PATCHES = 16
WORDS = ["In", ":", "What", "action", "should", "the", "robot", "take", "to", "?", "Out"]
WORDS += ["pick", "up", "milk", "open", "top", "drawer", "of"]
QUANTILES = {"q01": [-1.0, -0.5, -0.2, -0.1, -0.1, -0.1, 0.0], "q99": [1.0, 0.5, 0.9, 0.1, 0.2, 0.3, 1.0]}
PROPRIO = {"q01": [-0.4, -0.3, 0.0, 2.7, -1.3, -0.5, 0.0, -0.04], "q99": [0.2, 0.3, 1.3, 3.6, 0.7, 0.5, 0.04, 0.0]}
STATISTICS = {"action": {**QUANTILES, "mask": [True] * 6 + [False]}, "proprio": PROPRIO}
CONFIG = {
    "architectures": ["OpenVLAForActionPrediction"],
    "auto_map": {"AutoConfig": "configuration_prismatic.OpenVLAConfig"},
    "model_type": "openvla",
    "arch_specifier": "no-align+fused-gelu-mlp",
    "use_fused_vision_backbone": True,
    "timm_model_ids": ["vit_large_patch14_reg4_dinov2.lvd142m", "vit_so400m_patch14_siglip_224"],
    "timm_override_act_layers": [None, None],
    "image_sizes": [SIDE, SIDE],
    "image_resize_strategy": "resize-naive",
    "n_action_bins": 256,
    "pad_token_id": 32000,
    "pad_to_multiple_of": 64,
    "text_config": {
        "model_type": "llama",
        "vocab_size": 32064,
        "pad_token_id": 32000,
        "torch_dtype": "bfloat16",
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
    },
    "norm_stats": {"bridge_orig": {"action": QUANTILES}},
}

BESIDE = {
    "modeling_prismatic.py": b"raise SystemExit('remote code ran')\n",
    "tokenizer.model": bytes(range(256)),
    **{
        f"{name}.json": b"{}"
        for name in ("tokenizer_config", "special_tokens_map", "added_tokens", "generation_config")
    },
}
"""what other tools want, and srpo does not read"""


def make(
    folder: Path,
    dtype: torch.dtype = torch.float32,
    proprio: bool = False,
    images: int = 1,
    parts: int = 2,
    suite: str = "libero_object",
) -> Path:
    """Write the checkpoint; `srpo` in its config.json tells the tiny towers' heads and the number of images."""
    folder.mkdir(parents=True)
    rng = torch.Generator().manual_seed(0)
    tensors = {key: value.to(dtype) for key, value in weights(rng).items()}
    keys = list(tensors)
    weight_map = {}
    for i in range(parts):
        name = f"model-{i + 1:05d}-of-{parts:05d}.safetensors"
        save_file({key: tensors[key] for key in keys[i::parts]}, folder / name)
        weight_map |= dict.fromkeys(keys[i::parts], name)
    write(folder / "model.safetensors.index.json", {"metadata": {}, "weight_map": weight_map})
    write(folder / "config.json", {**CONFIG, "srpo": {"heads": HEADS, "images": images}})
    write(folder / "dataset_statistics.json", {f"{suite}_no_noops": STATISTICS})
    tokenizer().save(str(folder / "tokenizer.json"))
    for name, content in BESIDE.items():
        (folder / name).write_bytes(content)
    if proprio:
        both = linear(rng, "module.fc1", 8, 64) | linear(rng, "module.fc2", 64, 64)
        torch.save(both, folder / "proprio_projector--150000_checkpoint.pt")
    return folder


def write(file: Path, content: object) -> None:
    file.write_text(json.dumps(content))


def weights(rng: torch.Generator) -> dict[str, Tensor]:
    """Names and shapes of section 3 of the format, small."""
    return (
        tower(rng, "vision_backbone.featurizer.", 32, 128, dino=True)
        | tower(rng, "vision_backbone.fused_featurizer.", 48, 179, dino=False)
        | linear(rng, "projector.fc1", 80, 320)
        | linear(rng, "projector.fc2", 320, 64)
        | linear(rng, "projector.fc3", 64, 64)
        | llama(rng, "language_model.")
    )


def tower(rng: torch.Generator, prefix: str, width: int, mlp: int, dino: bool) -> dict[str, Tensor]:
    made = {f"{prefix}pos_embed": normal(rng, 1, PATCHES, width)}
    made |= {f"{prefix}patch_embed.proj.weight": normal(rng, width, 3, 14, 14) / 24}
    made |= {f"{prefix}patch_embed.proj.bias": normal(rng, width)} | norm(rng, f"{prefix}norm", width)
    if dino:
        made |= {f"{prefix}cls_token": normal(rng, 1, 1, width), f"{prefix}reg_token": normal(rng, 1, 4, width)}
    for i in range(3):
        block = f"{prefix}blocks.{i}."
        made |= norm(rng, f"{block}norm1", width) | norm(rng, f"{block}norm2", width)
        made |= linear(rng, f"{block}attn.qkv", width, 3 * width) | linear(rng, f"{block}attn.proj", width, width)
        made |= linear(rng, f"{block}mlp.fc1", width, mlp) | linear(rng, f"{block}mlp.fc2", mlp, width)
        if dino:
            made |= {f"{block}ls{k}.scale_factor": normal(rng, width) for k in (1, 2)}
    if not dino:
        pool = f"{prefix}attn_pool."
        made |= {f"{pool}latent": normal(rng, 1, 1, width)} | norm(rng, f"{pool}norm", width)
        made |= linear(rng, f"{pool}q", width, width) | linear(rng, f"{pool}kv", width, 2 * width)
        made |= linear(rng, f"{pool}proj", width, width)
        made |= linear(rng, f"{pool}mlp.fc1", width, mlp) | linear(rng, f"{pool}mlp.fc2", mlp, width)
    return made


def llama(rng: torch.Generator, prefix: str) -> dict[str, Tensor]:
    made = {f"{prefix}model.embed_tokens.weight": normal(rng, 32064, 64)}
    for i in range(2):
        layer = f"{prefix}model.layers.{i}."
        for name in "qkvo":
            made[f"{layer}self_attn.{name}_proj.weight"] = normal(rng, 64, 64) / 4
        for name, inputs, outputs in (("gate", 64, 128), ("up", 64, 128), ("down", 128, 64)):
            made[f"{layer}mlp.{name}_proj.weight"] = normal(rng, outputs, inputs) / inputs**0.5
        made[f"{layer}input_layernorm.weight"] = 1 + normal(rng, 64) / 10
        made[f"{layer}post_attention_layernorm.weight"] = 1 + normal(rng, 64) / 10
    made[f"{prefix}model.norm.weight"] = 1 + normal(rng, 64) / 10
    return made | {f"{prefix}lm_head.weight": normal(rng, 32064, 64) / 16}


def linear(rng: torch.Generator, name: str, inputs: int, outputs: int) -> dict[str, Tensor]:
    return {f"{name}.weight": normal(rng, outputs, inputs) / inputs**0.5, f"{name}.bias": normal(rng, outputs) / 10}


def norm(rng: torch.Generator, name: str, width: int) -> dict[str, Tensor]:
    return {f"{name}.weight": 1 + normal(rng, width) / 10, f"{name}.bias": normal(rng, width) / 10}


def normal(rng: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(shape, generator=rng)


def tokenizer() -> Tokenizer:
    """Words as ids from 300, BOS 1 in front; like the released one it has 2, 29871 and 32000 in their places."""
    vocabulary = {"<unk>": 0, "<s>": 1, "</s>": 2, "▁": 29871, "<PAD>": 32000}
    made = Tokenizer(models.WordLevel(vocabulary | {w: 300 + i for i, w in enumerate(WORDS)}, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return made
