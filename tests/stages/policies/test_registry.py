"""A policy of another package: the documented example runs through collect and update; what is wrong is told."""

import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from data.errors import UserError
from data.store import RolloutStore
from stages.collect import CollectSettings, collect
from stages.learning.settings import UpdateSettings
from stages.policies.base import Policy
from stages.policies.check import check_policy
from stages.policies.loading import load_policy, weights_digest
from stages.policies.registry import foreign, load_foreign
from stages.update import update_policy
from tests.stages.policies.foreign import EXAMPLE, install, install_example

DOCS = Path(__file__).parents[3] / "docs" / "policies.md"
FILES = (("python", "pooled_policy.py"), ("toml", "pyproject.toml"))


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of packages on the path."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    return folder


@pytest.fixture
def fresh(site: Path, tmp_path: Path) -> Path:
    """The example's policy, saved with random weights."""
    install_example(site)
    sys.modules.pop("pooled_policy", None)
    (entry,) = foreign()
    torch.manual_seed(0)
    folder = tmp_path / "fresh"
    folder.mkdir()
    load_foreign(entry, Policy)().save(folder)
    return folder


def test_the_docs_show_what_is_tested():
    blocks = re.findall(r"```(python|toml)\n(.*?)```", DOCS.read_text(), re.DOTALL)
    assert blocks == [(kind, (EXAMPLE / name).read_text()) for kind, name in FILES]


def test_it_is_loaded_collects_and_learns(fresh: Path, tmp_path: Path):
    policy, store = load_policy(fresh), tmp_path / "a.zarr"
    assert type(policy).__name__ == "PooledPolicy"
    assert check_policy(policy) < 1e-5
    settings = CollectSettings(tasks="2", groups=1, samples=2, horizon=12, temperature=0.7, workers=1)
    assert collect(store, fresh, settings)["n"] == 2
    rollouts = RolloutStore.open(store, writable=True)
    assert rollouts.attrs["policy"] == {"id": "pooled", "weights": weights_digest(fresh)}
    rollouts.group.create_array("reward/binary/reward", data=np.array([1.0, 0.0]))
    rollouts.group["reward/binary"].update_attributes({"inputs": "made up"})
    result = update_policy(store, fresh, tmp_path / "next", "binary", UpdateSettings(lr=1e-3), threads=1)
    assert result["updated"] and result["health"]["first_ratio_deviation"] < 1e-5
    weights = [load_policy(folder).module.state_dict()["head.weight"] for folder in (fresh, tmp_path / "next")]
    assert not torch.equal(*weights)


@pytest.mark.parametrize(
    ("points", "kind", "says"),
    [
        (
            {"a": "none_such:Policy"},
            "a",
            r"'a' of odd-one 0\.1 does not import \(ModuleNotFoundError.*; mend none_such",
        ),
        ({"a": "json:Policy"}, "a", r"does not import \(AttributeError"),
        ({"a": "json:JSONDecoder"}, "a", r"no subclass of stages\.policies\.base\.Policy; make json:JSONDecoder one"),
        ({"a": "json:loads"}, "a", "no subclass"),
        ({"a": "stages.policies.base:Policy"}, "a", "lacks decode_tokens, encode_actions, inputs, load, save; add"),
        ({"pooled": "json:loads"}, "poled", "unknown model_type .* did you mean 'pooled'"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(site: Path, tmp_path: Path, points, kind: str, says: str):
    install(site, "odd-one", points)
    (tmp_path / "config.json").write_text(f'{{"model_type": "{kind}"}}')
    with pytest.raises(UserError, match=says) as told:
        load_policy(tmp_path)
    assert "\n" not in str(told.value)


def test_one_name_for_two_is_refused(site: Path, fresh: Path):
    install(site, "other-one", {"pooled": "pooled_policy:PooledPolicy"})
    with pytest.raises(UserError, match=r"brought by other-one 0\.1 and pooled-policy 0\.1; uninstall all but one"):
        load_policy(fresh)


def test_a_name_of_srpos_own_stays_its_own(site: Path, tiny_folder: Path):
    install(site, "odd-one", {"srpo_mini": "json:JSONDecoder"})
    assert type(load_policy(tiny_folder)).__name__ == "MiniPolicy"
    with pytest.raises(UserError, match="one of srpo's own, which is taken instead; rename it"):
        load_foreign(foreign()[0], Policy)
