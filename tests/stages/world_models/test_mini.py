"""The network of `mini`: what the context encoder can see, the loss and the average by hand, and the saved folder."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import VJEPA2Model

from data.errors import UserError
from stages.world_models.mini import (
    Jepa,
    MiniShape,
    context_features,
    default_folder,
    find_mini,
    make_model,
    normalise,
    target_features,
)
from stages.world_models.mini_masks import block_masks
from stages.world_models.preparing import IMAGENET_MEAN, IMAGENET_STD

TINY = MiniShape(size=16, patch=4, frames=4, width=24, layers=2, heads=2, predictor_width=12, predictor_layers=1)
TOKENS = 4 * 4 * 2


@pytest.fixture
def jepa() -> Jepa:
    """With weights that differ from their average, and mask tokens that are not zero."""
    made, generator = Jepa(TINY, 0), torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in made.model.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    return made


@pytest.fixture
def pixels() -> torch.Tensor:
    return torch.randn(2, 4, 3, 16, 16, generator=torch.Generator().manual_seed(2))


@pytest.fixture
def masks() -> tuple[torch.Tensor, torch.Tensor]:
    context, hidden = block_masks(2, 4, 2, 0.5, 2, np.random.default_rng(3))
    return torch.from_numpy(context), torch.from_numpy(hidden)


def test_a_context_of_all_tokens_is_the_plain_encoder(jepa: Jepa, pixels: torch.Tensor) -> None:
    everything = torch.arange(TOKENS).expand(2, -1)
    found = context_features(jepa.model.encoder, pixels, everything)
    torch.testing.assert_close(found, jepa.model.encoder(pixels).last_hidden_state, atol=1e-5, rtol=0)


def test_tokens_keep_their_places_in_any_order(jepa: Jepa, pixels: torch.Tensor) -> None:
    shuffled = torch.randperm(TOKENS, generator=torch.Generator().manual_seed(4)).expand(2, -1)
    found = context_features(jepa.model.encoder, pixels, shuffled)
    plain = jepa.model.encoder(pixels).last_hidden_state
    torch.testing.assert_close(found, plain[:, shuffled[0]], atol=1e-5, rtol=0)


def test_a_context_is_what_attention_over_it_alone_gives(jepa: Jepa, pixels: torch.Tensor) -> None:
    """As the plain encoder gives them whose attention may not look at the hidden tokens."""
    context = torch.tensor([[0, 3, 5, 9, 16, 19, 21, 25]]).expand(2, -1)
    found = context_features(jepa.model.encoder, pixels, context)
    blocked = torch.full((TOKENS,), -torch.inf)
    blocked[context[0]] = 0.0

    def over_context(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, **_: object) -> torch.Tensor:
        scores = query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5 + blocked
        return scores.softmax(-1) @ value

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.nn.functional, "scaled_dot_product_attention", over_context)
        plain = jepa.model.encoder(pixels).last_hidden_state
    torch.testing.assert_close(found, plain[:, context[0]], atol=1e-5, rtol=0)
    assert (found - jepa.model.encoder(pixels).last_hidden_state[:, context[0]]).abs().max() > 1e-3


def test_hidden_pixels_change_no_prediction(
    jepa: Jepa, pixels: torch.Tensor, masks: tuple[torch.Tensor, torch.Tensor]
) -> None:
    context, hidden = masks
    changed = pixels.clone()
    for clip, tokens in enumerate(hidden.tolist()):
        for token in tokens:
            time, row, column = token // 16 * 2, token % 16 // 4 * 4, token % 4 * 4
            changed[clip, time : time + 2, :, row : row + 4, column : column + 4] = 9.0
    before, after = jepa.predict(pixels, context, hidden), jepa.predict(changed, context, hidden)
    torch.testing.assert_close(after, before, atol=0, rtol=0)
    seen = jepa.predict(pixels + 1.0, context, hidden)
    assert (seen - before).abs().max() > 1e-3


def test_a_prediction_depends_on_its_place(jepa: Jepa, pixels: torch.Tensor) -> None:
    context, hidden = torch.arange(16).expand(2, -1), torch.arange(16, 32).expand(2, -1)
    found = jepa.predict(pixels, context, hidden)
    assert found.shape == (2, 16, 24)
    assert (found[:, 0] - found[:, 1]).abs().max() > 1e-4
    turned = jepa.predict(pixels, context, hidden.flip(1))
    torch.testing.assert_close(turned, found.flip(1), atol=1e-5, rtol=0)


def test_the_loss_by_hand(jepa: Jepa, pixels: torch.Tensor, masks: tuple[torch.Tensor, torch.Tensor]) -> None:
    context, hidden = masks
    predicted = jepa.predict(pixels, context, hidden).detach().numpy().astype(float)
    tokens = jepa.target(pixels).last_hidden_state.numpy().astype(float)
    total = []
    for clip in range(2):
        for row, token in enumerate(hidden[clip].tolist()):
            wanted = tokens[clip, token]
            wanted = (wanted - wanted.mean()) / np.sqrt(wanted.var() + 1e-5)
            total.append(np.abs(predicted[clip, row] - wanted).mean())
    assert jepa(pixels, context, hidden).item() == pytest.approx(np.mean(total), abs=1e-5)


def test_no_gradient_reaches_the_average(
    jepa: Jepa, pixels: torch.Tensor, masks: tuple[torch.Tensor, torch.Tensor]
) -> None:
    jepa(pixels, *masks).backward()
    assert all(parameter.grad is None for parameter in jepa.target.parameters())
    unused = [name for name, parameter in jepa.model.named_parameters() if parameter.grad is None]
    assert not unused


def test_the_average_by_hand(jepa: Jepa) -> None:
    before = [p.clone() for p in jepa.target.parameters()]
    learnt = [p.detach().clone() for p in jepa.model.encoder.parameters()]
    jepa.follow(0.75)
    for old, own, new in zip(before, learnt, jepa.target.parameters(), strict=True):
        torch.testing.assert_close(new, 0.75 * old + 0.25 * own, atol=1e-6, rtol=0)


def test_targets_have_mean_0_and_variance_1(jepa: Jepa, pixels: torch.Tensor) -> None:
    found = target_features(jepa.target, pixels)
    assert found.shape == (2, TOKENS, 24)
    assert found.mean(-1).abs().max() < 1e-5
    assert (found.var(-1, correction=0) - 1).abs().max() < 1e-3


def test_pictures_are_normalised_as_v_jepa_2_does() -> None:
    frames = torch.rand(2, 3, 4, 4, 3)
    found = normalise(frames)
    assert found.shape == (2, 3, 3, 4, 4)
    green = (frames[1, 2, 3, 0, 1].item() - IMAGENET_MEAN[1]) / IMAGENET_STD[1]
    assert found[1, 2, 1, 3, 0].item() == pytest.approx(green, abs=1e-6)


def test_weights_follow_from_the_seed_alone() -> None:
    torch.manual_seed(99)
    state = torch.get_rng_state()
    first, again, other = (make_model(TINY, seed).state_dict() for seed in (5, 5, 6))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_a_saved_model_is_the_average(jepa: Jepa, pixels: torch.Tensor, tmp_path: Path) -> None:
    jepa.save(tmp_path)
    loaded, report = VJEPA2Model.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(report.values())
    with torch.no_grad():
        torch.testing.assert_close(
            loaded.encoder(pixels).last_hidden_state, jepa.target(pixels).last_hidden_state, atol=1e-6, rtol=0
        )
    config = json.loads((tmp_path / "config.json").read_text())
    assert (config["model_type"], config["crop_size"], config["frames_per_clip"]) == ("vjepa2", 16, 4)
    for name, values in jepa.model.predictor.state_dict().items():
        assert torch.equal(loaded.predictor.state_dict()[name], values)


def test_a_model_is_found_beside_the_store_or_in_its_run(tmp_path: Path) -> None:
    store = tmp_path / "run" / "rollouts" / "000.zarr"
    store.mkdir(parents=True)
    with pytest.raises(UserError, match="train one with `srpo pretrain"):
        find_mini(str(store))
    assert default_folder(str(store)) == tmp_path / "run" / "rollouts" / "world_model"
    (tmp_path / "run" / "run.toml").touch()
    folder = default_folder(str(store))
    assert folder == tmp_path / "run" / "world_model"
    folder.mkdir()
    (folder / "config.json").touch()
    assert find_mini(str(store)) == find_mini(f"file://{store}") == folder
    for call in (find_mini, default_folder):
        with pytest.raises(UserError, match="not a folder"):
            call("s3://bucket/a.zarr")
