"""Image and video models of transformers, small and random, against their own forward and poolings by hand."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from data.errors import UserError
from stages.world_models.base import EncoderOptions
from stages.world_models.registry import load_world_model

SIZE, PATCH, WIDTH = 32, 8, 32
VIT = {
    "hidden_size": WIDTH,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "image_size": SIZE,
    "patch_size": PATCH,
}
TEXT = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
PROCESSOR = {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.25, 0.2, 0.5], "size": {"height": SIZE, "width": SIZE}}
IMAGE_MODELS: dict[str, tuple[dict[str, Any], int, bool]] = {
    "Dinov2Model": (VIT, 1, True),
    "Dinov2WithRegistersModel": (VIT | {"num_register_tokens": 4}, 5, True),
    "DINOv3ViTModel": (VIT | {"num_register_tokens": 4}, 5, True),
    "SiglipVisionModel": (VIT, 0, True),
    "CLIPVisionModel": (VIT, 1, True),
    "IJepaModel": (VIT, 0, False),
    "ViTModel": (VIT, 1, True),
}
"""class -> its configuration, tokens before the patches, whether it pools by itself"""


def saved(folder: Path, kind: str, config: dict[str, Any]) -> Any:
    """A random model whose weights are not too small, saved as the Hub has it."""
    config_class = getattr(transformers, kind).config_class
    torch.manual_seed(0)
    model = getattr(transformers, kind)(config_class(**config)).eval()
    for parameter in model.parameters():
        if parameter.ndim > 1:
            parameter.data = torch.randn(parameter.shape) * 1.2 / parameter[0].numel() ** 0.5
    model.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(PROCESSOR))
    return model


def clip(frames: int, size: int = SIZE) -> np.ndarray:
    return np.random.default_rng(size).integers(0, 256, (frames, size, size, 3)).astype(np.uint8)


def pixels(frames: np.ndarray) -> torch.Tensor:
    scaled = (frames / 255 - np.array(PROCESSOR["image_mean"])) / np.array(PROCESSOR["image_std"])
    return torch.from_numpy(np.moveaxis(scaled, -1, -3).astype(np.float32))


@pytest.mark.parametrize("kind", IMAGE_MODELS)
@pytest.mark.parametrize("tokens", [None, "patches"])
def test_image_models(kind: str, tokens: Any, tmp_path: Path) -> None:
    config, first, pools = IMAGE_MODELS[kind]
    model = saved(tmp_path, kind, config)
    found = load_world_model(str(tmp_path), EncoderOptions(frames=3, tokens=tokens))
    frames = clip(3)
    with torch.no_grad():
        output = model(pixel_values=pixels(frames))
    assert output.last_hidden_state.shape[1] == first + (SIZE // PATCH) ** 2
    patches = output.last_hidden_state[:, first:].mean(1)
    features = (output.pooler_output if pools and tokens is None else patches).numpy()
    expected = np.concatenate([(features[0] + features[1] + features[2]) / 3, 2 * features[2]])
    np.testing.assert_allclose(found.encode(frames[None])[0], expected, atol=1e-5)
    np.testing.assert_allclose(found.moments(frames), features, atol=1e-5)
    assert found.spec.dim == 2 * WIDTH
    words = "pooled output" if pools and tokens is None else "mean of the patches"
    assert found.spec.pooling == f"{words}: [mean over frames, 2 x last frame]"


@pytest.mark.parametrize("kind", ["SiglipModel", "CLIPModel"])
def test_of_two_towers_the_one_that_sees(kind: str, tmp_path: Path) -> None:
    model = saved(tmp_path, kind, {"vision_config": VIT, "text_config": TEXT})
    found = load_world_model(str(tmp_path), EncoderOptions(frames=1, pooling="mean"))
    with torch.no_grad():
        expected = model.vision_model(pixel_values=pixels(clip(1))).pooler_output.numpy()
    np.testing.assert_allclose(found.encode(clip(1)[None]), expected, atol=1e-5)


def test_a_network_of_convolutions(tmp_path: Path) -> None:
    sizes = {"embedding_size": 8, "hidden_sizes": [8, 12], "depths": [1, 1]}
    model = saved(tmp_path, "ResNetModel", sizes)
    found = load_world_model(str(tmp_path), EncoderOptions(frames=2, pooling="frames", tokens="patches", size=64))
    with torch.no_grad():
        maps = model(pixel_values=pixels(clip(2, 64))).last_hidden_state
    np.testing.assert_allclose(found.encode(clip(2, 64)[None])[0], maps.mean((2, 3)).flatten(), atol=1e-5)


@pytest.mark.parametrize("kind", ["Dinov2Model", "DINOv3ViTModel", "SiglipVisionModel", "CLIPVisionModel"])
def test_other_sizes(kind: str, tmp_path: Path) -> None:
    model = saved(tmp_path, kind, IMAGE_MODELS[kind][0])
    found = load_world_model(str(tmp_path), EncoderOptions(size=48, pooling="mean", frames=1))
    more = {} if kind.lower().startswith("dino") else {"interpolate_pos_encoding": True}
    with torch.no_grad():
        expected = model(pixel_values=pixels(clip(1, 48)), **more).pooler_output.numpy()
    np.testing.assert_allclose(found.encode(clip(1, 48)[None]), expected, atol=1e-5)
    with pytest.raises(UserError, match="multiples of 8 pixels, not 50"):
        load_world_model(str(tmp_path), EncoderOptions(size=50))


VIDEO_MODELS: dict[str, tuple[dict[str, Any], int]] = {
    "VideoMAEModel": (VIT | {"num_frames": 4}, 0),
    "VivitModel": (VIT | {"num_frames": 4, "tubelet_size": [2, PATCH, PATCH]}, 1),
}


@pytest.mark.parametrize("kind", VIDEO_MODELS)
def test_video_models(kind: str, tmp_path: Path) -> None:
    config, first = VIDEO_MODELS[kind]
    model = saved(tmp_path, kind, config)
    found = load_world_model(str(tmp_path))
    frames = np.stack([clip(4), clip(4)[::-1]])
    with torch.no_grad():
        tokens = model(pixel_values=pixels(frames)).last_hidden_state[:, first:].numpy()
    assert tokens.shape == (2, 2 * 16, WIDTH)
    np.testing.assert_allclose(found.encode(frames), tokens.mean(1), atol=1e-5)
    halves = [tokens[c, 16 * t : 16 * t + 16].mean(0) for c in (0, 1) for t in (0, 1)]
    np.testing.assert_allclose(found.moments(np.concatenate(frames)), halves, atol=1e-5)
    assert found.spec.tubelet == 2
    for message, options in (
        ("takes 4 frames, not 6", EncoderOptions(frames=6)),
        ("one pooling", EncoderOptions(pooling="mean")),
        ("pixels, not 64", EncoderOptions(size=64)),
    ):
        if kind == "VivitModel" and "pixels" in message:
            continue
        with pytest.raises(UserError, match=message):
            load_world_model(str(tmp_path), options)


def test_tokens_are_in_the_order_of_time(tmp_path: Path) -> None:
    """Without attention between them (no layers), a changed last frame changes the last tubelet's tokens alone."""
    saved(tmp_path, "VideoMAEModel", VIT | {"num_frames": 4, "num_hidden_layers": 0})
    found = load_world_model(str(tmp_path))
    frames = clip(4)
    other = frames.copy()
    other[3] = 255 - other[3]
    first, second = found.moments(frames), found.moments(other)
    np.testing.assert_array_equal(first[0], second[0])
    assert np.abs(first[1] - second[1]).max() > 0.1


def test_a_head_that_was_trained_on_top_is_dropped(tmp_path: Path) -> None:
    model = saved(tmp_path, "VideoMAEForVideoClassification", VIT | {"num_frames": 4})
    with torch.no_grad():
        expected = model.videomae(pixel_values=pixels(clip(4)[None])).last_hidden_state.mean(1).numpy()
    np.testing.assert_allclose(load_world_model(str(tmp_path)).encode(clip(4)[None]), expected, atol=1e-5)


def test_what_is_no_image_or_video_model_is_refused(tmp_path: Path) -> None:
    saved(tmp_path, "BertModel", TEXT)
    with pytest.raises(UserError, match="is no model of images or video"):
        load_world_model(str(tmp_path))


def test_a_model_that_wants_more_than_frames_is_refused(tmp_path: Path) -> None:
    """SigLIP 2 of any resolution takes patches with their shapes and a mask."""
    saved(tmp_path, "Siglip2VisionModel", {key: VIT[key] for key in VIT if key != "image_size"} | {"num_patches": 16})
    with pytest.raises(UserError, match=r"\(siglip2_vision_model\) is no model of images or video that is known"):
        load_world_model(str(tmp_path), EncoderOptions(size=SIZE))


def test_a_video_model_of_unknown_tokens_is_refused(tmp_path: Path) -> None:
    saved(tmp_path, "TimesformerModel", VIT | {"num_frames": 4})
    with pytest.raises(UserError, match="unknown video model 'timesformer'.*known: videomae, vivit, vjepa2"):
        load_world_model(str(tmp_path))


def test_a_checkpoint_without_its_preprocessing_is_refused(tmp_path: Path) -> None:
    saved(tmp_path, "Dinov2Model", VIT)
    (tmp_path / "preprocessor_config.json").unlink()
    with pytest.raises(UserError, match=r"no preprocessor_config\.json"):
        load_world_model(str(tmp_path))


def test_damaged_files_are_told_in_one_line(tmp_path: Path) -> None:
    folder = tmp_path / "vit"
    saved(folder, "ViTModel", VIT)
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[:-100])
    with pytest.raises(UserError, match="cannot load .*vit") as error:
        load_world_model(str(folder))
    assert "\n" not in str(error.value)
    (folder / "model.safetensors").write_bytes(whole)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"hidden_size": "wide"}))
    with pytest.raises(UserError, match="cannot load .*hidden_size") as error:
        load_world_model(str(folder))
    assert "\n" not in str(error.value)
