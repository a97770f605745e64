"""What a task is drawn with is shared while in use and freed afterwards."""

import gc
import importlib
import weakref
from functools import partial

import numpy as np
import pytest

from stages.sim.looks import drawing as drawing_module
from stages.sim.looks.drawing import Drawing, drawing
from stages.sim.looks.gl import gl_kind
from stages.sim.looks.render import Renderer
from stages.sim.models.model import task_model
from stages.sim.models.shared import Shared
from stages.sim.simulator import Simulator
from stages.sim.tasks import suite_tasks

OBJECT = suite_tasks("libero_object")


def test_shared_while_in_use_then_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    """With no room for what nobody uses, closing the last simulator frees the context, in our OpenGL context."""
    monkeypatch.setitem(drawing_module._drawings, "lite", Shared(partial(Drawing, look="lite"), 1))
    closed: list[bool] = []
    monkeypatch.setattr(Renderer, "close", lambda self, real=Renderer.close: closed.append(True) or real(self))
    one, other = Simulator(OBJECT[2]), Simulator(OBJECT[2])
    first = [simulator.render("agentview", 32) for simulator in (one, other)]
    assert one._drawing is other._drawing
    kept = weakref.ref(one._drawing)
    one.close()
    Simulator(OBJECT[4]).render("agentview", 32)
    assert kept() is not None and not closed
    other.close()
    gc.collect()
    assert kept() is None and closed == [True]
    np.testing.assert_array_equal(one.render("agentview", 32), first[0])


def test_freed_in_its_own_context() -> None:
    """Another OpenGL context may be current when a drawing goes, as LIBERO's own engine makes one."""
    simulator = Simulator(OBJECT[2])
    made = Drawing(task_model(OBJECT[2]), "lite")
    expected = made.render(simulator.data, "agentview", 32)
    foreign = importlib.import_module(f"mujoco.{gl_kind()}").GLContext(64, 64)
    foreign.make_current()
    theirs = Renderer(task_model(OBJECT[2]).physics, "lite")
    theirs._gl = foreign
    foreign.make_current()
    np.testing.assert_array_equal(theirs.render(simulator.data, "agentview", 32), expected)
    del made
    gc.collect()
    np.testing.assert_array_equal(theirs.render(simulator.data, "agentview", 32), expected)
    theirs.close()
    foreign.free()


def test_burners_show_whether_the_stove_is_on() -> None:
    """In lite as in full: a disc that turns from pale to red."""
    simulator = Simulator(suite_tasks("libero_goal")[7])
    simulator.reset(0)
    row = simulator.state()
    knob = 1 + int(simulator.model.physics.joint("flat_stove_1_button").qposadr[0])
    pictures = []
    for row[knob] in (0.0, 1.0, 0.0):
        simulator.set_state(row)
        pictures.append(simulator.render("agentview", 96).astype(int))
    np.testing.assert_array_equal(pictures[0], pictures[2])
    reds = [((p[..., 0] > 150) & (p[..., 2] < 60)).sum() for p in pictures]
    assert reds[1] > reds[0] + 50


def test_drawing_is_found_by_model_and_look() -> None:
    model = task_model(OBJECT[2])
    assert drawing(model, "lite") is drawing(model, "lite")
