"""What the released policies do to a camera image before the network sees it, without TensorFlow.

Our images are upright; LIBERO's observations are upside down, and the policies were trained on those turned by 180
degrees. So an upright image is mirrored left-right first. Then: JPEG, Lanczos to the network's size, a centre crop of
90 % of the area stretched to the same size, normalisation for either tower (openvla_utils.py:520-626 and
processing_prismatic.py:97-126 in moojink/openvla-oft@213c5ff).

Shapes: N images of H x W pixels, S pixels a side of the network's images.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

CROP = 0.9**0.5
"""side of the centre crop: training saw random crops of 90 % of the area (datasets.py:151-164)"""
JPEG_QUALITY = 95
"""TensorFlow's default; so is the 4:2:0 chroma of OpenCV"""
LANCZOS = 3
Triple = tuple[float, float, float]


@dataclass(frozen=True)
class Normalisation:
    """(x/255 - mean) / std by channel, for both towers; the defaults are those of the released files."""

    dino_mean: Triple = (0.484375, 0.455078125, 0.40625)
    dino_std: Triple = (0.228515625, 0.2236328125, 0.224609375)
    siglip_mean: Triple = (0.5, 0.5, 0.5)
    siglip_std: Triple = (0.5, 0.5, 0.5)


def prepare(images: np.ndarray, side: int, normalisation: Normalisation, device: torch.device) -> Tensor:
    """Upright camera images (N, H, W, 3) u8 -> (N, 6, S, S) f32, DINOv2's three channels first."""
    mirrored = np.stack([through_jpeg(image[:, ::-1]) for image in images])
    return normalise(centre_crop(resize(torch.from_numpy(mirrored).to(device), side)), normalisation)


def through_jpeg(image: np.ndarray) -> np.ndarray:
    """An image (H, W, 3) u8 as a JPEG file keeps it: the training data were stored so."""
    import cv2

    _, written = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    read = np.asarray(cv2.imdecode(written, cv2.IMREAD_COLOR))
    return np.ascontiguousarray(read[..., ::-1])


def resize(images: Tensor, side: int) -> Tensor:
    """(N, H, W, 3) u8 -> (N, S, S, 3) u8 by the Lanczos filter in f32, rounded once at the end."""
    rows = lanczos_weights(side, images.shape[1]).to(images.device)
    columns = lanczos_weights(side, images.shape[2]).to(images.device)
    resized = torch.einsum("sh,nhwc,tw->nstc", rows, images.float(), columns)
    return resized.round().clamp(0, 255).to(torch.uint8)


@lru_cache(maxsize=8)
def lanczos_weights(outputs: int, inputs: int) -> Tensor:
    """The resampling matrix (outputs, inputs) f32 of one axis; rows sum to 1.

    Half-pixel centres; the kernel is as wide as the coarser of the two grids demands, and cut at the borders.
    """
    scale = inputs / outputs
    centre = (torch.arange(outputs, dtype=torch.float64)[:, None] + 0.5) * scale
    distance = (torch.arange(inputs, dtype=torch.float64) + 0.5 - centre) / max(scale, 1.0)
    weights = torch.where(distance.abs() < LANCZOS, torch.sinc(distance) * torch.sinc(distance / LANCZOS), 0)
    return (weights / weights.sum(1, keepdim=True)).float()


def centre_crop(images: Tensor) -> Tensor:
    """The centre of (N, S, S, 3) u8 stretched to (N, S, S, 3) u8, bilinear with aligned corners.

    As TensorFlow's `crop_and_resize` on x/255, clipped and turned back by truncating 255.5 x.
    """
    axis = CROP * torch.linspace(-1, 1, images.shape[1], device=images.device)
    grid = torch.stack(torch.meshgrid(axis, axis, indexing="xy"), -1).expand(len(images), -1, -1, -1)
    unit = images.permute(0, 3, 1, 2).float() / 255
    cropped = F.grid_sample(unit, grid, mode="bilinear", align_corners=True).clamp(0, 1)
    return (cropped * 255.5).to(torch.uint8).permute(0, 2, 3, 1)


def normalise(images: Tensor, by: Normalisation) -> Tensor:
    """(N, S, S, 3) u8 -> (N, 6, S, S) f32."""
    unit = images.permute(0, 3, 1, 2).float() / 255
    mean, std = (torch.tensor(v, device=images.device).view(2, 3, 1, 1) for v in _stacked(by))
    return ((unit[:, None] - mean) / std).flatten(1, 2)


def _stacked(by: Normalisation) -> tuple[tuple[Triple, Triple], tuple[Triple, Triple]]:
    return (by.dino_mean, by.siglip_mean), (by.dino_std, by.siglip_std)
