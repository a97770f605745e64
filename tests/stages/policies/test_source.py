"""A policy from the Hub's cache is the policy of its folder; what cannot be had is told in one line."""

from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import pytest
from huggingface_hub.errors import OfflineModeIsEnabled, RepositoryNotFoundError

from data.errors import UserError
from data.hub import lasting_name
from stages.policies.loading import identity, load_policy
from stages.policies.openvla_oft import OpenVLAPolicy
from stages.policies.source import policy_folder
from tests.stages.policies.openvla_oft.tiny import make

COMMIT = "c" * 40


@pytest.fixture
def snapshot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`owner/tiny` in the cache, its snapshot full of links, as the Hub's client lays it out."""
    import huggingface_hub.constants as constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    repository = tmp_path / "models--owner--tiny"
    make(repository / "blobs")
    snapshot = repository / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    for file in (repository / "blobs").iterdir():
        (snapshot / file.name).symlink_to(file)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)
    return snapshot


def listed(names: list[str]) -> SimpleNamespace:
    """What the Hub says of a repository of these files."""
    return SimpleNamespace(siblings=[SimpleNamespace(rfilename=name) for name in names])


@pytest.mark.parametrize("name", ["owner/tiny", "owner/tiny@main", f"owner/tiny@{COMMIT}"])
def test_a_policy_by_its_hub_id(snapshot: Path, name: str) -> None:
    assert policy_folder(name) == snapshot
    assert identity(name) == identity(snapshot)
    assert isinstance(load_policy(Path(name)), OpenVLAPolicy)


@pytest.mark.parametrize("name", ["owner/none", "owner/tiny@other"])
def test_not_there_and_no_network(snapshot: Path, name: str) -> None:
    with pytest.raises(UserError, match=f"cannot fetch {name} from the Hub.*give a folder") as error:
        load_policy(name)
    assert "\n" not in str(error.value)


def test_a_wrong_head_is_refused_by_the_names_of_its_files(monkeypatch: pytest.MonkeyPatch) -> None:
    def fetched(*given: object, **named: object) -> None:
        raise AssertionError("something was fetched")

    names = ["config.json", "model.safetensors", "action_head--150000_checkpoint.pt"]
    monkeypatch.setattr("huggingface_hub.HfApi.model_info", lambda *_, **__: listed(names))
    monkeypatch.setattr("huggingface_hub.snapshot_download", fetched)
    with pytest.raises(UserError, match="owner/tiny predicts.*L1 head.*traj1"):
        load_policy("owner/tiny")


def test_what_is_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["config.json", "net.safetensors", "tokenizer.model", "modeling.py", "README.md", "srpo.json"]
    names += ["tf_model.h5", "trainer.safetensors", "lora_adapter/adapter_model.safetensors"]
    asked: list[list[str]] = []

    def fetched(*_: object, allow_patterns: list[str], **__: object) -> str:
        asked.append(allow_patterns)
        return str(tmp_path)

    monkeypatch.setattr("huggingface_hub.HfApi.model_info", lambda *_, **__: listed(names))
    monkeypatch.setattr("huggingface_hub.snapshot_download", fetched)
    assert policy_folder("owner/name") == tmp_path
    assert asked == [["config.json", "net.safetensors", "tokenizer.model", "modeling.py", "README.md", "srpo.json"]]


def test_a_name_that_only_sounds_like_a_head_is_no_refusal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["config.json", "modeling_action_head.py", "docs/action_head.pt"]
    monkeypatch.setattr("huggingface_hub.HfApi.model_info", lambda *_, **__: listed(names))
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: str(tmp_path))
    assert policy_folder("owner/name") == tmp_path


def test_a_failing_hub_is_told_and_a_lost_connection_takes_the_cache(
    snapshot: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def raises(error: Exception) -> None:
        def info(*_: object, **__: object) -> None:
            raise error

        monkeypatch.setattr("huggingface_hub.HfApi.model_info", info)

    raises(OfflineModeIsEnabled("no route"))
    assert policy_folder("owner/tiny") == snapshot
    raises(RepositoryNotFoundError("no such repository", response=Mock()))
    with pytest.raises(UserError, match="cannot fetch owner/tiny from the Hub .RepositoryNotFound"):
        policy_folder("owner/tiny")


def test_names_that_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "policies").mkdir()
    assert lasting_name("policies/000") == str(tmp_path / "policies" / "000")
    assert lasting_name("owner/name@v1") == "owner/name@v1"
    assert lasting_name("") == ""
