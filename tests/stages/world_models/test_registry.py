"""Names, folders and Hub ids find their loader; what cannot be is refused in one line."""

import json
from pathlib import Path

import pytest

from data.errors import UserError
from stages.world_models.base import EncoderOptions
from stages.world_models.registry import WORLD_MODELS, label_of, load_world_model, module_of


def test_unknown_world_model_names_the_nearest() -> None:
    with pytest.raises(UserError, match=r"did you mean 'pixels'.*known: efficientnet-lite0, mini, pixels, a folder"):
        load_world_model("pixel")


@pytest.mark.parametrize("name", WORLD_MODELS)
@pytest.mark.parametrize(("frames", "size"), [(0, None), (None, 0), (None, 50), (-1, 64)])
def test_impossible_frames_and_sizes_are_refused(name: str, frames: int | None, size: int | None) -> None:
    with pytest.raises(UserError, match=name):
        load_world_model(name, EncoderOptions(frames=frames, size=size))


@pytest.mark.parametrize("name", WORLD_MODELS)
def test_options_of_other_encoders_are_refused(name: str) -> None:
    for options in (EncoderOptions(dtype="bf16"), EncoderOptions(crop=True), EncoderOptions(tokens="patches")):
        with pytest.raises(UserError, match=f"{name} has no setting"):
            load_world_model(name, options)
    with pytest.raises(UserError, match="runs on the CPU"):
        load_world_model(name, EncoderOptions(device="cuda:0"))


def test_a_folder_is_read_for_its_kind(tmp_path: Path) -> None:
    for kind, module in (("vjepa2", "vjepa2"), ("dinov2", "transformers_models")):
        (tmp_path / kind).mkdir()
        (tmp_path / kind / "config.json").write_text(json.dumps({"model_type": kind}))
        assert module_of(str(tmp_path / kind)) == module
    (tmp_path / "any.pt").touch()
    assert module_of(str(tmp_path / "any.pt")) == "vjepa2"


def test_a_folder_without_a_configuration_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"has no config.json"):
        load_world_model(str(tmp_path))
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(UserError, match="not valid JSON"):
        load_world_model(str(tmp_path))


def test_what_cannot_be_fetched_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(UserError, match="cannot fetch nobody/nothing from the Hub"):
        load_world_model("nobody/nothing")


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("facebook/vjepa2-vitl-fpc64-256", "vjepa2-vitl-fpc64-256"),
        ("/data/vitg-384.pt", "vitg-384"),
        ("runs/a/world_model", "world_model"),
        ("a b/ü", "embedding"),
    ],
)
def test_labels(name: str, label: str) -> None:
    assert label_of(name) == label
