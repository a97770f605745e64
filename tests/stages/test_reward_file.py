"""The reward stage on .npz files: what it writes, keeps and refuses."""

from pathlib import Path

import numpy as np
import pytest

from data.errors import UserError
from srpo_cli.__main__ import run
from stages.progress.settings import PRESETS
from stages.reward import reward_file
from tests.stages.progress import slow

VECTORS = [name for name, settings in PRESETS.items() if not settings.needs_paths]
PAPER, SIIRL = PRESETS["paper"], PRESETS["siirl"]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    np.savez(
        tmp_path / "mine.npz",
        embedding=rng.normal(size=(20, 8)),
        success=rng.random(20) < 0.5,
        task=np.array(["cup", "plate"] * 10),
    )
    return tmp_path / "mine.npz"


@pytest.mark.parametrize("preset", VECTORS)
def test_a_file_is_rewarded_into_another(file: Path, preset: str) -> None:
    result = reward_file(file, file.with_name("out.npz"), PRESETS[preset])
    with np.load(file) as given, np.load(file.with_name("out.npz")) as out:
        for name in ("cup", "plate"):
            mine = given["task"] == name
            expected = slow.reward(given["embedding"][mine], given["success"][mine], preset)
            np.testing.assert_allclose(out["reward"][mine], expected, atol=1e-9)
        assert out["distance"].shape == out["reference"].shape == out["is_reference"].shape == (20,)
        assert len(out["centres"]) == len(out["centre_task"])
    assert [task["task"] for task in result["tasks"]] == ["cup", "plate"]


def test_a_file_s_result_is_kept_replaced_or_refused(file: Path) -> None:
    first = reward_file(file, None, PAPER)
    out = Path(first["out"])
    assert out == file.with_name("mine-paper.npz")
    before = out.stat().st_mtime_ns
    assert reward_file(file, None, PAPER)["up_to_date"]
    assert out.stat().st_mtime_ns == before
    assert not reward_file(file, out, SIIRL)["up_to_date"]
    assert not list(file.parent.glob("*.partial"))
    given = file.read_bytes()
    with pytest.raises(UserError, match="was not written by `srpo reward`"):
        reward_file(file, file, PAPER)
    assert file.read_bytes() == given


def test_bad_files_are_refused(file: Path, tmp_path: Path) -> None:
    with np.load(file) as arrays:
        good = dict(arrays)
    bad = {name: tmp_path / f"{name}.npz" for name in ("cut", "text", "empty", "lacking", "objects", "nan")}
    bad["cut"].write_bytes(file.read_bytes()[:700])
    bad["text"].write_text("embedding,success")
    bad["empty"].write_bytes(b"")
    np.savez(bad["lacking"], embedding=good["embedding"], label=good["success"])
    np.savez(bad["objects"], **(good | {"task": np.array([None] * 20)}))
    good["embedding"][13, 2] = np.nan
    np.savez(bad["nan"], **good)
    messages = {
        "cut": "not an .npz file, or is cut off",
        "text": "not an .npz file",
        "empty": "not an .npz file",
        "lacking": "lacks success, task; it holds embedding, label",
        "objects": "not a sound .npz file .*[Oo]bject",
        "nan": "row 13: embedding is NaN",
    }
    for name, message in messages.items():
        with pytest.raises(UserError, match=message):
            reward_file(bad[name], tmp_path / "out.npz", PAPER)
    with pytest.raises(UserError, match="no file"):
        reward_file(tmp_path / "gone.npz", None, PAPER)
    with pytest.raises(UserError, match="no folder"):
        reward_file(file, tmp_path / "gone" / "out.npz", PAPER)
    assert not (tmp_path / "out.npz").exists()


def test_a_damaged_array_is_refused(file: Path) -> None:
    damaged = bytearray(file.read_bytes())
    damaged[200:260] = bytes(60)
    file.write_bytes(damaged)
    with pytest.raises(UserError, match="not a sound .npz file"):
        reward_file(file, None, PAPER)


def test_a_file_is_rewarded_from_the_command_line(file: Path) -> None:
    assert run(["reward", str(file), "--json"]) == 0
