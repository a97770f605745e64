"""The whole of it, with random weights and from folders; what is refused."""

import sys
from pathlib import Path

import pytest
import torch

from data.errors import UserError
from data.settings import build
from stages.bench.policy import bench, opening
from stages.bench.policy.acting import act
from stages.bench.policy.bench import bench_policy
from stages.bench.policy.settings import PolicyBenchSettings
from stages.plan.machine import free_bytes
from stages.policies.mini import MiniConfig, MiniPolicy

QUICK = {"batches": (1, 2), "repeats": 1, "device": "cpu", "lora": 0}


@pytest.fixture
def mini(tmp_path: Path) -> Path:
    folder = tmp_path / "mini"
    folder.mkdir()
    MiniPolicy(MiniConfig(hidden=16)).save(folder)
    return folder


def test_random_weights():
    told: list[tuple[int, int]] = []
    result = bench_policy(None, PolicyBenchSettings(size="tiny", **QUICK), lambda *word: told.append(word[:2]))
    assert (result["policy"], result["size"], result["network"]["dtype"]) == (None, "tiny", "bfloat16")
    assert result["network"]["parameters"] == sum(result["network"]["parts"].values()) > 4e6
    assert [(row["images"], row["batch"]) for row in result["act"]] == [(1, 1), (1, 2), (2, 1), (2, 2)]
    assert [(row["batch"], row["other"]) for row in result["ratio"]] == [(2, 2), (2, 1)]
    assert not [row for row in result["act"] + result["ratio"] if "error" in row]
    assert "update" not in result and told[-1] == (6, 6) and len(told) == 6


def test_learning():
    pytest.importorskip("peft")
    settings = PolicyBenchSettings(
        **QUICK | {"size": "tiny", "batches": (1,), "images": (2,), "lora": 4, "micro": (60,)}
    )
    told: list[tuple[int, int]] = []
    result = bench_policy(None, settings, lambda *word: told.append(word[:2]))
    assert result["learner"]["what"] == "LoRA adapters of rank 4 on the language model"
    rows = result["update"]
    assert [(r["images"], r["micro"], r["checkpointing"]) for r in rows] == [(2, 60, False), (2, 60, True)]
    assert all(row["queries_s"] > 0 for row in rows) and told[-1] == (5, 5)


def test_a_released_checkpoint(released: Path):
    result = bench_policy(released, PolicyBenchSettings(**QUICK))
    assert (result["policy"], result["size"]) == (str(released), None)
    assert {row["images"] for row in result["act"]} == {2}
    assert result["network"]["parts"]["proprio_projector"] > 0 and all(row["finite"] for row in result["act"])


def test_a_mini_policy_needs_no_peft(mini: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    result = bench_policy(mini, PolicyBenchSettings(**QUICK | {"lora": 32, "micro": (60,)}))
    assert result["learner"]["what"] == "all weights"
    assert [row["checkpointing"] for row in result["update"]] == [False] and result["update"][0]["grad_norm"][0] > 0


def test_one_figure_that_fails_leaves_the_others(monkeypatch: pytest.MonkeyPatch):
    real = act

    def small_only(subject, batch, images, repeats):
        if batch > 1:
            raise torch.OutOfMemoryError("no room")
        return real(subject, batch, images, repeats)

    monkeypatch.setattr(bench, "act", small_only)
    rows = bench_policy(None, PolicyBenchSettings(**QUICK | {"size": "tiny", "images": (1,)}))["act"]
    assert "tokens_s" in rows[0] and rows[1] == {"batch": 2, "images": 1, "error": "OutOfMemoryError: no room"}


def test_weights_that_cannot_fit_are_refused(released: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(opening, "free_bytes", lambda device: 6e6)
    with pytest.raises(UserError, match=r"15.1 GB .* 0.0 GB free on cpu; a GPU with 17 GB .*, or take --size tiny"):
        bench_policy(None, PolicyBenchSettings(**QUICK))
    with pytest.raises(UserError, match="0.0 GB of weights do not fit") as told:
        bench_policy(released, PolicyBenchSettings(**QUICK))
    assert "tiny" not in str(told.value)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(opening, "free_bytes", lambda device: 80e9 if device == torch.device("cuda", 1) else 6e6)
    with pytest.raises(UserError, match="--device cuda:1 has 80 GB free"):
        bench_policy(None, PolicyBenchSettings(**QUICK))


def test_the_room_that_a_checkpoint_needs(released: Path):
    weights = sum(file.stat().st_size for file in released.glob("model*.safetensors"))
    assert opening._stored(released) == weights > 8e6
    assert free_bytes(torch.device("cpu")) > 1e8


def test_peft_is_asked_for_before_anything_is_built(released: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    for folder, size in ((None, "tiny"), (released, None)):
        with pytest.raises(UserError, match="pip install peft; or measure none: --lora 0"):
            bench_policy(folder, PolicyBenchSettings(size=size))


def test_what_does_not_go_together(released: Path, mini: Path, tmp_path: Path):
    with pytest.raises(UserError, match="or --size, not both"):
        bench_policy(released, PolicyBenchSettings(**QUICK | {"size": "tiny"}))
    with pytest.raises(UserError, match="sees 2 images, no other number"):
        bench_policy(mini, PolicyBenchSettings(**QUICK | {"images": (1,)}))
    with pytest.raises(UserError, match="no policy folder"):
        bench_policy(tmp_path / "none", PolicyBenchSettings(**QUICK))


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"size": "openvla-of"}, "did you mean 'openvla-oft'"),
        ({"batches": "1,x"}, "takes int,int,..., not '1,x'"),
        ({"batches": "0"}, "batches takes whole numbers of 1 or more, such as 1,2, not 0"),
        ({"batches": ""}, "not nothing"),
        ({"micro": "-1"}, "micro takes"),
        ({"images": "3"}, "at most two, not 3"),
        ({"lora": -1}, "lora must be 0 or more"),
        ({"repeats": 0}, "repeats 1 or more"),
    ],
)
def test_refused_settings(given: dict, says: str):
    with pytest.raises(UserError) as told:
        build(PolicyBenchSettings, given, "bench policy")
    assert says in str(told.value)
