"""Any image model of transformers, and its video models whose tokens are known, by Hub id or folder.

DINOv2, DINOv3, SigLIP, CLIP, I-JEPA, ViT, ResNet, ConvNeXt, ...: each frame by itself, then pooled over time.
VideoMAE, ViViT: a clip at once.

Legend: B clips, F frames, S pixels a side, p pixels a side of a patch, d width, n frames, M moments.
"""

import inspect
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from data.errors import UserError, unknown
from stages.world_models.base import (
    Dtype,
    EncoderOptions,
    EncoderSpec,
    ImageEncoder,
    WorldModel,
    check_clips,
    pooled_spec,
)
from stages.world_models.hub import digest_weights, folder_of, load_strictly, preprocessing
from stages.world_models.preparing import DTYPES, Preparation, crop_of, device_of, dtype_of, stated
from stages.world_models.registry import label_of

FRAMES = 8
"""F of an image model unless asked"""
RESIZABLE = ("dinov2", "dinov2_with_registers", "dinov3_vit", "dinov3_convnext", "resnet", "convnext", "convnextv2")
"""model types that take any multiple of a patch without being told so"""
FIRST_TOKENS = {"videomae": 0, "vivit": 1}
"""video models -> tokens before those of the patches, which come in the order time, row, column"""


class ImageTower(ImageEncoder):
    """An image model, and a pooling over time."""

    def __init__(
        self, name: str, tower: nn.Module, prepare: Preparation, device: str, dtype: Dtype, options: EncoderOptions
    ) -> None:
        self.device, self._prepare, self._dtype = device, prepare, DTYPES[dtype]
        self._tower = tower.to(device)
        self._options = {"interpolate_pos_encoding": True} if _interpolates(tower, prepare.size) else {}
        probe = np.zeros((1, prepare.view, prepare.view, 3), np.uint8)
        self._patches = options.tokens == "patches" or self._output(probe).get("pooler_output") is None
        what = "mean of the patches" if self._patches else "pooled output"
        self.pooling = options.pooling or "mean+last"
        width = self.features(probe).shape[1]
        self.spec = pooled_spec(name, options.frames or FRAMES, prepare.view, width, what, self.pooling, dtype)

    def features(self, frames: np.ndarray) -> np.ndarray:
        """(n, H, H, 3) uint8 -> (n, d) float32."""
        output = self._output(frames)
        found: Tensor = output.last_hidden_state if self._patches else output.pooler_output
        if self._patches:
            found = found.float().mean((2, 3)) if found.ndim == 4 else self._of_patches(found).float().mean(1)
        return found.float().flatten(1).cpu().numpy()

    @torch.inference_mode()
    def _output(self, frames: np.ndarray) -> Any:
        return self._tower(pixel_values=self._prepare(frames, self.device, self._dtype), **self._options)

    def _of_patches(self, tokens: Tensor) -> Tensor:
        """Without the class and register tokens, which come first."""
        grid = self._prepare.size // int(self._tower.config.patch_size)  # type: ignore[union-attr, arg-type]
        return tokens[:, -(grid * grid) :]


class VideoTower(WorldModel):
    """A video model of a fixed number of frames; an embedding is the mean of its tokens."""

    def __init__(
        self, name: str, tower: nn.Module, prepare: Preparation, device: str, dtype: Dtype, options: EncoderOptions
    ) -> None:
        config: Any = tower.config
        if config.model_type not in FIRST_TOKENS:
            raise unknown("video model", config.model_type, [*FIRST_TOKENS, "vjepa2"])
        if options.pooling or options.tokens:
            raise UserError(f"{name} is a video model and has one pooling; leave pooling and tokens out")
        if options.frames not in (None, config.num_frames):
            raise UserError(f"{name} takes {config.num_frames} frames, not {options.frames}")
        self.device, self._prepare, self._dtype = device, prepare, DTYPES[dtype]
        self._tower = tower.to(device)
        self._first = FIRST_TOKENS[config.model_type]
        tubelet = config.tubelet_size if isinstance(config.tubelet_size, int) else config.tubelet_size[0]
        words, width = "mean over all tokens of patches", config.hidden_size
        self.spec = EncoderSpec(name, config.num_frames, prepare.view, width, words, dtype, tubelet=tubelet)

    def encode(self, frames: np.ndarray) -> np.ndarray:
        """Embed clips: (B, F, H, H, 3) uint8 -> (B, d) float32."""
        check_clips(frames, self.spec)
        return self._tokens(frames).mean(1).cpu().numpy()

    def moments(self, frames: np.ndarray) -> np.ndarray:
        """(M, H, H, 3) uint8, M a multiple of F, as clips one after the other -> (M / tubelet, d) float32.

        Raises:
            UserError: another M.
        """
        if len(frames) % self.spec.frames:
            raise UserError(f"{self.spec.name} takes moments in multiples of {self.spec.frames}, not {len(frames)}")
        clips = frames.reshape(-1, self.spec.frames, *frames.shape[1:])
        tokens = self._tokens(clips)
        return tokens.reshape(len(frames) // self.spec.tubelet, -1, tokens.shape[-1]).mean(1).cpu().numpy()

    @torch.inference_mode()
    def _tokens(self, frames: np.ndarray) -> Tensor:
        flat = self._prepare(frames.reshape(-1, *frames.shape[2:]), self.device, self._dtype)
        output = self._tower(pixel_values=flat.unflatten(0, frames.shape[:2]))
        tokens: Tensor = output.last_hidden_state[:, self._first :].float()
        return tokens


def load(name: str, options: EncoderOptions) -> WorldModel:
    """The vision part of a checkpoint.

    Raises:
        UserError: a model that sees no frames or is not known here, options that it cannot take, weights that do not
            fit.
    """
    folder, device = folder_of(name), device_of(options.device)
    dtype = dtype_of(options.dtype, device)
    model: Any = load_strictly(folder, DTYPES[dtype])
    tower = _seeing(model)
    said, config = preprocessing(folder), tower.config
    size = options.size or crop_of(said) or getattr(config, "image_size", None)
    if _needed(tower) - {"pixel_values"} or tower.main_input_name != "pixel_values" or not size:
        raise UserError(f"{name} ({config.model_type}) is no model of images or video that is known here")
    _check_size(name, config, tower, int(size))
    prepare = stated(said, int(size), options.crop, name)
    kind = VideoTower if hasattr(config, "num_frames") else ImageTower
    world_model: WorldModel = kind(label_of(name), tower, prepare, device, dtype, options)
    world_model.weights = digest_weights(folder)
    return world_model


def _seeing(model: Any) -> Any:
    """Of a model the part that sees: without a head that was trained on top, of two towers that of images."""
    base = model if type(model).__name__.endswith("Model") else model.base_model
    return getattr(base, "vision_model", base)


def _needed(tower: nn.Module) -> set[str]:
    """What its forward cannot do without."""
    given = inspect.signature(tower.forward).parameters.values()
    return {one.name for one in given if one.default is one.empty and one.kind is one.POSITIONAL_OR_KEYWORD}


def _check_size(name: str, config: Any, tower: nn.Module, size: int) -> None:
    patch, own = getattr(config, "patch_size", 1), getattr(config, "image_size", size)
    if isinstance(patch, int) and size % patch:
        raise UserError(f"{name} takes frames in multiples of {patch} pixels, not {size}")
    if own != size and config.model_type not in RESIZABLE and not _interpolates(tower, size):
        raise UserError(f"{name} takes frames of {own} pixels, not {size}")


def _interpolates(tower: nn.Module, size: int) -> bool:
    """Whether positions must be interpolated for frames of that size, and can be."""
    config: Any = tower.config
    known = "interpolate_pos_encoding" in inspect.signature(tower.forward).parameters
    return known and getattr(config, "image_size", size) != size
