"""OpenVLA-OFT behind the protocol of `stages.policies.base`."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from data.errors import UserError
from stages.policies.base import Observation, Policy, PolicySpec
from stages.policies.config import read_config
from stages.policies.openvla_oft import preflight, prompt, statistics
from stages.policies.openvla_oft.actions import decode, encode
from stages.policies.openvla_oft.images import prepare
from stages.policies.openvla_oft.network import BINS, CHUNK, PROPRIO, OpenVLANetwork
from stages.policies.openvla_oft.released import (
    SECTION,
    architecture_of,
    check_kind,
    normalisation_of,
    settings_of,
)
from stages.policies.openvla_oft.weights import INDEX, PROPRIO_FILES, WeightFiles, save_weights
from stages.policies.source import policy_files

CAMERAS = ("agentview", "robot0_eye_in_hand")
RENDERED = 256
"""pixels a side of the images that LIBERO's datasets were rendered with"""
DTYPES = {"files": None, "bf16": torch.bfloat16, "fp32": torch.float32}
GPU_ROWS = 32
"""queries of a forward pass on a GPU: with 32 a query took a third of the time of one alone (docs/gpu.md)"""
ADAPTED = ("language_model.model.", "projector.", "proprio_projector.")
WRITTEN = ("config.json", INDEX, "*.safetensors", PROPRIO_FILES)
"""what `save` makes anew; all other files go along as they are, for tools that want them"""


class OpenVLAPolicy(Policy):
    """A checkpoint with action tokens: 8 actions a query, 256 tokens a dimension, 1 or 2 images."""

    model_type = "openvla"

    def __init__(self, folder: Path, device: torch.device, **settings: Any) -> None:
        """
        Args:
            folder: a released checkpoint, or what `save` wrote.
            settings: fields of `OpenVLASettings`, instead of those in `config.json`.

        Raises:
            UserError: another kind of checkpoint, missing or damaged files, weights that do not fit.
        """
        config = read_config(folder)
        check_kind(folder, config)
        self.settings = replace(settings_of(config, folder), **settings)
        self._config: Mapping[str, Any] = config
        self._beside = _beside(folder)
        files = WeightFiles(folder)
        self._proprio_file = files.proprio_file
        architecture = architecture_of(config, files.shapes, self.settings, folder)
        self._statistics, self._action, self._proprio = statistics.ranges_of(
            folder, config, self.settings.statistics, architecture.proprio
        )
        self._normalisation = normalisation_of(folder)
        self._prompts = prompt.Prompts(_tokenizer(folder, self._beside), str(folder / prompt.FILE))
        with torch.device("meta"):
            self.module: OpenVLANetwork = OpenVLANetwork(architecture)
        files.fill(self.module, device, DTYPES[self.settings.precision])
        self.module.restore_rotary(device)
        self.rows_at_once = 1 if device.type == "cpu" else GPU_ROWS
        self.spec = PolicySpec(dict.fromkeys(CAMERAS[: self.settings.images], RENDERED), PROPRIO, CHUNK, BINS)

    def inputs(self, observation: Observation, instructions: Sequence[str]) -> dict[str, Tensor]:
        device = self.module.projector.fc1.weight.device
        side = self.module.architecture.dino.side
        images = [prepare(observation.images[name], side, self._normalisation, device) for name in self.spec.cameras]
        inputs = {"pixels": torch.stack(images, 1), **self._prompts.batch(instructions, device)}
        if self._proprio is not None:
            values = self._proprio.normalise(observation.proprio).astype(np.float32)
            inputs["proprio"] = torch.from_numpy(values).to(device)
        return inputs

    def features(self, observation: Observation, instructions: Sequence[str]) -> Tensor:
        """What the language model's head reads, mean over the action tokens: (B, D)."""
        return self.module.read(**self.inputs(observation, instructions)).float().mean(1)

    @classmethod
    def acting_device(cls) -> str:
        return "cuda" if torch.cuda.is_available() else "cpu"

    def check_scene(self, suite: str, look: str) -> None:
        preflight.check_scene(self._statistics, suite, look)

    def adapted_layers(self) -> list[str]:
        """All of Llama and the projectors; the language model's head is read in part, the towers stay as they are."""
        return [name for name in super().adapted_layers() if name.startswith(ADAPTED)]

    def first_look(self, observation: Observation, instructions: Sequence[str]) -> dict[str, float]:
        """See `preflight.check_head`; asked at the first query alone."""
        first = self.inputs(observation.rows(slice(1)), instructions[:1])
        return preflight.check_head(self.module, first, self.settings.images)

    def encode_actions(self, actions: np.ndarray) -> np.ndarray:
        return encode(actions, self._action)

    def decode_tokens(self, tokens: np.ndarray) -> np.ndarray:
        return decode(tokens, self._action)

    def save(self, folder: Path) -> None:
        """Write the whole checkpoint in the released layout, the files beside the weights as they came."""
        config = {**self._config, SECTION: asdict(self.settings)}
        (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")
        for name, content in self._beside.items():
            (folder / name).write_bytes(content)
        save_weights(self.module.state_dict(), folder, self._proprio_file)

    @classmethod
    def load(cls, folder: Path, device: torch.device, **settings: Any) -> "OpenVLAPolicy":
        """As the constructor."""
        return cls(folder, device, **settings)

    @classmethod
    def outline(cls, folder: Path) -> "OpenVLAPolicy":
        return cls(folder, torch.device("meta"))


def _beside(folder: Path) -> dict[str, bytes]:
    """Name -> content of the files that `save` does not make."""
    try:
        return {
            file.name: file.read_bytes()
            for file in policy_files(folder)
            if not any(fnmatch(file.name, pattern) for pattern in WRITTEN)
        }
    except OSError as error:
        raise UserError(f"cannot read {error.filename} ({error.strerror}); fetch it again") from error


def _tokenizer(folder: Path, beside: Mapping[str, bytes]) -> str:
    if prompt.FILE not in beside:
        raise UserError(f"{folder} has no {prompt.FILE}; copy it from the released checkpoint")
    try:
        return beside[prompt.FILE].decode()
    except UnicodeDecodeError as error:
        raise UserError(f"cannot read {folder / prompt.FILE} ({error}); fetch it again") from error
