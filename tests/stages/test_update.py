"""The update stage: its files, what it refuses, and that a second call changes nothing."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from data.errors import UserError
from data.settings import build, parse_assignments
from data.store import RolloutStore
from stages.learning.settings import UpdateSettings
from stages.learning.trainer import Trainer
from stages.policies.loading import load_policy, weights_digest
from stages.update import update_policy

SETTINGS = UpdateSettings(minibatch=16, lr=1e-3)


def content(folder: Path) -> dict[str, tuple[str, int]]:
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    return {str(p): (hashlib.sha256(p.read_bytes()).hexdigest(), p.stat().st_mtime_ns) for p in files}


@pytest.fixture
def store(tiny_policy, tiny_folder, made_up_store) -> Path:
    return made_up_store(tiny_policy, tiny_folder)


def test_makes_a_policy_and_a_label(store, tiny_folder, tmp_path):
    result = update_policy(store, tiny_folder, tmp_path / "001", "binary", SETTINGS, threads=1)
    assert result["updated"]
    assert not result["up_to_date"]
    assert result["weights"] == weights_digest(tmp_path / "001") != weights_digest(tiny_folder)
    assert result["samples_per_second"] > 0
    assert sorted(p.name for p in (tmp_path / "001").iterdir()) == [
        "config.json",
        "model.safetensors",
        "srpo.json",
        "trainer.safetensors",
    ]
    attrs = dict(RolloutStore.open(store).group["update/grpo"].attrs)
    assert attrs["checkpoint"] == "001"
    assert attrs["settings"]["lr"] == 1e-3
    assert attrs["health"]["approx_kl"] >= 0
    assert not {"out", "samples_per_second"} & set(attrs)
    record = json.loads((tmp_path / "001" / "srpo.json").read_text())
    assert record["policy"] == weights_digest(tiny_folder)
    assert "trained_inits" not in record, "nothing is known of where the policy came from"


def test_initial_states_learned_from_are_added_to_those_known(store, tiny_folder, tmp_path):
    (tiny_folder / "srpo.json").write_text(json.dumps({"trained_inits": {"libero_object": {"0": [7]}}}))
    update_policy(store, tiny_folder, tmp_path / "001", "binary", SETTINGS, threads=1)
    record = json.loads((tmp_path / "001" / "srpo.json").read_text())
    assert record["trained_inits"] == {"libero_object": {"0": [0, 2, 7], "3": [1, 3]}}


def test_twice_changes_no_byte(store, tiny_folder, tmp_path, monkeypatch):
    first = update_policy(store, tiny_folder, tmp_path / "001", "binary", SETTINGS, threads=1)
    before = content(tmp_path)
    monkeypatch.setattr(Trainer, "fit", lambda *_: pytest.fail("trained again"))
    second = update_policy(store, tiny_folder, tmp_path / "001", "binary", SETTINGS, threads=1)
    assert second["up_to_date"]
    assert second["health"] == first["health"]
    assert content(tmp_path) == before
    RolloutStore.open(store, writable=True).drop_images()
    assert update_policy(store, tiny_folder, tmp_path / "001", "binary", SETTINGS, threads=1)["up_to_date"]


def test_other_settings_write_beside(store, tiny_folder, tmp_path):
    update_policy(store, tiny_folder, tmp_path / "a", "binary", SETTINGS, threads=1)
    other = replace(SETTINGS, lr=2e-3)
    with pytest.raises(UserError, match="other inputs or settings"):
        update_policy(store, tiny_folder, tmp_path / "a", "binary", other, threads=1)
    result = update_policy(store, tiny_folder, tmp_path / "b", "binary", other, threads=1)
    labels = RolloutStore.open(store).labels("update")
    assert labels == ["grpo", result["label"]]
    with pytest.raises(UserError, match="holds other settings"):
        update_policy(store, tiny_folder, tmp_path / "c", "binary", replace(other, epochs=1), label="grpo", threads=1)


def test_killed_between_policy_and_label(store, tiny_folder, tmp_path, monkeypatch):
    with monkeypatch.context() as broken:
        broken.setattr("stages.update._write_label", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            update_policy(store, tiny_folder, tmp_path / "001", "binary", SETTINGS, threads=1)
    weights = weights_digest(tmp_path / "001")
    result = update_policy(store, tiny_folder, tmp_path / "001", "binary", SETTINGS, threads=1)
    assert result["weights"] == weights
    assert dict(RolloutStore.open(store).group["update/grpo"].attrs)["weights"] == weights


def test_a_loaded_policy_ends_with_the_saved_weights(store, tiny_folder, tmp_path):
    first, second = load_policy(tiny_folder), load_policy(tiny_folder)
    update_policy(store, tiny_folder, tmp_path / "001", "binary", SETTINGS, policy=first, threads=1)
    update_policy(store, tiny_folder, tmp_path / "001", "binary", SETTINGS, policy=second, threads=1)
    update_policy(store, tiny_folder, tmp_path / "again", "binary", SETTINGS, threads=1)
    saved = load_policy(tmp_path / "001").module.state_dict()
    for policy in (first, second, load_policy(tmp_path / "again")):
        assert all(torch.equal(policy.module.state_dict()[name], tensor) for name, tensor in saved.items())


def test_nothing_to_learn_copies_the_policy(tiny_policy, tiny_folder, made_up_store, tmp_path):
    store = made_up_store(tiny_policy, tiny_folder, rewards=np.zeros(16))
    result = update_policy(store, tiny_folder, tmp_path / "001", "binary", SETTINGS, threads=1)
    assert not result["updated"]
    assert result["groups_kept"] == 0
    assert result["weights"] == weights_digest(tiny_folder)
    assert update_policy(store, tiny_folder, tmp_path / "001", "binary", SETTINGS, threads=1)["up_to_date"]


def test_a_chain_of_updates_continues_the_optimizer(tiny_policy, tiny_folder, made_up_store, tmp_path):
    store = made_up_store(tiny_policy, tiny_folder)
    update_policy(store, tiny_folder, tmp_path / "001", "binary", SETTINGS, threads=1)
    policy = load_policy(tmp_path / "001")
    second = made_up_store(policy, tmp_path / "001", name="second.zarr")
    update_policy(second, tmp_path / "001", tmp_path / "002", "binary", SETTINGS, threads=1)
    (tmp_path / "001" / "trainer.safetensors").unlink()
    result = update_policy(second, tmp_path / "001", tmp_path / "fresh", "binary", SETTINGS, label="fresh", threads=1)
    assert result["weights"] != weights_digest(tmp_path / "002")


def test_refusals(store, tiny_folder, tmp_path, tiny_policy, made_up_store):
    def refused(message: str, store=store, policy=tiny_folder, out="x", label="binary", **more):
        before = content(Path(store))
        with pytest.raises(UserError, match=message):
            update_policy(store, policy, tmp_path / out, label, more.pop("settings", SETTINGS), **more)
        assert content(Path(store)) == before
        assert not (tmp_path / "x").exists()

    other = tmp_path / "other"
    other.mkdir()
    type(tiny_policy)(tiny_policy.config, seed=8).save(other)
    refused("was collected with policy tiny", policy=other)
    refused("no policy folder", policy=tmp_path / "none")
    refused("did you mean 'binary'", label="binery")
    refused("needs a reference policy", settings=replace(SETTINGS, kl_coef=0.1))
    refused("changes nothing with kl_coef 0", reference=tiny_folder)
    refused("other inputs or settings", out="other")
    greedy = made_up_store(tiny_policy, tiny_folder, name="greedy.zarr", temperature=0.0)
    refused("collected greedily", store=greedy)
    with pytest.raises(UserError, match="did you mean 'grpo'"):
        build(UpdateSettings, parse_assignments(["algorithm=grop"]), "update")
    wrong = ["estimator=samples", "epochz=3", "minibatch=0", "negative_scale=-1", "gae_lambda=1.5", "average=tokens"]
    for assignment in (*wrong, "kl_estimator=k4"):
        with pytest.raises(UserError, match=assignment.split("=")[0][:5]):
            build(UpdateSettings, parse_assignments([assignment]), "update")


def test_a_critic_gives_every_query_its_own_advantage(store, tiny_folder, tmp_path):
    critic = replace(SETTINGS, algorithm="ppo")
    result = update_policy(store, tiny_folder, tmp_path / "001", "binary", critic, threads=1)
    assert (result["label"], result["algorithm"]) == ("ppo", "ppo")
    assert update_policy(store, tiny_folder, tmp_path / "001", "binary", critic, threads=1)["up_to_date"]
    again = update_policy(store, tiny_folder, tmp_path / "again", "binary", critic, threads=1)
    plain = update_policy(store, tiny_folder, tmp_path / "plain", "binary", SETTINGS, threads=1)
    assert result["weights"] == again["weights"] != plain["weights"]
    assert result["health"]["critic_explained"] < 1
    assert "critic_explained" not in plain["health"]


def test_cloning_learns_from_successes_only(tiny_policy, tiny_folder, made_up_store, tmp_path):
    rewards = np.random.default_rng(0).random(16)
    store = made_up_store(tiny_policy, tiny_folder, rewards=rewards)
    success = RolloutStore.open(store).success()
    cloning = replace(SETTINGS, algorithm="bc", lr=1e-2)
    result = update_policy(store, tiny_folder, tmp_path / "bc", "binary", cloning, threads=1)
    assert 0 < result["episodes_kept"] == success.sum() < len(success)
    assert (result["health"]["advantage_mean"], result["health"]["clip_fraction"]) == (1, 0)
    longer = update_policy(store, tiny_folder, tmp_path / "x", "binary", replace(cloning, epochs=9), threads=1)
    assert longer["health"]["loss"] < result["health"]["loss"], "the successes' tokens become likelier"


def test_weighted_regression_follows_the_better_episodes(store, tiny_folder, tmp_path):
    weighted = replace(SETTINGS, algorithm="awr", awr_clip=2.0)
    result = update_policy(store, tiny_folder, tmp_path / "awr", "binary", weighted, threads=1)
    assert result["updated"] and result["label"] == "awr"
    assert 0 < result["health"]["clip_fraction"] < 1


def test_steps_are_weighed_by_how_the_progress_curve_rises(store, tiny_folder, tmp_path):
    settings = replace(SETTINGS, algorithm="awr-step")
    with pytest.raises(UserError, match="progress curves, which the reward has not"):
        update_policy(store, tiny_folder, tmp_path / "a", "binary", settings, threads=1)
    group, n = RolloutStore.open(store, writable=True).group, 16
    group.create_array("reward/binary/curve", data=np.random.default_rng(0).random((n, 4)))
    group.create_array("reward/binary/curve_step", data=np.tile([0, 3, 6, 9], (n, 1)))
    result = update_policy(store, tiny_folder, tmp_path / "a", "binary", settings, threads=1)
    assert (result["label"], result["episodes_kept"]) == ("awr-step", n)
    assert result["health"]["advantage_mean"] == pytest.approx(0, abs=1e-6) and "curve_rise" in result["health"]


def test_a_reference_holds_the_policy_back(store, tiny_folder, tmp_path):
    free = update_policy(store, tiny_folder, tmp_path / "free", "binary", SETTINGS, threads=1)
    held = replace(SETTINGS, kl_coef=10.0, kl_estimator="exact")
    result = update_policy(store, tiny_folder, tmp_path / "held", "binary", held, threads=1, reference=tiny_folder)
    assert result["health"]["reference_kl"] > 0 and result["health"]["approx_kl"] < free["health"]["approx_kl"]
    assert result["reference"] == weights_digest(tiny_folder) and "reference" not in free
    again = update_policy(store, tiny_folder, tmp_path / "held", "binary", held, threads=1, reference=tiny_folder)
    assert again["up_to_date"]
    elsewhere = tmp_path / "free"
    with pytest.raises(UserError, match="other inputs or settings"):
        update_policy(store, tiny_folder, tmp_path / "held", "binary", held, threads=1, reference=elsewhere)


def test_several_stores_are_one_batch(store, tiny_policy, tiny_folder, made_up_store, tmp_path):
    rewards = np.random.default_rng(1).random(8)
    other = made_up_store(tiny_policy, tiny_folder, name="b.zarr", groups=2, rewards=rewards, seed=200)
    alone = update_policy(store, tiny_folder, tmp_path / "alone", "binary", SETTINGS, threads=1)
    both = update_policy(store, tiny_folder, tmp_path / "both", "binary", SETTINGS, threads=1, more=[other])
    assert (both["episodes"], both["groups"], both["groups_kept"]) == (24, 6, alone["groups_kept"] + 2)
    assert both["weights"] != alone["weights"] and both["stores"] == ["rollouts.zarr", "b.zarr"]
    assert RolloutStore.open(store).label_attrs("update", both["label"])["stores"] == both["stores"]
    assert RolloutStore.open(other).labels("update") == []
    again = update_policy(store, tiny_folder, tmp_path / "both", "binary", SETTINGS, threads=1, more=[other])
    assert again["up_to_date"]
    RolloutStore.open(other, writable=True).group["reward/binary"].update_attributes({"inputs": "y"})
    with pytest.raises(UserError, match="was not made of all of them: reward them together"):
        update_policy(store, tiny_folder, tmp_path / "x", "binary", SETTINGS, threads=1, more=[other])
    hot = made_up_store(tiny_policy, tiny_folder, name="hot.zarr", temperature=1.0)
    with pytest.raises(UserError, match=r"hot.zarr is of temperature 1.0, .* of 0.8"):
        update_policy(store, tiny_folder, tmp_path / "x", "binary", SETTINGS, threads=1, more=[hot])
