"""`srpo merge` as typed: a whole policy, told, and nothing to do the second time."""

from pathlib import Path

import pytest

from srpo_cli.__main__ import run
from stages.policies.adapted import Base
from stages.policies.adapters import add_adapters
from stages.policies.loading import identity, load_policy, save_policy


def test_twice(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    policy, known = load_policy(folder / "policy"), identity(folder / "policy")
    add_adapters(policy, Base(known["id"], str(folder / "policy"), known["weights"]), rank=2, alpha=2, seed=0)
    (folder / "adapters").mkdir()
    save_policy(policy, folder / "adapters")
    monkeypatch.chdir(folder)
    for told in ("merged ", "up to date: "):
        assert run(["merge", "adapters", "--out", "whole"]) == 0
        assert told in capsys.readouterr().out
    assert load_policy("whole").adapters is None
    assert run(["bench", "policy", "adapters"]) == 2
    assert "adapters holds adapters alone; measure" in capsys.readouterr().err
