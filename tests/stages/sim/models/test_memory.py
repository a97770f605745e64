"""A full model is compiled without leaving more than itself behind, and is the same model."""

import subprocess
import sys
from pathlib import Path

import mujoco
import numpy as np
import pytest

from data.errors import UserError
from stages.sim.models.memory import compile_lean
from stages.sim.models.model import task_model
from stages.sim.tasks import suite_tasks

TASK = suite_tasks("libero_object")[2]
ROOT = Path(__file__).parents[4]
MEASURE = """
from stages.sim.models.model import task_model
from stages.sim.tasks import suite_tasks

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096 / 1e6

models = [task_model(task) for task in suite_tasks("libero_object")[:2]]
before = resident()
for model in models * 2:
    full = model.compile_full()
    print(full.nbuffer / 1e6, resident() - before)
    del full
"""
CACHE = 530
"""MB: MuJoCo's cache of decoded assets, and some."""


def test_the_same_model(tmp_path: Path) -> None:
    xml = task_model(TASK)._xml
    lean, usual = compile_lean(xml), mujoco.MjModel.from_xml_string(xml)
    assert lean.nbuffer == usual.nbuffer
    for name in ("geom_pos", "geom_size", "body_mass", "mesh_vert", "mesh_normal", "tex_data", "mat_rgba", "qpos0"):
        np.testing.assert_array_equal(getattr(lean, name), getattr(usual, name))


def test_a_missing_asset_is_the_users_to_mend(monkeypatch: pytest.MonkeyPatch) -> None:
    model = task_model(TASK)
    monkeypatch.setattr(model, "_xml", model._xml.replace("basket_vis.msh", "baskte_vis.msh"))
    with pytest.raises(UserError, match="LIBERO_ASSETS"):
        model.compile_full()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_leaves_nothing_behind() -> None:
    """Resident memory while one model after the other is loaded and let go: never much more than one and the cache."""
    child = subprocess.run([sys.executable, "-c", MEASURE], cwd=ROOT, capture_output=True, text=True, check=True)
    lines = [tuple(map(float, line.split())) for line in child.stdout.splitlines()]
    assert len(lines) == 4
    assert all(size > 200 and resident < size + CACHE for size, resident in lines), lines
    assert abs(lines[3][1] - lines[1][1]) < 60
