"""Frames as networks want them, and where and how precisely they compute.

Legend: n frames, H pixels a side as they come, S as the network takes them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from data.errors import UserError
from stages.world_models.base import Dtype

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
VIEW = 256
"""H of LIBERO's own cameras, which recipes that enlarge and cut start from"""
DTYPES: dict[Dtype, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
RESAMPLE = {2: "bilinear", 3: "bicubic"}
"""Pillow's numbers in preprocessor_config.json -> torch's names"""


@dataclass(frozen=True)
class Preparation:
    """uint8 frames to a network's input."""

    size: int
    """S"""
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    """of values in [0, 1], a number a channel"""
    resize: int | None = None
    """to which side the frame is brought before its middle is cut out; none: frames come at S and stay whole"""
    mode: str = "bilinear"
    """of the resizing, antialiased"""

    @property
    def view(self) -> int:
        """H, pixels a side of the frames to be given."""
        return self.size if self.resize is None else VIEW

    def __call__(self, frames: np.ndarray, device: str = "cpu", dtype: torch.dtype = torch.float32) -> Tensor:
        """(n, H, H, 3) uint8 -> (n, 3, S, S) normalised, on the device."""
        pixels = torch.tensor(frames, device=device).permute(0, 3, 1, 2).float()
        if self.resize is not None:
            pixels = self._cut(pixels, self.resize)
        mean, std = (torch.tensor(values, device=device).view(1, 3, 1, 1) for values in (self.mean, self.std))
        return ((pixels / 255 - mean) / std).to(dtype)

    def _cut(self, pixels: Tensor, side: int) -> Tensor:
        """Resized to a side, rounded to whole levels as uint8 images are, and the middle S x S."""
        larger = interpolate(pixels, (side, side), mode=self.mode, antialias=True)
        first = round((side - self.size) / 2)
        kept = larger[..., first : first + self.size, first : first + self.size]
        return kept.round().clamp(0, 255)


def stated(said: Mapping[str, Any], size: int, crop: bool, source: str) -> Preparation:
    """The preparation that a checkpoint's preprocessor_config.json states.

    Raises:
        UserError: no mean and std, or a way of resizing that is not known here.
    """
    if "image_mean" not in said or "image_std" not in said:
        raise UserError(f"{source} has no preprocessor_config.json with image_mean and image_std; add the checkpoint's")
    mean, std = tuple(said["image_mean"]), tuple(said["image_std"])
    if not crop:
        return Preparation(size, mean, std)
    if said.get("resample", 2) not in RESAMPLE:
        raise UserError(f"{source} resizes in a way that is not known here (resample {said['resample']}); no crop then")
    own, side = crop_of(said), side_of(said)
    resize = round(size * side / own) if own and side else size
    return Preparation(size, mean, std, resize, RESAMPLE[said.get("resample", 2)])


def crop_of(said: Mapping[str, Any]) -> int | None:
    """S by a preprocessor_config.json: the crop, or the size where nothing is cut."""
    return _side(said.get("crop_size")) if said.get("do_center_crop", "crop_size" in said) else side_of(said)


def side_of(said: Mapping[str, Any]) -> int | None:
    """To which side a preprocessor_config.json resizes."""
    return _side(said.get("size"))


def device_of(wish: str) -> str:
    """cpu, cuda:0, ...; auto: the first GPU where there is one.

    Raises:
        UserError: no such device here.
    """
    if wish == "auto":
        return "cuda:0" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(wish)
    except RuntimeError as error:
        raise UserError(f"device is auto, cpu, cuda or cuda:N, not {wish}") from error
    if device.type not in ("cpu", "cuda"):
        raise UserError(f"device is auto, cpu, cuda or cuda:N, not {wish}")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UserError(f"no {wish} here: torch sees {torch.cuda.device_count()} GPUs; use device=cpu")
    return "cpu" if device.type == "cpu" else f"cuda:{device.index or 0}"


def dtype_of(wish: Dtype | None, device: str) -> Dtype:
    """The precision that was asked for; else fp32 on a CPU, fp16 on a GPU.

    Half precision on a GPU is fp16: V-JEPA 2's rotary angles are computed in the activations' type, in which bf16 is
    eight times as coarse.
    """
    return wish or ("fp32" if device == "cpu" else "fp16")


def _side(size: Any) -> int | None:
    if isinstance(size, Mapping):
        size = size.get("shortest_edge") or size.get("height")
    return int(size) if size else None
