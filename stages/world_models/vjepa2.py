"""V-JEPA 2 (arXiv 2506.09985), the paper's world model, through transformers' own classes.

Hub ids (facebook/vjepa2-vitl-fpc64-256, ...), folders that save_pretrained wrote, Meta's .pt files (`vjepa2_pt`).
Positions are rotary: any even number of frames, and any size that the configuration is told, need no new weights.

Legend: B clips, F frames, S pixels a side, H of the frames as they come, N = F/2 * (S/16)^2 tokens in the order time,
row, column, D width; M moments.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from data.errors import UserError
from data.lineage import digest_files
from stages.world_models.base import Dtype, EncoderOptions, EncoderSpec, WorldModel, check_clips
from stages.world_models.hub import config_of, digest_weights, folder_of, load_strictly
from stages.world_models.preparing import DTYPES, Preparation, device_of, dtype_of
from stages.world_models.registry import label_of
from stages.world_models.vjepa2_pt import encoder_of_pt, trained_size

FRAMES = 16
"""F unless asked: what most of the training saw; 64, as in its last phase and the paper, costs 7 times as much"""
POOLING = "mean over all tokens"


class VJepa2(WorldModel):
    """The encoder; an embedding is the mean of its tokens, as in the paper's code."""

    def __init__(
        self, name: str, encoder: nn.Module, prepare: Preparation, frames: int, dtype: Dtype, device: str, weights: str
    ) -> None:
        config: Any = encoder.config
        self.weights, self.device = weights, device
        self.spec = EncoderSpec(
            name, frames, prepare.view, config.hidden_size, POOLING, dtype, tubelet=config.tubelet_size
        )
        self._prepare, self._dtype = prepare, DTYPES[dtype]
        self._encoder = encoder.to(device)

    @torch.inference_mode()
    def encode(self, frames: np.ndarray) -> np.ndarray:
        """Embed clips: (B, F, H, H, 3) uint8 -> (B, D) float32."""
        check_clips(frames, self.spec)
        return self._tokens(frames).float().mean(1).cpu().numpy()

    @torch.inference_mode()
    def moments(self, frames: np.ndarray) -> np.ndarray:
        """(M, H, H, 3) uint8 as one clip -> (M / tubelet, D) float32, the mean of the tokens of each tubelet."""
        tokens = self._tokens(frames[None])[0].float()
        return tokens.view(len(frames) // self.spec.tubelet, -1, tokens.shape[-1]).mean(1).cpu().numpy()

    def _tokens(self, frames: np.ndarray) -> Tensor:
        """(B, F, H, H, 3) -> (B, N, D).

        The encoder alone: the model's forward gathers a copy of every token by an index of B * N * D integers.
        """
        flat = self._prepare(frames.reshape(-1, *frames.shape[2:]), self.device, self._dtype)
        tokens: Tensor = self._encoder(pixel_values_videos=flat.unflatten(0, frames.shape[:2])).last_hidden_state
        return tokens


def load(name: str, options: EncoderOptions) -> VJepa2:
    """V-JEPA 2 from a Hub id, a folder or a .pt file.

    Raises:
        UserError: weights that do not fit, an odd number of frames, a size that patches do not fill.
    """
    if options.pooling or options.tokens:
        raise UserError(f"V-JEPA 2 has one pooling, the {POOLING}; leave pooling and tokens out")
    device = device_of(options.device)
    dtype = dtype_of(options.dtype, device)
    encoder, weights = _encoder(name, options.size, DTYPES[dtype])
    config: Any = encoder.config
    frames = options.frames or min(FRAMES, config.frames_per_clip)
    if frames % config.tubelet_size:
        raise UserError(f"{name} takes frames in multiples of {config.tubelet_size}, not {frames}")
    if config.crop_size % config.patch_size:
        raise UserError(f"{name} takes sizes in multiples of {config.patch_size}, not {config.crop_size}")
    resize = int(config.crop_size * 256 / 224) if options.crop else None
    prepare = Preparation(config.crop_size, resize=resize)
    return VJepa2(label_of(name), encoder, prepare, frames, dtype, device, weights)


def _encoder(name: str, size: int | None, dtype: torch.dtype) -> tuple[nn.Module, str]:
    """The encoder and the hash of its file; the predictor and any classifier on top are dropped."""
    if Path(name).suffix in (".pt", ".pth"):
        path = Path(name)
        return encoder_of_pt(path, size or trained_size(path)).to(dtype), digest_files([path])
    folder = folder_of(name)
    overrides = {"crop_size": size or config_of(str(folder)).get("crop_size", 256)}
    model: Any = load_strictly(folder, dtype, **overrides)
    return model.base_model.encoder, digest_weights(folder)
