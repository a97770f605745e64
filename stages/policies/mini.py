"""The mini policy: a vision-language-action model of 2.5 million parameters that learns on a laptop.

Each camera has a small convolutional tower whose later layers are scaled and shifted by the instruction (FiLM, arXiv
1709.07871); a spatial softmax (arXiv 1504.00702) and the flattened last maps describe where things are. A perceptron
joins them with proprioception and instruction, and gives every action token of the chunk at once, as categorical logits
over bins: the head of OpenVLA-OFT (arXiv 2502.19645), small. No dropout and no batch statistics, so that a query gives
the same logits in a rollout and in an update.

Shapes: B queries, C actions a chunk, A = 7 dimensions, K bins, W words, L language features.
"""

import json
import re
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from data.errors import UserError
from data.settings import build
from stages.policies.base import ACTION_DIM, MASKED, Observation, Policy, PolicySpec
from stages.policies.config import read_config

PROPRIO = 8
FEATURES = 11
AMPLITUDE = 3.0
"""Of the position's waves. Imitation of four demonstrations a task: 47 % greedy with 1, 65 with 3, 62 with 6."""


@dataclass(frozen=True)
class MiniConfig:
    """The content of `config.json`."""

    model_type: str = "srpo_mini"
    """Tells `load_policy` what this is."""
    cameras: dict[str, int] = field(default_factory=lambda: {"agentview": 96, "robot0_eye_in_hand": 64})
    """Camera name -> image side in pixels, a multiple of 16."""
    chunk: int = 8
    """C, the actions of one query."""
    bins: int = 41
    """K, bins over [-1, 1]; odd, so that one of them is 0."""
    channels: tuple[int, ...] = (24, 32, 48)
    """Feature maps of the three convolutions of a tower."""
    keypoints: int = 32
    """Maps of the spatial softmax."""
    words: int = 256
    """W, the slots of the hashed bag of words."""
    language: int = 64
    """L."""
    hidden: int = 512
    """Width of the perceptron."""
    proprio_mean: tuple[float, ...] = (0.0,) * FEATURES
    """Mean of the proprioceptive features over the demonstrations."""
    proprio_std: tuple[float, ...] = (1.0,) * FEATURES
    """Their standard deviation."""
    wavelengths: tuple[float, ...] = (0.64, 0.32, 0.16, 0.08)
    """Metres; the hand's position is also given as sine and cosine of each (`position_waves`)."""

    def __post_init__(self) -> None:
        if not self.cameras or any(size < 16 or size % 16 for size in self.cameras.values()):
            raise UserError(f"mini.cameras takes image sides that are multiples of 16, not {self.cameras}")
        if self.chunk < 1 or self.bins < 3 or self.bins % 2 == 0:
            raise UserError(f"mini takes chunk >= 1 and an odd number of bins >= 3, not {self.chunk} and {self.bins}")
        if len(self.channels) != 3 or min(*self.channels, self.keypoints, self.words, self.language, self.hidden) < 1:
            raise UserError("mini takes three channels and positive keypoints, words, language and hidden sizes")
        if len(self.proprio_mean) != FEATURES or len(self.proprio_std) != FEATURES or min(self.proprio_std) <= 0:
            raise UserError(f"mini takes {FEATURES} values of proprio_mean and positive ones of proprio_std")
        if any(length <= 0 for length in self.wavelengths):
            raise UserError(f"mini.wavelengths must be above 0, not {self.wavelengths}")


class Tower(nn.Module):
    """One camera: (B, H, W, 3) u8 and language (B, L) to (B, `size`) features."""

    def __init__(self, side: int, config: MiniConfig) -> None:
        super().__init__()
        first, second, third = config.channels
        self.conv1 = nn.Conv2d(3, first, 5, stride=2, padding=2)
        self.conv2 = nn.Conv2d(first, second, 3, stride=2, padding=1)
        self.conv3 = nn.Conv2d(second, third, 3, padding=1)
        self.film2 = nn.Linear(config.language, 2 * second)
        self.film3 = nn.Linear(config.language, 2 * third)
        self.keypoints = nn.Conv2d(third, config.keypoints, 1, bias=False)
        self.down1 = nn.Conv2d(third, 32, 3, stride=2, padding=1)
        self.down2 = nn.Conv2d(32, 32, 3, stride=2, padding=1)
        self.size = 2 * config.keypoints + 32 * (side // 16) ** 2
        self.register_buffer("axis", torch.linspace(-1, 1, side // 4), persistent=False)

    def forward(self, image: Tensor, language: Tensor) -> Tensor:
        x = image.permute(0, 3, 1, 2).float() / 255 - 0.5
        x = F.relu(self.conv1(x))
        x = F.relu(_film(self.conv2(x), self.film2(language)))
        x = F.relu(_film(self.conv3(x), self.film3(language)))
        maps = self.keypoints(x)
        attention = maps.flatten(2).softmax(-1).view(maps.shape)
        points = torch.cat([attention.sum(2) @ self.axis, attention.sum(3) @ self.axis], 1)
        coarse = F.relu(self.down2(F.relu(self.down1(x))))
        return torch.cat([points, coarse.flatten(1)], 1)


class MiniNetwork(nn.Module):
    """Towers, language, proprioception and the perceptron; see `forward`."""

    mean: Tensor
    std: Tensor
    never: Tensor

    def __init__(self, config: MiniConfig) -> None:
        super().__init__()
        self.config = config
        self.language = nn.Linear(config.words, config.language)
        self.towers = nn.ModuleDict({name: Tower(side, config) for name, side in config.cameras.items()})
        state = FEATURES + 6 * len(config.wavelengths)
        size = config.language + state + sum(tower.size for tower in self.towers.values())  # type: ignore[misc]
        self.hidden1 = nn.Linear(size, config.hidden)
        self.hidden2 = nn.Linear(config.hidden, config.hidden)
        self.head = nn.Linear(config.hidden, config.chunk * ACTION_DIM * config.bins)
        self.register_buffer("mean", torch.tensor(config.proprio_mean), persistent=False)
        self.register_buffer("std", torch.tensor(config.proprio_std), persistent=False)
        self.register_buffer("never", _never(config.bins), persistent=False)

    def forward(self, proprio: Tensor, words: Tensor, **images: Tensor) -> Tensor:
        """Logits of the action tokens: (B, C*A, K) f32.

        The gripper has two tokens, the first (open) and the last bin (close), because the simulator only takes its
        sign; the others have the logit -1e9. Arguments as for `trunk`.
        """
        x = self.head(self.trunk(proprio, words, **images))
        logits = x.float().view(-1, self.config.chunk, ACTION_DIM, self.config.bins)
        return logits.masked_fill(self.never, MASKED).flatten(1, 2)

    def trunk(self, proprio: Tensor, words: Tensor, **images: Tensor) -> Tensor:
        """All of the network before its head.

        Args:
            proprio: (B, 8) f32.
            words: (B, W) f32, the hashed bag of words.
            **images: camera name -> (B, H, W, 3) u8.

        Returns:
            (B, hidden) f32.
        """
        language = torch.tanh(self.language(words))
        features = (proprio_features(proprio) - self.mean) / self.std
        waves = position_waves(proprio[:, :3], self.config.wavelengths)
        seen = [tower(images[name], language) for name, tower in self.towers.items()]
        x = F.relu(self.hidden1(torch.cat([language, features, waves, *seen], 1)))
        return F.relu(self.hidden2(x))


class MiniPolicy(Policy):
    """The mini policy behind the protocol of `stages.policies.base`."""

    model_type = "srpo_mini"

    def __init__(self, config: MiniConfig, seed: int = 0) -> None:
        """A policy with random weights drawn from `seed`, without touching torch's global generator."""
        self.config = config
        self.spec = PolicySpec(dict(config.cameras), PROPRIO, config.chunk, config.bins)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.module: MiniNetwork = MiniNetwork(config)
        self.module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._bags: dict[str, np.ndarray] = {}

    def inputs(self, observation: Observation, instructions: Sequence[str]) -> dict[str, Tensor]:
        device = self.module.head.weight.device
        arrays = {name: observation.images[name] for name in self.config.cameras}
        arrays |= {"proprio": observation.proprio, "words": np.stack([self._bag(text) for text in instructions])}
        return {name: torch.from_numpy(np.ascontiguousarray(array)).to(device) for name, array in arrays.items()}

    def features(self, observation: Observation, instructions: Sequence[str]) -> Tensor:
        return self.module.trunk(**self.inputs(observation, instructions))

    def encode_actions(self, actions: np.ndarray) -> np.ndarray:
        last = self.config.bins - 1
        tokens = np.rint((np.clip(actions, -1, 1) + 1) / 2 * last).astype(np.int16)
        tokens[..., -1] = np.where(np.asarray(actions)[..., -1] > 0, last, 0)
        return tokens.reshape(*tokens.shape[:-2], -1)

    def decode_tokens(self, tokens: np.ndarray) -> np.ndarray:
        centres = np.linspace(-1, 1, self.config.bins).astype(np.float32)
        return centres[tokens].reshape(*tokens.shape[:-1], self.config.chunk, ACTION_DIM)

    def save(self, folder: Path) -> None:
        config = {"architectures": [type(self).__name__], **asdict(self.config)}
        (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in self.module.state_dict().items()}
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})

    @classmethod
    def load(cls, folder: Path, device: torch.device) -> "MiniPolicy":
        """Read what `save` wrote; every tensor must be there, with the shape that the configuration asks for.

        Raises:
            UserError: a missing or damaged file, an unknown configuration key, tensors that do not fit.
        """
        values = {key: value for key, value in read_config(folder).items() if key != "architectures"}
        policy = cls(build(MiniConfig, values, f"{folder}/config.json"))
        file = folder / "model.safetensors"
        if not file.is_file():
            raise UserError(f"{folder} holds no model.safetensors; make the policy again with `srpo sft`")
        try:
            policy.module.load_state_dict(load_file(file))
        except (SafetensorError, RuntimeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise UserError(f"{file} does not hold the weights that config.json describes ({reason})") from error
        policy.module.to(device)
        return policy

    def _bag(self, text: str) -> np.ndarray:
        if text not in self._bags:
            self._bags[text] = bag_of_words(text, self.config.words)
        return self._bags[text]


def bag_of_words(text: str, size: int) -> np.ndarray:
    """The words of `text` counted in (size,) f32 slots chosen by CRC-32, divided by the root of their number."""
    words = re.findall(r"[a-z0-9]+", text.lower())
    slots = [zlib.crc32(word.encode()) % size for word in words]
    return np.bincount(slots, minlength=size).astype(np.float32) / np.float32(max(len(words), 1) ** 0.5)


def proprio_features(proprio: Tensor) -> Tensor:
    """LIBERO's proprioception (B, 8) to (B, 11): position 3, two columns of the rotation matrix 6, fingers 2.

    The axis-angle of the end effector, `proprio[:, 3:6]`, lies near the angle pi, where it jumps between v and -v; the
    matrix (Rodrigues' formula) does not.
    """
    vector = proprio[:, 3:6]
    angle = vector.norm(dim=1, keepdim=True)
    x, y, z = (vector / angle.clamp_min(1e-8)).unbind(1)
    s, c = angle[:, 0].sin(), angle[:, 0].cos()
    t = 1 - c
    first = torch.stack([c + x * x * t, y * x * t + z * s, z * x * t - y * s], 1)
    second = torch.stack([x * y * t - z * s, c + y * y * t, z * y * t + x * s], 1)
    return torch.cat([proprio[:, :3], first, second, proprio[:, 6:]], 1)


def position_waves(position: Tensor, wavelengths: Sequence[float]) -> Tensor:
    """Positions (B, 3) in metres to `AMPLITUDE` times the sines and cosines (B, 6 * wavelengths) of 2 pi position /
    wavelength.

    A centimetre is little beside the ways that a hand goes, but decides a grasp; a perceptron learns such detail late,
    unless it is given as waves (arXiv 2006.10739; NeRF, arXiv 2003.08934, Eq. 4).
    """
    rates = position.new_tensor([2 * torch.pi / length for length in wavelengths])
    phases = (position[:, None] * rates[:, None]).flatten(1)
    return AMPLITUDE * torch.cat([phases.sin(), phases.cos()], 1)


def _film(x: Tensor, scale_shift: Tensor) -> Tensor:
    scale, shift = scale_shift[:, :, None, None].chunk(2, 1)
    return torch.addcmul(shift, x, 1 + scale)


def _never(bins: int) -> Tensor:
    """(A, K) bool: the gripper's tokens between open and close."""
    never = torch.zeros(ACTION_DIM, bins, dtype=torch.bool)
    never[-1, 1:-1] = True
    return never
