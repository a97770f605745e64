"""A store in S3, served on this machine by moto: shards at once, one of them killed, then the stages after them.

Needs `s3fs` and `moto[server]` (pip), which srpo itself does without.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest

from stages.policies.mini import MiniConfig, MiniPolicy

pytest.importorskip("s3fs")
pytest.importorskip("moto.server")
pytestmark = pytest.mark.slow

STORE = "s3://bucket/rollouts/000.zarr"
COLLECT = ["--policy", "policy", "--tasks", "2,9", "--samples", "3", "--horizon", "24", "--workers", "1"]


@pytest.fixture
def files(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The file system of a fresh server; child processes reach it by their environment, as a person's do."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("FSSPEC_S3_ENDPOINT_URL", url)
    call = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(call, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait(lambda: socket.socket().connect_ex(("127.0.0.1", port)) == 0)
        system = fsspec.filesystem("s3", endpoint_url=url, use_listings_cache=False)
        system.mkdir("bucket")
        yield system
    finally:
        server.kill()
        server.wait()


def wait(done: Any, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end
        time.sleep(0.01)


def start(folder: Path, *words: str) -> "subprocess.Popen[bytes]":
    return subprocess.Popen([sys.executable, "-m", "srpo_cli", *words], cwd=folder, start_new_session=True)


def test_shards_and_stages_on_s3_write_what_they_write_in_a_folder(files: Any, tmp_path: Path) -> None:
    (tmp_path / "policy").mkdir()
    MiniPolicy(MiniConfig(cameras={"agentview": 32}, channels=(8, 8, 8), hidden=32), seed=1).save(tmp_path / "policy")
    shards = [start(tmp_path, "collect", STORE, *COLLECT, "--shard", f"{i}/3") for i in range(3)]
    wait(lambda: files.find("bucket/rollouts/000.zarr/step/state/c/4"))
    os.killpg(shards[2].pid, signal.SIGKILL)
    assert [shard.wait() for shard in shards] == [0, 0, -signal.SIGKILL]
    assert start(tmp_path, "collect", STORE, *COLLECT, "--shard", "2/3").wait() == 0
    assert start(tmp_path, "collect", "whole.zarr", *COLLECT).wait() == 0
    assert start(tmp_path, "collect", STORE, *COLLECT, "--temperature", "0.5").wait() == 2
    for store in (STORE, "whole.zarr"):
        assert start(tmp_path, "encode", store, "--world-model", "pixels").wait() == 0
        assert start(tmp_path, "reward", store).wait() == 0
    whole = tmp_path / "whole.zarr"
    local = {str(file.relative_to(whole)): file.read_bytes() for file in whole.rglob("*") if file.is_file()}
    remote = files.find("bucket/rollouts/000.zarr")
    assert {name.removeprefix("bucket/rollouts/000.zarr/"): files.cat_file(name) for name in remote} == local
