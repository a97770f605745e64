"""Checkpoints in Hugging Face layout: found in a folder or on the Hub, loaded so that every weight fits."""

from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from torch import nn

from data.checkpoint import check_keys, read_json
from data.errors import UserError
from data.hub import fetch, fetch_file
from data.lineage import digest_files

PATTERNS = ("*.json", "*.safetensors")
WEIGHTS = ("*.safetensors", "pytorch_model*.bin")
PREPROCESSORS = ("video_preprocessor_config.json", "preprocessor_config.json")


def config_of(name: str) -> dict[str, Any]:
    """The config.json of a folder or Hub id; of a repository nothing else is fetched.

    Raises:
        UserError: there is none.
    """
    folder = Path(name)
    if not folder.is_dir():
        return read_json(fetch_file(name, "config.json"))
    path = folder / "config.json"
    if not path.is_file():
        raise UserError(
            f"{folder} has no config.json; give a folder that save_pretrained wrote, a .pt file or a Hub id"
        )
    return read_json(path)


def folder_of(name: str) -> Path:
    """A folder as it is; a Hub id's files in the local cache, fetched if need be.

    Raises:
        UserError: it cannot be had.
    """
    return Path(name) if Path(name).is_dir() else fetch(name, PATTERNS)


def preprocessing(folder: Path) -> dict[str, Any]:
    """What the checkpoint says of its frames (size, mean, ...); empty where it says nothing."""
    path = next((folder / name for name in PREPROCESSORS if (folder / name).is_file()), None)
    return read_json(path) if path else {}


def load_strictly(folder: Path, dtype: torch.dtype, **overrides: Any) -> nn.Module:
    """The model that was saved in a folder, of the very class of transformers that wrote it.

    Args:
        overrides: fields of its configuration that are to be otherwise.

    Raises:
        UserError: no such class, or weights that are missing, left over, of another shape or unreadable.
    """
    import transformers

    names = config_of(str(folder)).get("architectures") or ["none"]
    kind = getattr(transformers, names[0], None)
    if kind is None:
        raise UserError(
            f"config.json of {folder} names {names[0]}, which transformers {transformers.__version__} lacks"
        )
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    try:
        model, told = kind.from_pretrained(
            folder, dtype=dtype, output_loading_info=True, ignore_mismatched_sizes=True, **overrides
        )
    except (OSError, ValueError, RuntimeError, SafetensorError, StrictDataclassError) as error:
        raise UserError(f"cannot load {folder}: {' '.join(str(error).split())}") from error
    shapes = [key if isinstance(key, str) else key[0] for key in told["mismatched_keys"]]
    check_keys(str(folder), told["missing_keys"], told["unexpected_keys"], shapes)
    loaded: nn.Module = model.eval().requires_grad_(False)
    return loaded


def digest_weights(folder: Path) -> str:
    """Hash of the weights of a folder.

    Raises:
        UserError: there are none.
    """
    for pattern in WEIGHTS:
        if found := list(folder.glob(pattern)):
            return digest_files(found)
    raise UserError(f"{folder} has no weights (model.safetensors)")
