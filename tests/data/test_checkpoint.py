"""Policy folders: whole or not at all, and never over something else."""

import json
from pathlib import Path

import pytest

from data.checkpoint import holds, read_record, write_checkpoint
from data.errors import UserError


def fill(folder: Path) -> None:
    (folder / "config.json").write_text("{}")


def test_writes_files_and_record(tmp_path: Path):
    out = tmp_path / "new" / "p"
    write_checkpoint(out, fill, {"inputs": "abc", "loss": 0.5})
    assert sorted(p.name for p in out.iterdir()) == ["config.json", "srpo.json"]
    assert read_record(out) == {"inputs": "abc", "loss": 0.5}
    assert [p.name for p in out.parent.iterdir()] == ["p"]


def test_a_kill_while_writing_leaves_nothing_in_the_way(tmp_path: Path):
    out = tmp_path / "p"

    def killed(folder: Path) -> None:
        fill(folder)
        (folder / "half").write_text("x")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_checkpoint(out, killed, {"inputs": "a"})
    assert not out.exists()
    assert not holds(out, "a")
    write_checkpoint(out, fill, {"inputs": "a"})
    assert sorted(p.name for p in out.iterdir()) == ["config.json", "srpo.json"]


def test_holds(tmp_path: Path):
    out = tmp_path / "p"
    assert not holds(out, "a")
    out.mkdir()
    assert not holds(out, "a")
    write_checkpoint(out, fill, {"inputs": "a"})
    assert holds(out, "a")
    with pytest.raises(UserError, match="other inputs or settings; choose another --out"):
        holds(out, "b")
    (out / "config.json").unlink()
    with pytest.raises(UserError, match="something else"):
        holds(out, "b")
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match="something else"):
        holds(tmp_path / "file", "a")


def test_what_cannot_be_written(tmp_path: Path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match=r"cannot write .*choose another --out"):
        write_checkpoint(tmp_path / "file" / "p", fill, {})
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_text("x")
    with pytest.raises(UserError, match="cannot write"):
        write_checkpoint(tmp_path / "full", fill, {})
    assert (tmp_path / "full" / "x").read_text() == "x"


@pytest.mark.parametrize("place", ["file/next", "/proc/nothere/next"])
def test_what_cannot_be_written_is_told_before_it_is_made(tmp_path: Path, place: str):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write .*next .*choose another --out"):
        holds(tmp_path / place, "inputs")


def test_a_record_that_is_missing_or_broken_is_empty(tmp_path: Path):
    assert read_record(tmp_path) == {}
    for text in ("{", "[1]"):
        (tmp_path / "srpo.json").write_text(text)
        assert read_record(tmp_path) == {}
    (tmp_path / "srpo.json").write_text(json.dumps({"inputs": "a"}))
    assert read_record(tmp_path) == {"inputs": "a"}
