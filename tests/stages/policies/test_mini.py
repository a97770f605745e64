"""The mini policy: shapes, determinism, row invariance, its file format and its log-probs."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from data.errors import UserError
from stages.policies.base import Observation
from stages.policies.loading import load_policy, weights_digest
from stages.policies.mini import MiniConfig, MiniPolicy, bag_of_words, position_waves, proprio_features
from stages.policies.noise import query_noise
from tests.stages.conftest import random_queries

TEXTS = ["pick up the milk", "open the drawer", "Pick up the butter and place it in the basket"]


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def policy() -> MiniPolicy:
    return MiniPolicy(MiniConfig(), seed=3)


def observe(policy: MiniPolicy, batch: int, seed: int = 0) -> Observation:
    return random_queries(policy, batch, np.random.default_rng(seed))


def noise_of(policy: MiniPolicy, batch: int) -> np.ndarray:
    return np.stack([query_noise(9, k, policy.spec.tokens) for k in range(batch)])


def texts(batch: int) -> list[str]:
    return [TEXTS[i % len(TEXTS)] for i in range(batch)]


def test_shapes_and_ranges(policy: MiniPolicy):
    tokens, logprob, actions = policy.act(observe(policy, 5), texts(5), 0.6, noise_of(policy, 5))
    assert tokens.shape == logprob.shape == (5, 56)
    assert actions.shape == (5, 8, 7)
    assert (tokens.dtype, logprob.dtype, actions.dtype) == (np.int16, np.float32, np.float32)
    assert (logprob <= 0).all()
    assert np.isfinite(logprob).all()
    assert np.abs(actions).max() <= 1
    assert set(np.unique(actions[..., 6])) <= {-1.0, 1.0}


def test_size(policy: MiniPolicy):
    assert 2.4e6 < sum(p.numel() for p in policy.module.parameters()) < 2.8e6


def test_a_row_is_the_same_whatever_else_waits(policy: MiniPolicy):
    observation, noise = observe(policy, 6), noise_of(policy, 6)
    whole = policy.act(observation, texts(6), 0.6, noise)
    order = np.array([4, 1, 5])
    some = policy.act(observation.rows(order), [texts(6)[i] for i in order], 0.6, noise[order])
    for a, b in zip(whole, some, strict=True):
        assert np.array_equal(a[order], b)


def test_recomputed_logprob_equals_the_recorded_one(policy: MiniPolicy):
    observation, noise = observe(policy, 12), noise_of(policy, 12)
    for temperature in (0.6, 1.0, 1.6):
        tokens, recorded, _ = policy.act(observation, texts(12), temperature, noise)
        again, entropy = policy.logprob(observation, texts(12), tokens, temperature)
        assert np.abs(again.detach().numpy() - recorded).max() < 1e-5
        assert again.requires_grad
        assert entropy.shape == again.shape
        assert entropy.min() >= 0
        assert entropy.view(12, 8, 7)[..., 6].max() <= np.log(2) + 1e-6


def test_logprob_and_entropy_against_numpy(policy: MiniPolicy):
    observation = observe(policy, 2)
    logits = policy.module(**policy.inputs(observation, texts(2))).detach().numpy().astype(np.float64)
    tokens = policy.act(observation, texts(2), 1.0, noise_of(policy, 2))[0]
    p = np.exp(logits / 0.7)
    p /= p.sum(-1, keepdims=True)
    logprob, entropy = policy.logprob(observation, texts(2), tokens, 0.7)
    slow = [[np.log(p[b, i, tokens[b, i]]) for i in range(56)] for b in range(2)]
    np.testing.assert_allclose(logprob.detach().numpy(), slow, atol=1e-5)
    slow = [[-sum(q * np.log(q) for q in p[b, i] if q > 0) for i in range(56)] for b in range(2)]
    np.testing.assert_allclose(entropy.detach().numpy(), slow, atol=1e-5)


def test_greedy_ignores_the_noise_and_is_the_likeliest(policy: MiniPolicy):
    observation = observe(policy, 3)
    tokens, logprob, _ = policy.act(observation, texts(3), 0, noise_of(policy, 3))
    logits = policy.module(**policy.inputs(observation, texts(3)))
    assert np.array_equal(tokens, logits.argmax(-1).numpy())
    np.testing.assert_allclose(logprob, torch.log_softmax(logits, -1).amax(-1).detach().numpy(), atol=1e-5)


def test_the_instruction_and_every_camera_matter(policy: MiniPolicy):
    observation = observe(policy, 1)
    base = policy.module(**policy.inputs(observation, [TEXTS[0]]))
    assert not torch.equal(base, policy.module(**policy.inputs(observation, [TEXTS[1]])))
    for name in policy.spec.cameras:
        images = observation.images | {name: 255 - observation.images[name]}
        changed = policy.module(**policy.inputs(Observation(images, observation.proprio), [TEXTS[0]]))
        assert not torch.equal(base, changed)


def test_saved_and_loaded_bit_for_bit(policy: MiniPolicy, tmp_path: Path):
    policy.save(tmp_path)
    loaded = load_policy(tmp_path)
    assert loaded.spec == policy.spec
    for (name, a), (other, b) in zip(
        policy.module.state_dict().items(), loaded.module.state_dict().items(), strict=True
    ):
        assert name == other
        assert torch.equal(a, b)
    again = tmp_path / "again"
    again.mkdir()
    loaded.save(again)
    assert weights_digest(again) == weights_digest(tmp_path)
    want = policy.act(observe(policy, 2), texts(2), 1.0, noise_of(policy, 2))
    got = loaded.act(observe(policy, 2), texts(2), 1.0, noise_of(policy, 2))
    assert all(np.array_equal(a, b) for a, b in zip(want, got, strict=True))


def test_seed_fixes_the_weights_and_leaves_the_global_generator():
    torch.manual_seed(1)
    before = torch.get_rng_state()
    a, b, c = (MiniPolicy(MiniConfig(), seed=s) for s in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(a.module.head.weight, b.module.head.weight)
    assert not torch.equal(a.module.head.weight, c.module.head.weight)


def test_tokens_round_trip(policy: MiniPolicy):
    tokens = np.tile(np.arange(41), (56, 1)).T.astype(np.int16)
    tokens.reshape(41, 8, 7)[..., 6] = np.arange(41)[:, None] % 2 * 40
    assert np.array_equal(policy.encode_actions(policy.decode_tokens(tokens)), tokens)
    action = np.array([[0.0, 1.0, -1.0, 2.0, 0.026, -0.024, -0.3]] * 8)
    assert policy.encode_actions(action)[:7].tolist() == [20, 40, 0, 40, 21, 20, 0]
    assert policy.decode_tokens(policy.encode_actions(action))[0, 0] == 0


def test_proprio_features_are_the_rotation_matrix_and_continuous_at_pi():
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(50, 3))
    vectors[0] = 0
    proprio = np.concatenate([rng.normal(size=(50, 3)), vectors, rng.normal(size=(50, 2))], 1).astype(np.float32)
    features = proprio_features(torch.from_numpy(proprio)).numpy()
    matrix = Rotation.from_rotvec(vectors).as_matrix()
    np.testing.assert_allclose(features[:, 3:6], matrix[:, :, 0], atol=1e-6)
    np.testing.assert_allclose(features[:, 6:9], matrix[:, :, 1], atol=1e-6)
    assert np.array_equal(features[:, [0, 1, 2, 9, 10]], proprio[:, [0, 1, 2, 6, 7]])
    pair = torch.zeros(2, 8)
    pair[0, 3:6] = torch.tensor([np.pi - 1e-3, 0, 0])
    pair[1, 3:6] = torch.tensor([-np.pi + 1e-3, 0, 0])
    assert (proprio_features(pair[:1]) - proprio_features(pair[1:])).abs().max() < 3e-3


def test_position_waves():
    position = np.random.default_rng(1).normal(size=(5, 3)).astype(np.float32)
    waves = position_waves(torch.from_numpy(position), (0.5, 0.1)).numpy()
    assert waves.shape == (5, 12)
    for k, length in enumerate((0.5, 0.1)):
        for axis in range(3):
            angle = 2 * np.pi * position[:, axis].astype(float) / length
            np.testing.assert_allclose(waves[:, 3 * k + axis], 3 * np.sin(angle), atol=1e-5)
            np.testing.assert_allclose(waves[:, 6 + 3 * k + axis], 3 * np.cos(angle), atol=1e-5)
    assert position_waves(torch.zeros(2, 3), ()).shape == (2, 0)
    with pytest.raises(UserError, match="wavelengths must be above 0"):
        MiniConfig(wavelengths=(0.1, 0.0))


def test_bag_of_words():
    assert np.array_equal(bag_of_words("Pick up, the MILK", 64), bag_of_words("milk the up pick", 64))
    assert bag_of_words("", 64).sum() == 0
    assert bag_of_words("a a", 64).max() == pytest.approx(2**0.5)


def test_wrong_folders(policy: MiniPolicy, tmp_path: Path):
    with pytest.raises(UserError, match="no policy folder"):
        load_policy(tmp_path / "none")
    with pytest.raises(UserError, match=r"no config\.json"):
        load_policy(tmp_path)
    policy.save(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    for wrong, message in [
        ({"model_type": "srpo_mimi"}, "srpo_mini"),
        ({"hiden": 3}, "hidden"),
        ({"bins": 40}, "odd"),
        ({"hidden": 64}, "does not hold the weights"),
        ({"cameras": {"agentview": 100}}, "multiples of 16"),
    ]:
        (tmp_path / "config.json").write_text(json.dumps(config | wrong))
        with pytest.raises(UserError, match=message):
            load_policy(tmp_path)
    (tmp_path / "config.json").write_text("[1")
    with pytest.raises(UserError, match="not valid JSON"):
        load_policy(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "model.safetensors").write_bytes((tmp_path / "model.safetensors").read_bytes()[:1000])
    with pytest.raises(UserError, match="does not hold the weights"):
        load_policy(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    for check in (load_policy, weights_digest):
        with pytest.raises(UserError, match="safetensors"):
            check(tmp_path)
