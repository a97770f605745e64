"""The image pipeline against loops in f64."""

import io
import math

import numpy as np
import pytest
import torch

from stages.policies.openvla_oft.images import (
    Normalisation,
    centre_crop,
    lanczos_weights,
    normalise,
    prepare,
    resize,
    through_jpeg,
)

CPU = torch.device("cpu")


def picture(side: int, seed: int = 0) -> np.ndarray:
    """Waves, an edge and noise, (side, side, 3) u8."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side] / side
    waves = np.stack([np.sin(9 * x + 4 * y), np.cos(7 * y), np.sin(20 * x * y)], -1) * 90 + 128
    waves[side // 3 : side // 2] = 255
    return np.clip(waves + rng.normal(0, 12, waves.shape), 0, 255).astype(np.uint8)


def lanczos(outputs: int, inputs: int) -> np.ndarray:
    """The kernel sinc(d) sinc(d/3) within 3, stretched by the ratio, weights divided by their sum."""
    ratio = inputs / outputs
    stretch = max(ratio, 1)
    matrix = np.zeros((outputs, inputs))
    for i in range(outputs):
        for j in range(inputs):
            d = math.pi * ((j + 0.5) - (i + 0.5) * ratio) / stretch
            if abs(d) < 3 * math.pi:
                matrix[i, j] = 1.0 if d == 0 else 3 * math.sin(d) * math.sin(d / 3) / d**2
        matrix[i] /= matrix[i].sum()
    return matrix


@pytest.mark.parametrize(("outputs", "inputs"), [(224, 256), (56, 256), (64, 48)])
def test_resize(outputs: int, inputs: int):
    image, matrix = picture(inputs), lanczos(outputs, inputs)
    exact = np.stack([matrix @ image[..., c] @ matrix.T for c in range(3)], -1).clip(0, 255)
    ours = resize(torch.from_numpy(image[None]), outputs)[0].numpy()
    assert np.abs(ours - exact).max() <= 0.5 + 1e-3
    np.testing.assert_allclose(lanczos_weights(outputs, inputs).numpy(), matrix, atol=1e-6)


def test_centre_crop():
    """x_in = 5.7218 + 0.948683 i, bilinear; truncate(x * 255.5)."""
    image = picture(224)
    ours = centre_crop(torch.from_numpy(image[None]))[0].numpy()
    at = (math.sqrt(0.9) * np.linspace(-1, 1, 224) + 1) / 2 * 223
    assert at[0] == pytest.approx(5.7218, abs=1e-4) and at[1] - at[0] == pytest.approx(0.948683, abs=1e-6)
    low = np.floor(at).astype(int)
    part = (at - low)[:, None]
    rows = image[low] * (1 - part[:, None]) + image[low + 1] * part[:, None]
    exact = rows[:, low] * (1 - part) + rows[:, low + 1] * part
    truncated = np.floor(exact / 255 * 255.5)
    assert np.abs(ours.astype(float) - truncated).max() <= 1
    assert (ours != truncated).mean() < 1e-3


def test_normalisation():
    image = torch.tensor([0, 255, 51], dtype=torch.uint8).expand(1, 2, 2, 3)
    channels = normalise(image, Normalisation())[0, :, 0, 0].tolist()
    expected = [-0.484375 / 0.228515625, 0.544921875 / 0.2236328125, (0.2 - 0.40625) / 0.224609375, -1, 1, -0.6]
    assert channels == pytest.approx(expected, abs=1e-6)


def test_upright_images_are_mirrored():
    """A bright left half: LIBERO's observation turned by 180 degrees has it on the right."""
    image = np.zeros((1, 256, 256, 3), np.uint8)
    image[:, :, :128] = 255
    image[:, :64] //= 2
    ready = prepare(image, 224, Normalisation(), CPU)
    assert ready.shape == (1, 6, 224, 224)
    assert (ready[0, 3:, 100:, :100] < -0.9).all() and (ready[0, 3:, 100:, 124:] > 0.9).all()
    assert ready[0, 3:, :40, 124:].mean() < 0.1


def test_whole_pipeline():
    image = picture(256, 3)
    steps = resize(torch.from_numpy(through_jpeg(image[:, ::-1])[None]), 224)
    ready = prepare(image[None], 224, Normalisation(), CPU)
    assert torch.equal(ready, normalise(centre_crop(steps), Normalisation()))


def test_jpeg_as_pillow_writes_it():
    image = pytest.importorskip("PIL.Image")
    pixels, file = picture(256, 2), io.BytesIO()
    image.fromarray(pixels).save(file, "JPEG", quality=95, subsampling=2)
    theirs = np.asarray(image.open(file)).astype(int)
    difference = np.abs(through_jpeg(pixels) - theirs)
    assert difference.max() <= 2
    assert np.abs(through_jpeg(pixels).astype(int) - pixels).max() > 2
