"""What a world model is to the rest of srpo: frames of a trajectory in, one vector out.

Legend: B clips, F frames a clip, S pixels a side (the encoder's size), D the length of the embedding; M moments spread
over a trajectory, d the length of a moment's vector, K prefixes.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from data.errors import UserError

Dtype = Literal["fp32", "bf16", "fp16"]
Pooling = Literal["mean", "mean+last", "frames"]
POOLINGS: dict[Pooling, str] = {
    "mean": "mean over frames",
    "mean+last": "[mean over frames, 2 x last frame]",
    "frames": "frames one after the other",
}
"""How the frames of an image encoder become one vector; the mean alone knows no order of time."""
FINAL_WEIGHT = 2.0
"""of the last frame in mean+last: the outcome counts more than the way"""


@dataclass(frozen=True)
class EncoderOptions:
    """How a world model is to be loaded; none: what suits it best."""

    frames: int | None = None
    """F, frames a clip"""
    size: int | None = None
    """S, pixels a side"""
    pooling: Pooling | None = None
    """how the frames of an image encoder become one vector: mean, mean+last or frames (see POOLINGS)"""
    tokens: Literal["pooler", "patches"] | None = None
    """what of a frame becomes its vector in an image encoder of transformers: its own pooled output, or the mean of its
    patches; none: the former where there is one"""
    dtype: Dtype | None = None
    """precision of the weights and of the computation; none: fp32 on a CPU, fp16 on a GPU"""
    device: str = "auto"
    """cpu, cuda or cuda:N; auto: the first GPU where there is one"""
    crop: bool = False
    """enlarge LIBERO's 256-pixel view and cut its middle out, as a checkpoint's own recipe does with any video, instead
    of rendering the whole view at S"""


@dataclass(frozen=True)
class EncoderSpec:
    """What an encoder takes and gives."""

    name: str
    frames: int
    """F, frames a clip."""
    size: int
    """Pixels a side of each frame."""
    dim: int
    """D, length of the embedding."""
    pooling: str
    """How the frames become one vector, in words; stored with every embedding."""
    dtype: Dtype = "fp32"
    """Precision of the weights and of the computation; pooling is in fp32 always."""
    moment_dim: int = 0
    """d, length of a moment's vector; 0: as the embedding's."""
    tubelet: int = 1
    """Consecutive frames that make one moment."""


class WorldModel(ABC):
    """A frozen encoder of trajectories."""

    spec: EncoderSpec
    weights: str
    """Hash of the weights; empty where there are none."""
    device: str = "cpu"
    """Where it computes."""

    @abstractmethod
    def encode(self, frames: np.ndarray) -> np.ndarray:
        """Embed clips: (B, F, S, S, 3) uint8, frames in order of time, upright -> (B, D) float32."""

    @abstractmethod
    def moments(self, frames: np.ndarray) -> np.ndarray:
        """A trajectory as a path: (M, S, S, 3) uint8 -> (m, d) float32 in order of time, m = M // spec.tubelet."""

    def prefixes(self, frames: np.ndarray, ends: Sequence[int]) -> np.ndarray:
        """The embeddings of a trajectory that had ended earlier.

        Args:
            frames: (M, S, S, 3) uint8, a dense view of the trajectory.
            ends: (K,) which of the M moments is each prefix's last; its F frames are spread over 0 .. that moment.

        Returns:
            (K, D) float32.
        """
        return np.concatenate([self.encode(frames[frame_indices(end + 1, self.spec.frames)][None]) for end in ends])


class ImageEncoder(WorldModel):
    """An encoder that sees each frame by itself: a network of images, and a pooling over time."""

    pooling: Pooling

    @abstractmethod
    def features(self, frames: np.ndarray) -> np.ndarray:
        """Frames (n, S, S, 3) uint8 -> (n, d) float32."""

    def pool(self, features: np.ndarray) -> np.ndarray:
        """The features (F, d) of a clip in order of time -> (D,) float32, as POOLINGS says."""
        if self.pooling == "frames":
            return features.ravel()
        mean: np.ndarray = features.mean(0)
        return mean if self.pooling == "mean" else np.concatenate([mean, FINAL_WEIGHT * features[-1]])

    def encode(self, frames: np.ndarray) -> np.ndarray:
        """Embed clips: (B, F, S, S, 3) uint8 -> (B, D) float32, each by itself."""
        check_clips(frames, self.spec)
        return np.stack([self.pool(self.features(clip)) for clip in frames])

    def sketch(self, features: np.ndarray) -> np.ndarray:
        """The features (M, d) of a path's frames as they are kept: all of them, unless an encoder has too many."""
        return features

    def moments(self, frames: np.ndarray) -> np.ndarray:
        """(M, S, S, 3) uint8 -> (M, spec.moment_dim) float32."""
        return self.sketch(self.features(frames))

    def prefixes(self, frames: np.ndarray, ends: Sequence[int]) -> np.ndarray:
        """As `WorldModel.prefixes`; each frame goes through the network once."""
        return self.pooled_prefixes(self.features(frames), ends)

    def pooled_prefixes(self, features: np.ndarray, ends: Sequence[int]) -> np.ndarray:
        """`prefixes` from the features (M, d) of the frames."""
        return np.stack([self.pool(features[frame_indices(end + 1, self.spec.frames)]) for end in ends])


def frame_indices(length: int, frames: int) -> np.ndarray:
    """Which of `length` moments to look at: (F,) int64, spread evenly over 0 .. length-1.

    Both ends are included (a single frame is the last one); a trajectory shorter than F repeats its nearest moment and
    never wraps around, so the clip always ends at the end.

    Raises:
        ValueError: `length` or `frames` below 1.
    """
    if length < 1 or frames < 1:
        raise ValueError(f"no frames to choose: {frames} of {length}")
    if frames == 1:
        return np.array([length - 1])
    steps = frames - 1
    return (2 * np.arange(frames) * (length - 1) + steps) // (2 * steps)


def check_clips(frames: np.ndarray, spec: EncoderSpec) -> None:
    """Refuse clips that are not (B, F, S, S, 3) uint8.

    Raises:
        ValueError: another shape or type.
    """
    wanted = (spec.frames, spec.size, spec.size, 3)
    if frames.ndim != 5 or frames.shape[1:] != wanted or frames.dtype != np.uint8:
        raise ValueError(f"{spec.name} takes clips of shape (B, *{wanted}) uint8, not {frames.shape} {frames.dtype}")


def pooled_spec(
    name: str, frames: int, size: int, features: int, what: str, pooling: Pooling, dtype: Dtype = "fp32"
) -> EncoderSpec:
    """The spec of an image encoder; features: d; what: a frame's vector, in words."""
    dim = {"mean": 1, "mean+last": 2, "frames": frames}[pooling] * features
    return EncoderSpec(name, frames, size, dim, f"{what}: {POOLINGS[pooling]}", dtype, moment_dim=features)


def check_plain(name: str, options: EncoderOptions) -> None:
    """Refuse options of an encoder that runs on a CPU in fp32 and sees the whole frame.

    Raises:
        UserError: an option that it does not have.
    """
    wrong = {"dtype": options.dtype not in (None, "fp32"), "crop": options.crop, "tokens": options.tokens}
    for what, given in wrong.items():
        if given:
            raise UserError(f"{name} has no setting {what}; leave it out")
    if options.device not in ("auto", "cpu"):
        raise UserError(f"{name} runs on the CPU, not on {options.device}; leave the setting out")
