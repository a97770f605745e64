"""`srpo bench policy` as a person or a script calls it."""

import json
from typing import Any

import pytest

from srpo_cli.__main__ import run
from stages.bench.policy import bench

WORDS = "bench policy --size tiny --device cpu --batches 1,2 --images 1 --repeats 1 --lora 0"


def middle(value: float) -> dict[str, Any]:
    return {"median": value, "n": 10, "interval": [0.9 * value, 1.1 * value]}


def measured() -> dict[str, Any]:
    """What `bench_policy` returns on a GPU, with figures that are easy to find again."""
    off = {"max": 0.029, "p99": 0.00015, "mean": 4.7e-5, "max_logprob_gap": 0.028}
    health = {"loss": [0.0, 0.1], "grad_norm": [0.17, 0.57], "max_ratio": [0.0, 0.5]}
    return {
        "policy": None,
        "size": "openvla-oft",
        "machine": {"torch": "2.11.0", "transformers": "5.17.0", "name": "NVIDIA H200", "memory_gb": 150.1},
        "network": {"parameters": 7_541_237_184, "dtype": "bfloat16", "weights_gb": 15.08, "seconds": 0.19},
        "act": [
            {"batch": 8, "images": 1, "ms_query": middle(11.97), "tokens_s": 4678.0, "finite": True, "peak_gb": 15.47},
            {"batch": 512, "images": 1, "error": "OutOfMemoryError: CUDA out of memory [1]"},
        ],
        "ratio": [{"batch": 32, "other": 8, **off, "peak_gb": 16.4}],
        "learner": {"what": "LoRA adapters of rank 32", "parameters": 79_953_920, "tensors": 448, "peak_gb": 15.5},
        "update": [
            {"micro": 8, "checkpointing": True, "seconds": middle(7.08), "queries_s": 16.9, **health, "peak_gb": 18.4}
        ],
    }


def test_for_people(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(bench, "bench_policy", lambda folder, settings, tick: measured())
    assert run(["bench", "policy"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    for part in (
        "openvla-oft, random weights: 7541.2 M parameters, bfloat16, 15.1 GB",
        "NVIDIA H200; torch 2.11.0",
        "11.97 │ 10.77-13.17 │ 4678 │ 15.5",
        "acting, batch 512, images 1: OutOfMemoryError: CUDA out of memory [1]",
        "32 │ 8 │ 0.029 │ 0.00015 │ 4.7e-05",
        "LoRA adapters of rank 32, 80.0 M parameters",
        "8 │ yes │ 7.08 │ 16.9 │ 18.4 │ 0.57",
    ):
        assert part in shown, part


def test_for_scripts(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*WORDS.split(), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["act"][0]["tokens_s"] > 0 and found["ratio"][0]["max"] == 0
    assert found["legend"].keys() >= {"ms_query", "tokens_s", "peak_gb"}


def test_no_memory_column_on_a_cpu(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(WORDS.split()) == 0
    shown = capsys.readouterr().out
    assert "action tokens/s" in shown and "peak GB" not in shown


@pytest.mark.parametrize(
    ("words", "part"),
    [
        ("bench policy --size tny", "did you mean 'tiny'"),
        ("bench policy --device gpu", "auto, cpu, cuda or cuda:N"),
        ("bench policy --size tiny --batches 1,0", "batches"),
        ("bench policy none --lora 0", "no policy folder none"),
        ("bench polici", "Did you mean 'policy'"),
    ],
)
def test_refusals(words: str, part: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(words.split()) == 2
    told = capsys.readouterr().err
    assert part in told and len(told.splitlines()) == 1
