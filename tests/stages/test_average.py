"""The mean of policies against numpy's, of whole policies and of adapters."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from data.checkpoint import read_record, write_checkpoint
from data.errors import UserError
from stages.average import average_policies
from stages.policies.adapted import WEIGHTS, Base
from stages.policies.adapters import add_adapters
from stages.policies.loading import load_policy, save_policy, weights_digest
from stages.policies.mini import MiniPolicy
from stages.policies.trained import KEY


def scattered(policy: MiniPolicy, folder: Path, seed: int, record: dict[str, object]) -> Path:
    """The policy with noise on every weight that learns."""
    noise = np.random.default_rng(seed)
    for parameter in (p for p in policy.module.parameters() if p.requires_grad):
        parameter.data += parameter.new_tensor(noise.normal(size=parameter.shape))
    write_checkpoint(folder, lambda partial: save_policy(policy, partial), record)
    return folder


def assert_mean(out: Path, folders: list[Path], name: str) -> None:
    found, each = load_file(out / name), [load_file(folder / name) for folder in folders]
    assert set(found) == set(each[0])
    for key, value in found.items():
        wanted = np.mean([tensors[key].astype(np.float64) for tensors in each], 0)
        np.testing.assert_allclose(value, wanted, rtol=1e-6, atol=1e-6, err_msg=key)


def test_whole_policies(tiny_policy: MiniPolicy, tmp_path: Path) -> None:
    trained = [{KEY: {"libero_object": {"2": inits}}} for inits in ([1, 4], [0, 4], [2])]
    folders = [scattered(tiny_policy, tmp_path / str(i), i, trained[i]) for i in range(3)]
    result = average_policies(folders, tmp_path / "mean")
    assert_mean(tmp_path / "mean", folders, "model.safetensors")
    assert result["policies"] == [weights_digest(folder) for folder in folders] and not result["up_to_date"]
    assert read_record(tmp_path / "mean")[KEY] == {"libero_object": {"2": [0, 1, 2, 4]}}
    assert average_policies(folders, tmp_path / "mean")["up_to_date"]
    with pytest.raises(UserError, match="choose another --out"):
        average_policies(folders[:2], tmp_path / "mean")


def test_adapters_of_one_policy(tiny_policy: MiniPolicy, tiny_folder: Path, tmp_path: Path) -> None:
    base = Base("srpo_mini", str(tiny_folder), weights_digest(tiny_folder))
    add_adapters(tiny_policy, base, rank=2, alpha=2, seed=0)
    folders = [scattered(tiny_policy, tmp_path / str(i), i, {}) for i in range(2)]
    average_policies(folders, tmp_path / "mean")
    assert_mean(tmp_path / "mean", folders, WEIGHTS)
    assert load_policy(tmp_path / "mean").adapters is not None
    assert KEY not in read_record(tmp_path / "mean")
    with pytest.raises(UserError, match="not policies of one network"):
        average_policies([folders[0], tiny_folder], tmp_path / "mixed")


def test_one_policy_is_no_average(tiny_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="two policies or more"):
        average_policies([tiny_folder], tmp_path / "mean")


def test_a_policy_counts_once(tiny_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="one is given twice"):
        average_policies([tiny_folder, tiny_folder / ".." / tiny_folder.name], tmp_path / "mean")
