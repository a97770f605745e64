"""`mini`: a small V-JEPA 2 that a run trains on its own rollouts, without labels and without anyone's weights.

Masked latent prediction (arXiv 2404.08471, section 3.1; arXiv 2506.09985, section 2.1): a context encoder sees some
tokens of a clip, a predictor fills in the others, and the target is what an exponential moving average of the encoder
makes of the whole clip. That average is the world model; `stages.world_models.vjepa2` loads it like any V-JEPA 2.

Legend: B clips, F frames a clip, S pixels a side, N tokens a clip, v visible and h hidden ones of them, D width.
"""

import copy
import shutil
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import VJEPA2Config, VJEPA2Model
from transformers.models.vjepa2.modeling_vjepa2 import VJEPA2Encoder

from data.errors import UserError
from data.paths import is_url, plain
from data.runs import is_run
from stages.world_models.preparing import IMAGENET_MEAN, IMAGENET_STD

FOLDER = "world_model"
"""Where `srpo pretrain` puts the model unless told otherwise, and `--world-model mini` looks for it."""
CONFIG, WEIGHTS = "config.json", "model.safetensors"
TUBELET = 2


@dataclass(frozen=True)
class MiniShape:
    """The size of the network."""

    size: int = 64
    """S, pixels a side"""
    patch: int = 16
    """pixels a side of a token"""
    frames: int = 8
    """F, of a clip; two make a token"""
    width: int = 192
    """D, length of the embedding"""
    layers: int = 4
    """of the encoder"""
    heads: int = 4
    """of the encoder's attention and of the predictor's"""
    predictor_width: int = 96
    """narrower than the encoder, so that what is learnt stays in the encoder"""
    predictor_layers: int = 2
    """of the predictor"""

    @property
    def grid(self) -> int:
        """Tokens a side of a frame."""
        return self.size // self.patch

    @property
    def depth(self) -> int:
        """Tokens along time."""
        return self.frames // TUBELET


class Jepa(nn.Module):
    """The encoder that learns, its predictor, and the average of the encoder that is kept."""

    def __init__(self, shape: MiniShape, seed: int) -> None:
        super().__init__()
        self.model = make_model(shape, seed)
        self.target = copy.deepcopy(self.model.encoder).requires_grad_(False)

    def forward(self, pixels: Tensor, context: Tensor, hidden: Tensor) -> Tensor:
        """The loss: mean absolute difference between predicted and target tokens (arXiv 2506.09985, Eq. 1).

        Args:
            pixels: (B, F, 3, S, S) float32, normalised. context, hidden: (B, v) and (B, h) int64.
        """
        with torch.no_grad():
            wanted = gather(target_features(self.target, pixels), hidden)
        return (self.predict(pixels, context, hidden) - wanted).abs().mean()

    def predict(self, pixels: Tensor, context: Tensor, hidden: Tensor) -> Tensor:
        """What the hidden tokens should be, from the visible ones alone: (B, h, D)."""
        seen = context_features(self.model.encoder, pixels, context)
        places = context.unsqueeze(-1).expand_as(seen)
        tokens = context.shape[1] + hidden.shape[1]
        spread = seen.new_zeros(len(seen), tokens, seen.shape[-1]).scatter(1, places, seen)
        predicted: Tensor = self.model.predictor(spread, [context], [hidden]).last_hidden_state
        return predicted

    @torch.no_grad()
    def follow(self, momentum: float) -> None:
        """target = momentum * target + (1 - momentum) * encoder, parameter by parameter."""
        for own, learnt in zip(self.target.parameters(), self.model.encoder.parameters(), strict=True):
            own.lerp_(learnt, 1 - momentum)

    def save(self, folder: Path) -> None:
        """Write the averaged encoder, and the predictor that learnt with it, in Hugging Face layout."""
        averaged = {f"encoder.{name}": values for name, values in self.target.state_dict().items()}
        self.model.config.architectures = [type(self.model).__name__]
        self.model.config.save_pretrained(folder)
        save_file(self.model.state_dict() | averaged, folder / WEIGHTS, metadata={"format": "pt"})
        shutil.copymode(folder / CONFIG, folder / WEIGHTS)


def make_model(shape: MiniShape, seed: int) -> VJEPA2Model:
    """A fresh V-JEPA 2 of that size; its weights follow from the seed."""
    config = VJEPA2Config(
        crop_size=shape.size,
        patch_size=shape.patch,
        frames_per_clip=shape.frames,
        tubelet_size=TUBELET,
        hidden_size=shape.width,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        pred_hidden_size=shape.predictor_width,
        pred_num_hidden_layers=shape.predictor_layers,
        pred_num_attention_heads=shape.heads,
        pred_num_mask_tokens=1,
        initializer_range=shape.width**-0.5 / 2,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return VJEPA2Model(config)


def context_features(encoder: VJEPA2Encoder, pixels: Tensor, context: Tensor) -> Tensor:
    """The encoder on some tokens only: pixels (B, F, 3, S, S), context (B, v) int64 -> (B, v, D).

    The others are dropped before the first layer, hence cannot be seen.
    """
    tokens = gather(encoder.embeddings(pixels), context)
    for layer in encoder.layer:
        tokens = layer(tokens, context)[0]
    features: Tensor = encoder.layernorm(tokens)
    return features


def target_features(encoder: VJEPA2Encoder, pixels: Tensor) -> Tensor:
    """What is to be predicted: the features of all tokens (B, N, D), each with mean 0 and variance 1."""
    tokens: Tensor = encoder(pixels).last_hidden_state
    return nn.functional.layer_norm(tokens, tokens.shape[-1:])


def gather(tokens: Tensor, index: Tensor) -> Tensor:
    """(B, N, D) at (B, n) -> (B, n, D)."""
    return tokens.gather(1, index.unsqueeze(-1).expand(-1, -1, tokens.shape[-1]))


def normalise(frames: Tensor) -> Tensor:
    """(B, F, S, S, 3) values in [0, 1] -> (B, F, 3, S, S), as V-JEPA 2 has them, for its loader's sake."""
    mean, std = torch.tensor(IMAGENET_MEAN), torch.tensor(IMAGENET_STD)
    return ((frames - mean) / std).permute(0, 1, 4, 2, 3).contiguous()


def default_folder(store: str) -> Path:
    """Where the world model of a store's run goes: `world_model` in its run directory, else beside the store.

    Raises:
        UserError: the store is not in a folder.
    """
    if is_url(store):
        raise UserError(f"{store} is not a folder, so that nothing can go beside it; say where with --out")
    beside = Path(plain(store)).absolute().parent
    run = next((folder for folder in (beside, *beside.parents) if is_run(folder)), beside)
    return run / FOLDER


def find_mini(store_path: str) -> Path:
    """The folder of the model that was trained for a store: beside it, or in a folder above, its run directory.

    Raises:
        UserError: there is none.
    """
    advice = f"train one with `srpo pretrain {store_path}`, or give its folder as --world-model"
    if is_url(store_path):
        raise UserError(f"no world model beside {store_path}, which is not a folder; {advice}")
    for folder in Path(plain(store_path)).absolute().parents:
        if (folder / FOLDER / CONFIG).is_file():
            return folder / FOLDER
    raise UserError(f"no world model `mini` for {store_path}; {advice}")
