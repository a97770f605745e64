"""Frames to network input: against Pillow's own resizing and transformers' processor, and by hand."""

import numpy as np
import pytest
import torch
from PIL import Image

from data.errors import UserError
from stages.world_models.preparing import VIEW, Preparation, crop_of, device_of, dtype_of, side_of, stated

MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


def view(seed: int = 0) -> np.ndarray:
    """(VIEW, VIEW, 3) of coarse noise with sharp edges."""
    coarse = np.random.default_rng(seed).integers(0, 256, (32, 32, 3)).astype(np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((VIEW, VIEW), Image.Resampling.NEAREST))


def levels(pixels: torch.Tensor) -> np.ndarray:
    """Back to values of 0 to 255: (S, S, 3)."""
    return (pixels[0].permute(1, 2, 0).numpy() * STD + MEAN) * 255


def test_a_whole_frame_is_only_normalised() -> None:
    frame = view()
    found = Preparation(VIEW)(frame[None])
    assert found.shape == (1, 3, VIEW, VIEW)
    expected = ((frame / 255 - MEAN) / STD).transpose(2, 0, 1)
    np.testing.assert_allclose(found[0].numpy(), expected, atol=1e-5)


@pytest.mark.parametrize(("size", "side", "first"), [(384, 438, 27), (256, 292, 18)])
def test_the_recipe_of_the_reference(size: int, side: int, first: int) -> None:
    """Resize to 438, cut the middle 384 (sii-research/siiRL, video_emb.py), or 292 and 256: as Pillow does."""
    prepare = Preparation(size, resize=side)
    assert prepare.view == VIEW
    larger = Image.fromarray(view()).resize((side, side), Image.Resampling.BILINEAR)
    expected = np.asarray(larger, float)[first : first + size, first : first + size]
    assert np.abs(levels(prepare(view()[None])) - expected).max() <= 1.01


@pytest.mark.parametrize("size", [384, 256])
def test_equals_the_processor_of_transformers(size: int) -> None:
    pytest.importorskip("torchvision", reason="transformers' video processors need torchvision")
    from transformers import VJEPA2VideoProcessor

    video = np.stack([view(1), view(2)])
    expected = VJEPA2VideoProcessor(crop_size=size)(list(video), return_tensors="pt")["pixel_values_videos"][0]
    found = Preparation(size, resize=int(size * 256 / 224))(video)
    assert float((found - expected).abs().max()) <= 1.01 / 255 / STD.min()


def test_a_smaller_cut_keeps_the_middle() -> None:
    """From 256 to 40, the middle 20: a bright square there stays, a frame around it goes."""
    frame = np.zeros((VIEW, VIEW, 3), np.uint8)
    frame[64:192, 64:192] = 200
    found = levels(Preparation(20, resize=40)(frame[None]))
    np.testing.assert_allclose(found[2:-2, 2:-2], 200, atol=0.01)


def test_what_a_checkpoint_states() -> None:
    said = {"image_mean": [0.5] * 3, "image_std": [0.25] * 3, "size": {"shortest_edge": 256}, "resample": 3}
    said |= {"crop_size": {"height": 224, "width": 224}, "do_center_crop": True}
    assert (side_of(said), crop_of(said)) == (256, 224)
    assert stated(said, 224, False, "x") == Preparation(224, (0.5,) * 3, (0.25,) * 3)
    assert stated(said, 224, True, "x") == Preparation(224, (0.5,) * 3, (0.25,) * 3, 256, "bicubic")
    assert stated(said, 448, True, "x").resize == 512
    squeezed = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3, "size": {"height": 224, "width": 224}}
    assert crop_of(squeezed) == 224
    assert stated(squeezed, 224, True, "x").resize == 224
    with pytest.raises(UserError, match="x has no preprocessor_config.json with image_mean"):
        stated({}, 224, False, "x")
    with pytest.raises(UserError, match="not known here"):
        stated(said | {"resample": 1}, 224, True, "x")


def test_where_and_how_precisely() -> None:
    assert device_of("cpu") == "cpu"
    assert dtype_of(None, "cpu") == "fp32"
    assert dtype_of(None, "cuda:1") == "fp16"
    assert dtype_of("bf16", "cpu") == "bf16"
    for wrong in ("tpu", "meta", "cpux"):
        with pytest.raises(UserError, match="device is auto"):
            device_of(wrong)
