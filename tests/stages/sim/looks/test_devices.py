"""Which GPU a worker draws on: made-up machines for the choice, this machine's EGL for the listing."""

import ctypes
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from mujoco.egl import egl_ext

from stages.sim.looks.devices import Device, _cuda_number, choose_device, drawing_environment, egl_devices, visible_gpus
from stages.sim.workers.handle import worker_environment

SOFTWARE = Device(None, True)
NODE = [Device(2, False), Device(3, False), Device(0, False), Device(1, False), SOFTWARE]
"""four GPUs, which EGL counts in another order than CUDA, and a rasteriser"""
UNKNOWN = [Device(None, False), Device(None, False), SOFTWARE]
"""two GPUs of a driver that does not tell their numbers"""


def hidden(*places: int | None) -> list[Device]:
    """The node as a process sees it whose CUDA_VISIBLE_DEVICES hides some: each GPU's place in it."""
    return [*(Device(place, False) for place in places), SOFTWARE]


def chosen(devices: list[Device], workers: int = 4, **environment: str) -> list[int | None]:
    return [choose_device(devices, worker_environment(environment, w)) for w in range(workers)]


def test_workers_take_turns_in_cudas_order() -> None:
    assert chosen(NODE, 6) == [2, 3, 0, 1, 2, 3]


def test_a_process_without_number_takes_the_first() -> None:
    assert choose_device(NODE, {}) == 2


def test_visible_gpus_only_in_their_order() -> None:
    assert chosen(hidden(None, 0, 1, None), CUDA_VISIBLE_DEVICES="3,0") == [1, 2, 1, 2]
    assert chosen(hidden(1, None, None, 0), CUDA_VISIBLE_DEVICES=" 1 ,2 ") == [3, 0, 3, 0]


def test_uuids_are_the_drivers_matter() -> None:
    assert chosen(hidden(None, None, 0, None), CUDA_VISIBLE_DEVICES="GPU-8932f937-d72c-4106-c12f") == [2] * 4
    assert chosen(hidden(1, None, 0, None), CUDA_VISIBLE_DEVICES="GPU-8932,GPU-05d3") == [2, 0, 2, 0]


def test_driver_that_numbers_hidden_gpus_too() -> None:
    assert chosen(NODE, CUDA_VISIBLE_DEVICES="3,0") == [1, 2, 1, 2]
    assert chosen(NODE, CUDA_VISIBLE_DEVICES="7") == [None] * 4


def test_driver_that_tells_no_numbers() -> None:
    assert chosen(UNKNOWN) == [None] * 4
    assert chosen(UNKNOWN, CUDA_VISIBLE_DEVICES="1,0") == [1, 0, 1, 0]
    assert chosen(UNKNOWN, CUDA_VISIBLE_DEVICES="2,5") == [None] * 4  # the rasteriser, and none at all
    assert chosen(UNKNOWN, CUDA_VISIBLE_DEVICES="GPU-8932,GPU-05d3") == [None] * 4


@pytest.mark.parametrize("nothing", ["", "-1", "NoDevFiles", "-1,0"])
def test_no_visible_gpu_means_software(nothing: str) -> None:
    assert chosen(hidden(None, None, None, None), CUDA_VISIBLE_DEVICES=nothing) == [4] * 4
    assert chosen(UNKNOWN[:2], CUDA_VISIBLE_DEVICES=nothing) == [None] * 4


def test_partition_of_a_gpu_is_left_to_mujoco() -> None:
    assert chosen(hidden(None, None, None, None), CUDA_VISIBLE_DEVICES="MIG-41b3") == [None] * 4


def test_software_only() -> None:
    assert chosen([SOFTWARE]) == [None] * 4
    assert chosen([SOFTWARE], CUDA_VISIBLE_DEVICES="0") == [None] * 4
    assert chosen([]) == [None] * 4


@pytest.mark.parametrize("visible", [{}, {"CUDA_VISIBLE_DEVICES": "0,1"}, {"CUDA_VISIBLE_DEVICES": ""}])
def test_own_choice_wins(visible: dict[str, str]) -> None:
    environment = worker_environment({"MUJOCO_EGL_DEVICE_ID": "3", **visible}, 1)
    assert environment["MUJOCO_EGL_DEVICE_ID"] == "3"
    assert choose_device(NODE, environment) is None


def test_visible_list_ends_at_the_first_impossible_entry() -> None:
    assert visible_gpus({}) is None
    assert visible_gpus({"CUDA_VISIBLE_DEVICES": "0, GPU-1,MIG-2,-1,5"}) == ["0", "GPU-1", "MIG-2"]
    assert visible_gpus({"CUDA_VISIBLE_DEVICES": "x,0"}) == []


def test_worker_environment_keeps_the_users() -> None:
    made = worker_environment({"MUJOCO_GL": "osmesa", "OMP_NUM_THREADS": "8", "HOME": "/home/a"}, 5)
    assert made["MUJOCO_GL"] == "osmesa"
    assert made["OMP_NUM_THREADS"] == "1"
    assert (made["HOME"], made["SRPO_WORKER"]) == ("/home/a", "5")
    assert worker_environment({}, 0)["MUJOCO_GL"] == "egl"


def test_listing_agrees_with_mujocos() -> None:
    found = egl_devices()
    assert len(found) == len(egl_ext.eglQueryDevicesEXT()) > 0
    assert all(device.cuda is None for device in found if device.software)


def test_device_without_the_extension_leaves_no_error_behind() -> None:
    software = [device.software for device in egl_devices()]
    if not any(software):
        pytest.skip("no software device here")
    assert _cuda_number(egl_ext.eglQueryDevicesEXT()[software.index(True)]) is None
    assert egl_ext.eglGetError() == egl_ext.EGL_SUCCESS


@pytest.mark.parametrize(("told", "answer", "number"), [(1, 3, 3), (1, 0, 0), (1, -1, None), (0, 3, None)])
def test_number_that_the_driver_tells(
    monkeypatch: pytest.MonkeyPatch, told: int, answer: int, number: int | None
) -> None:
    @ctypes.CFUNCTYPE(ctypes.c_uint, ctypes.c_void_p, ctypes.c_int, ctypes.POINTER(ctypes.c_ssize_t))
    def driver(device: int, name: int, value: Any) -> int:
        assert (device, name) == (0xBEEF, 0x323A)
        value[0] = answer
        return told

    address = ctypes.cast(driver, ctypes.c_void_p).value
    monkeypatch.setattr(egl_ext, "eglGetProcAddress", {"eglQueryDeviceAttribEXT": address}.__getitem__)
    assert _cuda_number(ctypes.c_void_p(0xBEEF)) == number


def test_drawing_environment_is_undone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stages.sim.looks.devices.egl_devices", lambda: tuple(hidden(None, 1, 0, None)))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-1,GPU-2")
    monkeypatch.delenv("MUJOCO_EGL_DEVICE_ID", raising=False)
    monkeypatch.setenv("SRPO_WORKER", "1")
    with drawing_environment("egl"):
        assert os.environ["MUJOCO_EGL_DEVICE_ID"] == "1"
        assert "CUDA_VISIBLE_DEVICES" not in os.environ
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "GPU-1,GPU-2"
    with drawing_environment("osmesa"):
        assert "CUDA_VISIBLE_DEVICES" not in os.environ
        assert "MUJOCO_EGL_DEVICE_ID" not in os.environ
    assert "MUJOCO_EGL_DEVICE_ID" not in os.environ


ODD = [
    {"CUDA_VISIBLE_DEVICES": ""},
    {"CUDA_VISIBLE_DEVICES": "GPU-8932f937-d72c-4106-c12f-20bd9faed9f6"},
    {"CUDA_VISIBLE_DEVICES": "3", "MUJOCO_EGL_DEVICE_ID": "0"},
    {"CUDA_VISIBLE_DEVICES": "3,1"},
]


def printed(program: str, environment: dict[str, str]) -> str:
    """What a process of its own prints: robosuite reads the environment when it is imported."""
    base = {k: v for k, v in os.environ.items() if k not in ("MUJOCO_EGL_DEVICE_ID", "MUJOCO_GL")}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**base, **environment}, cwd=Path(__file__).parents[4], capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("environment", ODD)
def test_robosuite_opens_its_device(environment: dict[str, str]) -> None:
    program = (
        "from stages.sim.looks.devices import drawing_environment\n"
        "with drawing_environment('egl'):\n"
        "    import robosuite.utils.binding_utils as bound\n"
        "    context = bound.GLContext(64, 64, device_id=-1)\n"
        "context.make_current(); print('open')"
    )
    assert printed(program, environment) == "open"


@pytest.mark.slow
@pytest.mark.parametrize("environment", ODD)
def test_libero_engine_draws(environment: dict[str, str]) -> None:
    program = (
        "from stages.sim.engines import make_simulator\n"
        "from stages.sim.tasks import suite_tasks\n"
        "engine = make_simulator(suite_tasks('libero_object')[2], 'full', 'libero')\n"
        "print(engine.render('agentview', 32).mean() > 10)"
    )
    assert printed(program, environment) == "True"
