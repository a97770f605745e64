"""Where a rim is grasped and what is in the way, by hand, and the gripper's room beside real things."""

import numpy as np
import pytest

from stages.sim.handling.clearance import DOWN, FAR, Clearance, turned
from stages.sim.handling.plate import UNDER_RIM, astride, crossed, reach
from stages.sim.handling.scene import Scene
from stages.sim.simulator import Simulator
from stages.sim.tasks import suite_tasks

WALLS = np.array([[0.05, 0, 0.1], [-0.05, 0, 0.1], [0, 0.05, 0.12], [0, -0.05, 0.1]])
"""Middles of four walls; the one towards +y is higher."""
HALF = np.array([0.01, 0.01, 0.02])


def test_the_rim_is_grasped_on_the_asked_side_under_that_wall_s_top() -> None:
    lows, highs = WALLS - HALF, WALLS + HALF
    np.testing.assert_allclose(astride(lows, highs, np.array([-1.0, 0.0])), [-0.05, 0, 0.12 - UNDER_RIM])
    np.testing.assert_allclose(astride(lows, highs, np.array([0.0, 1.0])), [0, 0.05, 0.14 - UNDER_RIM])


def test_only_boxes_beside_the_way_are_crossed() -> None:
    way = np.array([[0.0, 0.0], [0.5, 0.0], [1.0, 0.0]])
    middles = np.array([[0.5, 0.15, 9], [0.5, 0.25, 0], [1.15, 0, 0], [-0.25, 0, 0], [1.13, 0.13, 0]])
    half = np.array([0.1, 0.1, 0.1])
    found = crossed(middles - half, middles + half, way, 0.1)
    np.testing.assert_array_equal(found, [True, False, True, False, True])


def test_height_costs_reach() -> None:
    assert reach(np.array([0.3, -0.4, 0.3])) == pytest.approx(0.6)


def test_a_turned_gripper_points_down_and_opens_another_way() -> None:
    np.testing.assert_array_equal(turned(0.0), DOWN)
    np.testing.assert_allclose(turned(np.pi / 2)[:, 2], [0, 0, -1], atol=1e-12)
    np.testing.assert_allclose(turned(np.pi / 2)[:, 0], [-1, 0, 0], atol=1e-12)


@pytest.fixture(scope="module")
def scene() -> Scene:
    simulator = Simulator(suite_tasks("libero_spatial")[2])
    simulator.reset(0)
    return Scene(simulator, simulator.model.numbers["goal"][0]["upper"])


def test_room_of_the_gripper(scene: Scene) -> None:
    clearance = Clearance(scene)
    before = scene.data.geom_xpos.copy(), scene.data.geom_xmat.copy()
    cabinet = scene.data.body("wooden_cabinet_1_base").xpos
    assert clearance(np.array([0.0, 0.1, 1.5]), DOWN) == FAR
    assert clearance(cabinet + np.array([0, 0, 0.2]), DOWN) < 0
    np.testing.assert_array_equal(scene.data.geom_xpos, before[0])
    np.testing.assert_array_equal(scene.data.geom_xmat, before[1])


def test_a_thing_between_the_open_fingers_leaves_no_room(scene: Scene) -> None:
    """The wall of the ramekin stands between the fingers, which touch nothing while they are open."""
    clearance = Clearance(scene)
    body = scene.physics.body("glazed_rim_porcelain_ramekin_1_main").id
    lows, highs = scene.boxes(scene.solid(body))
    rim = astride(lows, highs, np.array([0.0, 1.0]))
    assert clearance(rim, DOWN) < 0.006
    assert clearance(rim + np.array([0, 0, 0.06]), DOWN) == FAR
