"""`srpo doctor`: what it says of the cache, and that it clears it."""

import json
import os
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from srpo_cli import checks
from srpo_cli.__main__ import run
from stages.policies import registry
from stages.policies.mini import MiniConfig, MiniPolicy
from stages.sim.models.entries import entry_name, survey
from stages.sim.tasks import suite_tasks

TASKS = suite_tasks("libero_object")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two entries that would be used, one of another version, one whose asset changed, one cut off."""
    monkeypatch.setenv("SRPO_CACHE", str(tmp_path / "cache"))
    asset = tmp_path / "milk.png"
    asset.write_bytes(b"picture")
    stamp = [asset.stat().st_size, asset.stat().st_mtime_ns]
    names = {
        entry_name(TASKS[0]): stamp,
        entry_name(TASKS[1]): stamp,
        "libero_object-2-0123456789abcdef": stamp,
        entry_name(TASKS[3]): [stamp[0], 5],
        entry_name(TASKS[4]): None,
    }
    for name, seen in names.items():
        folder = tmp_path / "cache" / "models" / name
        folder.mkdir(parents=True)
        (folder / "lite.mjb").write_bytes(bytes(1_500_000))
        record = {"numbers": {}, "files": {}, "sources": {str(asset): seen}}
        (folder / "task.json").write_text(json.dumps(record) if seen else "{")
    return tmp_path / "cache"


def test_counts_what_is_ready_and_what_is_out_of_date(cache: Path) -> None:
    current, old = survey()
    assert {path.name for path in current} == {entry_name(TASKS[0]), entry_name(TASKS[1])}
    assert len(old) == 3
    check = checks.cache()
    assert check.ok
    assert check.found == f"{cache}: 8 MB, 2 tasks ready"
    assert check.details[0] == "libero_object     2 of 10 tasks, both looks, 3 MB"
    assert "3 entries, 5 MB" in check.details[1] and "--clear-cache" in check.details[1]


def test_clears_and_says_so(cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(checks, "rendering", lambda: checks.Check("rendering", True, "not tried"))
    assert run(["doctor", "--clear-cache", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["cleared_mb"] == pytest.approx(7.5, abs=0.1)
    assert survey() == ([], [])
    assert run(["doctor"]) == 0
    said = capsys.readouterr().out
    assert "0 tasks ready" in said and "cleared" not in said


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_cache_that_cannot_be_written(cache: Path) -> None:
    cache.chmod(0o500)
    assert not checks.cache().ok
    cache.chmod(0o700)


def test_opencv_without_a_display_will_do(monkeypatch: pytest.MonkeyPatch) -> None:
    there = {name: "1.0" for name in checks.PACKAGES if name != "opencv-python"}
    monkeypatch.setattr(checks, "_version", there.get)
    assert not checks.packages().ok
    there["opencv-python-headless"] = "4.11"
    assert checks.packages().ok and "opencv-python-headless 4.11" in checks.packages().found


def test_policies_of_other_packages_are_listed_and_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = EntryPoint("odd", "stages.policies.mini:MiniPolicy", registry.GROUP)
    monkeypatch.setattr(registry, "entry_points", lambda group: [entry])
    assert checks.policies().found == "srpo_mini, openvla, odd (an unknown package)"
    broken = EntryPoint("odd", "none_such:Policy", registry.GROUP)
    monkeypatch.setattr(registry, "entry_points", lambda group: [broken])
    check = checks._guarded("policies", checks.policies)
    assert not check.ok and "does not import" in check.found and "mend none_such:Policy" in check.mend


def test_a_policy_is_checked(tmp_path: Path) -> None:
    MiniPolicy(MiniConfig(cameras={"agentview": 32}, channels=(4, 4, 4), hidden=16)).save(tmp_path)
    assert checks.contract(tmp_path).found.startswith(f"{tmp_path} keeps the contract")


def test_a_package_that_is_missing_is_one_failed_check(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    found = checks._guarded("accelerator", checks.accelerator)
    assert (found.ok, found.mend) == (False, "make install") and "torch" in found.found
