"""What is accepted, what is refused in one line, and that a saved policy is the same bit for bit."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from data.errors import UserError
from stages.policies.loading import identity, load_policy, weights_digest
from stages.policies.openvla_oft import OpenVLAPolicy
from stages.policies.openvla_oft.weights import save_weights
from tests.stages.policies.openvla_oft.tiny import BESIDE, CONFIG, HEADS, QUANTILES, STATISTICS, make, write

CPU = torch.device("cpu")
INDEX = "model.safetensors.index.json"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make(tmp_path / "checkpoint")


def configure(folder: Path, **fields: object) -> None:
    config = json.loads((folder / "config.json").read_text())
    write(folder / "config.json", config | fields)


def test_a_released_checkpoint_is_a_policy(released: Path):
    policy = load_policy(released)
    assert isinstance(policy, OpenVLAPolicy)
    assert policy.spec.cameras == {"agentview": 256}
    assert (policy.spec.tokens, policy.spec.bins, policy.spec.proprio) == (56, 256, 8)
    assert sum(p.numel() for p in policy.module.parameters()) < 4.5e6
    assert identity(released)["id"] == "openvla"


def touch(name: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).touch()


def unmerged(folder: Path) -> None:
    for file in folder.glob("model*"):
        file.unlink()
    (folder / "lora_adapter").mkdir()


def base_model(folder: Path) -> None:
    (folder / "dataset_statistics.json").unlink()


def no_statistics(folder: Path) -> None:
    base_model(folder)
    configure(folder, norm_stats=None)


def two_suites(folder: Path) -> None:
    both = {"libero_goal_no_noops": STATISTICS, "libero_object_no_noops": STATISTICS}
    write(folder / "dataset_statistics.json", both)


def another_key(folder: Path) -> None:
    configure(folder, srpo={"heads": HEADS, "statistics": "libero_objects"})


def swapped_towers(folder: Path) -> None:
    for file in folder.glob("model*.safetensors"):
        names = {"featurizer.": "fused_featurizer.", "fused_featurizer.": "featurizer."}
        renamed = {}
        for key, value in load_file(file).items():
            head, dot, rest = key.partition("vision_backbone.")
            old = next((name for name in names if dot and rest.startswith(name)), None)
            renamed[f"{head}{dot}{names[old]}{rest[len(old) :]}" if old else key] = value
        save_file(renamed, file)


REFUSALS: list[tuple[Callable[[Path], object], str]] = [
    (touch("action_head--150000_checkpoint.pt"), "L1 head.*action_head--150000.*traj1"),
    (touch("noisy_action_projector--1_checkpoint.pt"), "diffusion.*traj1"),
    (touch("vision_backbone--1_checkpoint.pt"), "FiLM.*traj1"),
    (base_model, "not trained on LIBERO.*bridge_orig.*base model"),
    (unmerged, "adapter without its model; merge"),
    (no_statistics, "no statistics.*dataset_statistics.json"),
    (two_suites, "libero_goal_no_noops, libero_object_no_noops; name one"),
    (another_key, "unknown statistics.*did you mean 'libero_object_no_noops'"),
    (swapped_towers, "lacks 'vision_backbone.featurizer.reg_token'"),
    (lambda f: configure(f, image_resize_strategy="letterbox"), "image_resize_strategy letterbox.*resize-naive"),
    (lambda f: configure(f, srpo={"head": 2}), "unknown setting.*did you mean 'heads'"),
    (lambda f: configure(f, srpo={"heads": 5}), "not divisible by srpo.heads 5"),
    (lambda f: configure(f, srpo={"images": 3}), "1 or 2 images, not 3"),
    (lambda f: configure(f, text_config={}), "lacks 'vocab_size'"),
    (lambda f: (f / "tokenizer.json").unlink(), "no tokenizer.json"),
    (lambda f: write(f / "tokenizer.json", {}), "is no tokenizer"),
    (lambda f: (f / "model-00002-of-00002.safetensors").unlink(), "lacks model-00002-of-00002.safetensors"),
    (lambda f: (f / "model-00002-of-00002.safetensors").write_bytes(b"no"), "model-00002-of-00002.* is damaged"),
    (lambda f: [file.unlink() for file in f.glob("model*")], "lacks model.safetensors"),
    (touch("proprio_projector--1_checkpoint.pt"), "proprio_projector--1.*damaged"),
    (lambda f: write(f / "dataset_statistics.json", {"libero_goal": {"action": {}}}), "no q01 and q99 of action"),
    (lambda f: write(f / "preprocessor_config.json", {"tvf_normalize_params": [{}]}), "no mean and std"),
]


@pytest.mark.parametrize(("spoil", "message"), REFUSALS)
def test_refusals(folder: Path, spoil: Callable[[Path], object], message: str):
    spoil(folder)
    with pytest.raises(UserError, match=message) as error:
        load_policy(folder)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("change", ["missing", "unexpected", "shape"])
def test_every_key_must_fit(folder: Path, change: str):
    file = folder / "model-00001-of-00002.safetensors"
    tensors, key = load_file(file), "language_model.model.norm.weight"
    file = file if key in tensors else folder / "model-00002-of-00002.safetensors"
    tensors = load_file(file)
    if change == "missing":
        del tensors[key]
    elif change == "shape":
        tensors[key] = torch.zeros(63)
    else:
        tensors["language_model.model.norm.bias"] = torch.zeros(64)
    save_file(tensors, file)
    told = {
        "missing": f"lacks {key}",
        "shape": f"another shape {key}",
        "unexpected": "unknown language_model.model.norm",
    }
    with pytest.raises(UserError, match=told[change]):
        load_policy(folder)


def test_statistics_of_config_json_and_by_name(folder: Path):
    (folder / "dataset_statistics.json").unlink()
    other = {"action": {**QUANTILES, "q99": [2.0] * 7}}
    both = {"libero_goal": other, "libero_object": STATISTICS}
    configure(folder, norm_stats=CONFIG["norm_stats"] | both)
    policy = OpenVLAPolicy.load(folder, CPU, statistics="libero_object")
    assert policy.decode_tokens(np.zeros(56, int))[0, 0] == pytest.approx(254 / 255)
    assert OpenVLAPolicy.load(folder, CPU, statistics="libero_goal").decode_tokens(np.zeros(56, int))[0, 0] == 1


def test_stored_normalisation(folder: Path, observe):
    before = OpenVLAPolicy.load(folder, CPU)
    halves = {"mean": [0.5] * 3, "std": [0.5] * 3}
    write(folder / "preprocessor_config.json", {"tvf_normalize_params": [halves, halves]})
    after = OpenVLAPolicy.load(folder, CPU)
    pixels = [p.inputs(observe(p, 1), ["pick up"])["pixels"][0, 0] for p in (before, after)]
    assert torch.equal(pixels[0][3:], pixels[1][3:]) and torch.equal(pixels[1][:3], pixels[1][3:])
    assert not torch.equal(pixels[0][:3], pixels[1][:3])


def test_gamma_is_another_name(folder: Path, policy):
    for file in folder.glob("model*.safetensors"):
        save_file({k.replace("scale_factor", "gamma"): v for k, v in load_file(file).items()}, file)
    loaded = load_policy(folder).module.state_dict()
    assert all(torch.equal(loaded[key], value) for key, value in policy.module.state_dict().items())


def test_precision(tmp_path: Path, observe):
    folder = make(tmp_path / "half", dtype=torch.bfloat16)
    half, full = OpenVLAPolicy.load(folder, CPU), OpenVLAPolicy.load(folder, CPU, precision="fp32")
    assert {p.dtype for p in half.module.parameters()} == {torch.bfloat16}
    assert {p.dtype for p in full.module.parameters()} == {torch.float32}
    rotary = half.module.language_model.model.rotary_emb
    assert rotary.inv_freq.dtype == torch.float32 and rotary.inv_freq.device.type == "cpu"
    inputs = full.inputs(observe(full, 1), ["pick up"])
    with torch.no_grad():
        difference = (half.module(**inputs) - full.module(**inputs)).abs().max()
    assert 0 < difference < 0.3
    assert not any(p.is_meta for p in half.module.state_dict().values())


@pytest.mark.parametrize(("images", "proprio"), [(1, False), (2, True)])
@pytest.mark.parametrize("part", [4_000_000_000, 1_000_000])
def test_save_and_reload(checkpoint, observe, tmp_path: Path, monkeypatch, images: int, proprio: bool, part: int):
    monkeypatch.setattr("stages.policies.openvla_oft.policy.save_weights", lambda s, f, p: save_weights(s, f, p, part))
    released = checkpoint(images, proprio)
    first = OpenVLAPolicy.load(released, CPU, attention="causal")
    with torch.no_grad():
        first.module.projector.fc1.weight += 0.01
    first.save(tmp_path)
    assert (tmp_path / INDEX).is_file() == (part < 4_000_000)
    files, kept = ({f.name for f in folder.iterdir() if f.suffix != ".safetensors"} for folder in (released, tmp_path))
    assert files - {INDEX} == kept - {INDEX} and len(list(released.glob("*.pt"))) == proprio
    assert all((tmp_path / name).read_bytes() == content for name, content in BESIDE.items())
    assert not [key for file in tmp_path.glob("*.safetensors") for key in load_file(file) if "proprio" in key]
    again = load_policy(tmp_path)
    assert isinstance(again, OpenVLAPolicy) and again.settings == first.settings
    mine, saved = first.module.state_dict(), again.module.state_dict()
    assert list(mine) == list(saved) and all(torch.equal(mine[key], saved[key]) for key in mine)
    noise, observation = np.random.default_rng(0).random((1, 56)), observe(first, 1)
    for a, b in zip(*(p.act(observation, ["pick up"], 1.0, noise) for p in (first, again)), strict=True):
        assert np.array_equal(a, b)


def test_whatever_decides_its_actions_is_in_its_digest(checkpoint, tmp_path: Path):
    folder = shutil.copytree(checkpoint(2, True), tmp_path / "copy")
    digests = [weights_digest(folder)]
    (folder / "modeling_prismatic.py").write_text("")
    assert weights_digest(folder) == digests[0]
    for name in ("dataset_statistics.json", "tokenizer.json", "proprio_projector--150000_checkpoint.pt"):
        (folder / name).write_bytes((folder / name).read_bytes() + b" ")
        digests.append(weights_digest(folder))
    assert len(set(digests)) == 4


def test_proprioception_wants_the_number_of_images_said(checkpoint, tmp_path: Path):
    folder = shutil.copytree(checkpoint(2, True), tmp_path / "copy")
    configure(folder, srpo={"heads": HEADS})
    with pytest.raises(UserError, match=r'write "srpo": \{"images": 2\}'):
        load_policy(folder)


def test_unused_weights_are_kept_and_not_trained(policy):
    still = {name for name, p in policy.module.named_parameters() if not p.requires_grad}
    assert {name.split(".")[2] for name in still} == {"blocks", "norm", "attn_pool"}
    assert all(".blocks.2." in name for name in still if ".blocks." in name)
