"""Weights in safetensors files: their shapes, strict and frugal loading, saving in parts.

A network is built on the meta device and takes one tensor after the other from its file, so that no second copy of all
exists. Each is copied to memory of its own: where a mapped one lies depends on its file, and the last digit of sums on
where it lies. Weights of the proprio projector are a `.pt` file of their own, as other tools look for them.
"""

import json
import pickle
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from data.checkpoint import check_keys, read_json
from data.errors import UserError

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
PROPRIO_FILES = "proprio_projector*.pt"
PROPRIO_FILE = "proprio_projector--latest_checkpoint.pt"
PROPRIO_PREFIX = "proprio_projector."
WRAPPED = "module."
"""before every key of the file, which was written from within DistributedDataParallel"""
PART = 4_000_000_000
"""bytes of a saved file, about"""


class WeightFiles:
    """All tensors of a folder; `shapes` has their names as the network has them."""

    def __init__(self, folder: Path) -> None:
        """
        Raises:
            UserError: no weights, a missing part, a damaged file.
        """
        self.folder = folder
        self.shapes: dict[str, tuple[int, ...]] = {}
        self._keys: dict[Path, list[str]] = {}
        for file in _parts(folder):
            with _opened(file) as part:
                keys = list(part.keys())
                self.shapes |= {_name(key): tuple(part.get_slice(key).get_shape()) for key in keys}
            self._keys[file] = keys
        self.proprio_file, self._proprio = _proprio(folder)
        self.shapes |= {key: tuple(value.shape) for key, value in self._proprio.items()}

    def fill(self, network: nn.Module, device: torch.device, dtype: torch.dtype | None) -> None:
        """Give `network`, built on the meta device, its weights.

        Args:
            dtype: of all weights; none: that of the language model's embeddings in the files.

        Raises:
            UserError: keys that are missing, left over or of another shape.
        """
        self._check(network)
        dtype = dtype or self._dtype()
        for key, tensor in self._tensors():
            path, _, name = key.rpartition(".")
            module = network.get_submodule(path)
            trained = module.get_parameter(name).requires_grad
            copied = tensor.to(device=device, dtype=dtype, copy=True)
            setattr(module, name, nn.Parameter(copied, requires_grad=trained))

    def _tensors(self) -> Iterator[tuple[str, Tensor]]:
        """All of them, mapped from their files; each file is opened anew, which lets go of the pages read before."""
        for file, keys in self._keys.items():
            for key in keys:
                with _opened(file) as part:
                    yield _name(key), part.get_tensor(key)
        yield from self._proprio.items()

    def _dtype(self) -> torch.dtype:
        wanted = "language_model.model.embed_tokens.weight"
        file = next(file for file, keys in self._keys.items() if wanted in keys)
        with _opened(file) as part:
            dtype: torch.dtype = part.get_slice(wanted)[:1].dtype
        return dtype

    def _check(self, network: nn.Module) -> None:
        wanted = {key: tuple(value.shape) for key, value in network.state_dict().items()}
        other = [key for key in wanted.keys() & self.shapes.keys() if wanted[key] != self.shapes[key]]
        check_keys(self.folder, wanted.keys() - self.shapes.keys(), self.shapes.keys() - wanted.keys(), other)


def save_weights(state: Mapping[str, Tensor], folder: Path, proprio_file: str, part: int = PART) -> None:
    """Write one `model.safetensors`, or parts of about `part` bytes with an index; one part at a time is on the CPU.

    Weights of a proprio projector go to `proprio_file`.
    """
    proprio = {key: value for key, value in state.items() if key.startswith(PROPRIO_PREFIX)}
    if proprio:
        named = {WRAPPED + key.removeprefix(PROPRIO_PREFIX): value.detach().cpu() for key, value in proprio.items()}
        torch.save(named, folder / proprio_file)
    _save_parts({key: value for key, value in state.items() if key not in proprio}, folder, part)


def _save_parts(state: Mapping[str, Tensor], folder: Path, part: int) -> None:
    groups = _groups(state, part)
    weight_map: dict[str, str] = {}
    for i, keys in enumerate(groups):
        name = SINGLE if len(groups) == 1 else f"model-{i + 1:05d}-of-{len(groups):05d}.safetensors"
        tensors = {key: state[key].detach().cpu().contiguous() for key in keys}
        save_file(tensors, folder / name, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(keys, name)
    if len(groups) > 1:
        index = {"metadata": {"total_size": sum(map(_bytes, state.values()))}, "weight_map": weight_map}
        (folder / INDEX).write_text(json.dumps(index, indent=1) + "\n")


def _groups(state: Mapping[str, Tensor], part: int) -> list[list[str]]:
    groups: list[list[str]] = []
    room = 0
    for key, value in state.items():
        if not groups or room < _bytes(value):
            groups.append([])
            room = part
        groups[-1].append(key)
        room -= _bytes(value)
    return groups


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def _parts(folder: Path) -> list[Path]:
    index = folder / INDEX
    names = sorted(set(read_json(index).get("weight_map", {}).values())) if index.is_file() else [SINGLE]
    for name in names:
        if not (folder / name).is_file():
            raise UserError(f"{folder} lacks {name}, so not all weights are there; fetch the checkpoint again")
    return [folder / name for name in names]


def _proprio(folder: Path) -> tuple[str, dict[str, Tensor]]:
    """The file's name, the usual one without such a file, and its tensors under the network's names."""
    files = sorted(folder.glob(PROPRIO_FILES))
    if len(files) > 1:
        raise UserError(f"{folder} has {len(files)} proprio projectors; keep the one of your checkpoint's step")
    if not files:
        return PROPRIO_FILE, {}
    try:
        found = torch.load(files[0], map_location="cpu", weights_only=True)
        return files[0].name, {PROPRIO_PREFIX + key.removeprefix(WRAPPED): value for key, value in found.items()}
    except (RuntimeError, OSError, EOFError, AttributeError, pickle.UnpicklingError) as error:
        raise UserError(f"{files[0]} is damaged ({' '.join(str(error).split())[:200]}); fetch it again") from error


@contextmanager
def _opened(file: Path) -> Iterator[safe_open]:
    try:
        with safe_open(file, framework="pt") as part:
            yield part
    except (SafetensorError, OSError) as error:
        raise UserError(f"{file} is damaged ({' '.join(str(error).split())[:200]}); fetch it again") from error


def _name(key: str) -> str:
    """transformers 4 could not load names with "gamma", so that released files have timm's under another."""
    return f"{key.removesuffix('gamma')}scale_factor" if key.endswith((".ls1.gamma", ".ls2.gamma")) else key
