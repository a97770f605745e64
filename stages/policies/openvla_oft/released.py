"""What a folder of OpenVLA-OFT holds, told from its files before any weight is read.

`config.json` is the same for every kind of head; the files beside it tell them apart (finetune.py:616-662 and
openvla_utils.py:415-503 in moojink/openvla-oft@213c5ff).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from data.checkpoint import read_json
from data.errors import UserError
from data.settings import build
from stages.policies.openvla_oft.images import Normalisation
from stages.policies.openvla_oft.network import BINS, Architecture
from stages.policies.openvla_oft.towers import Shapes, tower_shape

SECTION = "srpo"
"""the key of config.json that holds what the released ones do not say"""
WANTED = "take one with action tokens, such as Haozhan72/Openvla-oft-SFT-libero-object-traj1"
REFUSED = {
    "noisy_action_projector": "predicts continuous actions by diffusion",
    "action_head": "predicts continuous actions with an L1 head",
    "vision_backbone--": "conditions its vision towers on language (FiLM)",
}
EXPECTED = {
    "use_fused_vision_backbone": True,
    "image_resize_strategy": "resize-naive",
    "arch_specifier": "no-align+fused-gelu-mlp",
    "timm_model_ids": ["vit_large_patch14_reg4_dinov2.lvd142m", "vit_so400m_patch14_siglip_224"],
    "n_action_bins": BINS,
}
RETIRED = "checkpointing"
"""what earlier versions wrote; a setting of learning now (`activations`)"""
NOT_LLAMA = ("model_type", "torch_dtype", "dtype", "_name_or_path")


@dataclass(frozen=True)
class OpenVLASettings:
    """What `config.json` may say under `srpo`."""

    images: int = 1
    """cameras: agentview, and with 2 the wrist's"""
    attention: Literal["bidirectional", "causal"] = "bidirectional"
    """what a position sees; causal for a checkpoint trained on stock transformers, whose mask stayed causal"""
    statistics: str = ""
    """key of the action statistics; empty: the only one of LIBERO"""
    precision: Literal["files", "bf16", "fp32"] = "files"
    """of the weights"""
    heads: int = 16
    """attention heads of either tower, which no file tells"""

    def __post_init__(self) -> None:
        if self.images not in (1, 2):
            raise UserError(f"an OpenVLA-OFT policy sees 1 or 2 images, not {self.images}: mend srpo.images")
        if self.heads < 1:
            raise UserError(f"srpo.heads of config.json must be above 0, not {self.heads}")


def settings_of(config: Mapping[str, Any], where: Path) -> OpenVLASettings:
    """The settings of a checkpoint.

    Raises:
        UserError: unknown ones.
    """
    values = {key: value for key, value in config.get(SECTION, {}).items() if key != RETIRED}
    return build(OpenVLASettings, values, f"{where}/config.json, {SECTION}")


def check_kind(folder: Path, config: Mapping[str, Any]) -> None:
    """Refuse what is no merged token-head checkpoint of the one architecture in use.

    Raises:
        UserError: another head, an adapter without its model, another architecture.
    """
    names = [path.name for path in folder.iterdir()]
    check_head(folder, names)
    merged = any(name.startswith("model") and name.endswith(".safetensors") for name in names)
    if not merged and {"adapter_config.json", "lora_adapter"} & set(names):
        raise UserError(f"{folder} holds a LoRA adapter without its model; merge it first (peft's merge_and_unload)")
    for key, value in EXPECTED.items():
        if config.get(key, value) != value:
            raise UserError(f"{folder}/config.json has {key} {config[key]}, where srpo knows {value} only; {WANTED}")


def check_head(where: str | Path, names: Iterable[str]) -> None:
    """Refuse a checkpoint the names of whose files tell that it does not speak in action tokens.

    Raises:
        UserError: naming the file.
    """
    names = sorted(name for name in names if "/" not in name and name.endswith((".pt", ".safetensors")))
    for mark, what in REFUSED.items():
        if found := [name for name in names if mark in name]:
            raise UserError(f"{where} {what} ({found[0]}); policy gradients need tokens: {WANTED}")


def architecture_of(config: Mapping[str, Any], shapes: Shapes, settings: OpenVLASettings, where: Path) -> Architecture:
    """The network that `config.json` and the shapes of the weights describe.

    Raises:
        UserError: weights that decide its size are missing, or do not fit the number of heads.
    """
    text, proprio = config.get("text_config", {}), "proprio_projector.fc1.weight" in shapes
    if proprio and "images" not in config.get(SECTION, {}):
        raise UserError(
            f"{where} takes proprioception, as checkpoints of one image and of two do, and no file tells which this is:"
            f' write "{SECTION}": {{"images": 2}}, or 1, into its config.json'
        )
    try:
        dino = tower_shape(shapes, "vision_backbone.featurizer.", settings.heads, dino=True)
        siglip = tower_shape(shapes, "vision_backbone.fused_featurizer.", settings.heads, dino=False)
        hidden = shapes["projector.fc1.weight"][0]
        vocabulary = text["vocab_size"] - config["pad_to_multiple_of"]
    except (KeyError, ValueError, IndexError) as error:
        raise UserError(f"{where} is no whole OpenVLA checkpoint: it lacks {error}; fetch it again") from error
    for tower in (dino, siglip):
        if tower.width % settings.heads:
            raise UserError(f"{where} has a tower {tower.width} wide, not divisible by srpo.heads {settings.heads}")
    return Architecture(
        dino=dino,
        siglip=siglip,
        projector=hidden,
        llama={key: value for key, value in text.items() if key not in NOT_LLAMA},
        vocabulary=vocabulary,
        proprio=proprio,
        attention=settings.attention,
    )


def normalisation_of(folder: Path) -> Normalisation:
    """What `preprocessor_config.json` says of means and deviations, else the released values.

    Raises:
        UserError: the file holds no two of each.
    """
    file = folder / "preprocessor_config.json"
    stored = read_json(file).get("tvf_normalize_params") if file.is_file() else None
    if stored is None:
        return Normalisation()
    try:
        values = [tuple(map(float, part[key])) for part in stored for key in ("mean", "std")]
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{file} has no mean and std in tvf_normalize_params; fetch it again") from error
    if len(values) != len(fields(Normalisation)) or any(len(value) != 3 for value in values):
        raise UserError(f"{file} needs 3 values of mean and std for either tower in tvf_normalize_params")
    return Normalisation(*values)  # type: ignore[arg-type]
