"""Hub ids, resolved in a cache laid out as the Hub's own client lays it out, without a network."""

from pathlib import Path

import pytest

from data.errors import UserError
from data.hub import fetch, fetch_file, is_hub_id

COMMITS = {"main": "a" * 40, "v1": "b" * 40}


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`owner/name` with a config.json at two revisions, and no network."""
    import huggingface_hub.constants as constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    repository = tmp_path / "models--owner--name"
    for name, commit in COMMITS.items():
        (repository / "snapshots" / commit).mkdir(parents=True)
        (repository / "snapshots" / commit / "config.json").write_text(f'{{"revision": "{name}"}}')
        (repository / "refs").mkdir(exist_ok=True)
        (repository / "refs" / name).write_text(commit)
    return repository / "snapshots"


def test_a_revision_is_part_of_the_name(cache: Path) -> None:
    assert fetch("owner/name", ["*.json"]) == cache / COMMITS["main"]
    assert fetch("owner/name@v1", ["*.json"]) == cache / COMMITS["v1"]
    assert fetch("owner/name@" + COMMITS["v1"], ["*.json"]) == cache / COMMITS["v1"]
    assert "v1" in fetch_file("owner/name@v1", "config.json").read_text()


@pytest.mark.parametrize("name", ["owner/other", "owner/name@v2"])
def test_what_is_not_there_is_said_in_one_line(cache: Path, name: str) -> None:
    for get in (lambda: fetch(name, ["*.json"]), lambda: fetch_file(name, "config.json")):
        with pytest.raises(UserError, match=f"cannot fetch {name} from the Hub") as error:
            get()
        assert "\n" not in str(error.value)


def test_what_may_be_a_folder_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    assert is_hub_id("owner/name") and is_hub_id("owner/name@main")
    for name in ("runs/none", "name", "runs/a/policies/000", "/owner/name", "../name", "owner/name/"):
        assert not is_hub_id(name)
