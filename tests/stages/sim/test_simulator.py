"""The fast engine: determinism, states as the record, looks, and LIBERO's own environment as the truth."""

import numpy as np
import pytest

from data.errors import UserError
from stages.sim.engine_libero import LiberoEngine
from stages.sim.engines import make_simulator
from stages.sim.replay import check_actions, load_actions, replay, smooth_actions
from stages.sim.simulator import SimulationDivergedError, Simulator, axis_angle
from stages.sim.tasks import suite_tasks

OBJECT = suite_tasks("libero_object")


@pytest.fixture(scope="module")
def simulator() -> Simulator:
    return Simulator(OBJECT[2])


def _roll(simulator: Simulator, init: int, actions: np.ndarray, look_at: bool = False) -> np.ndarray:
    simulator.reset(init)
    states = [simulator.state()]
    for action in actions:
        if look_at:
            simulator.render("agentview", 32)
            simulator.proprio()
        simulator.step(action)
        states.append(simulator.state())
    return np.stack(states)


def test_same_episode_bit_for_bit(simulator: Simulator) -> None:
    """Again, after another episode, in another simulator, and while being looked at."""
    actions = smooth_actions(0, 30)
    first = _roll(simulator, 4, actions)
    _roll(simulator, 5, smooth_actions(1, 10))
    np.testing.assert_array_equal(_roll(simulator, 4, actions), first)
    np.testing.assert_array_equal(_roll(Simulator(OBJECT[2]), 4, actions, look_at=True), first)


def test_settling(simulator: Simulator) -> None:
    """Half a second of no-ops: the clock shows it, the objects lie still, the gripper is open."""
    simulator.reset(7)
    state = simulator.state()
    assert state[0] == pytest.approx(0.5, abs=1e-9)
    assert state.shape == (110,)
    assert np.abs(simulator.data.qvel[9:]).max() < 0.05
    assert simulator.proprio()[6] > 0.035


def test_stored_row_shows_the_same_picture(simulator: Simulator) -> None:
    simulator.reset(0)
    for action in smooth_actions(2, 15):
        simulator.step(action)
    row = simulator.state()
    seen, felt = simulator.render("robot0_eye_in_hand", 64), simulator.proprio()
    other = Simulator(OBJECT[2])
    other.set_state(np.concatenate([row, np.zeros(9)]))
    np.testing.assert_array_equal(other.render("robot0_eye_in_hand", 64), seen)
    np.testing.assert_array_equal(other.proprio(), felt)
    with pytest.raises(UserError, match="110"):
        other.set_state(row[:-1])


def test_lite_look_can_be_read(simulator: Simulator) -> None:
    """Upright: robot above, basket and objects in colours that differ from the floor and from each other."""
    simulator.reset(0)
    picture = simulator.render("agentview", 128).astype(int)
    assert picture.shape == (128, 128, 3)
    colourful = np.ptp(picture, axis=2) > 40
    assert 0.01 < colourful.mean() < 0.3
    hues = {tuple(np.round(pixel / 48).astype(int)) for pixel in picture[colourful]}
    assert len(hues) >= 4
    floor = picture[100:, :20].reshape(-1, 3)
    assert floor.mean() > 40
    assert np.ptp(floor, axis=1).max() < 10


def test_images_of_any_size(simulator: Simulator) -> None:
    simulator.reset(0)
    small = simulator.render("agentview", 64)
    assert simulator.render("agentview", 400).shape == (400, 400, 3)
    np.testing.assert_array_equal(simulator.render("agentview", 64), small)


def test_names_are_checked(simulator: Simulator) -> None:
    with pytest.raises(UserError, match="agentview"):
        simulator.render("agentveiw", 64)
    with pytest.raises(UserError, match="1-1024"):
        simulator.render("agentview", 0)
    with pytest.raises(UserError, match="lite"):
        Simulator(OBJECT[2], "light")
    with pytest.raises(UserError, match="libero"):
        make_simulator(OBJECT[2], "lite", "librero")
    with pytest.raises(UserError, match="full"):
        make_simulator(OBJECT[2], "lite", "libero")


def test_success_when_the_object_is_in_the_basket(simulator: Simulator) -> None:
    simulator.reset(0)
    assert not simulator.step(np.zeros(7))
    row = simulator.state()
    address = 1 + int(simulator.model.physics.joint("salad_dressing_1_joint0").qposadr[0])
    basket = 1 + int(simulator.model.physics.joint("basket_1_joint0").qposadr[0])
    row[address : address + 3] = row[basket : basket + 3] + np.array([0, 0, 0.1])
    simulator.set_state(row)
    assert simulator.step(np.zeros(7))


def test_axis_angle() -> None:
    np.testing.assert_allclose(axis_angle(np.array([np.cos(0.4), np.sin(0.4), 0, 0])), [0.8, 0, 0], atol=1e-12)
    np.testing.assert_array_equal(axis_angle(np.array([1.0, 0, 0, 0])), np.zeros(3))


def _compare(task: int, steps: int, init: int) -> tuple[np.ndarray, int]:
    """|difference| of states (T+1, S) between the engines, success flags being equal; nq."""
    actions = smooth_actions(task, steps)
    ours = replay(OBJECT[task], init, actions)
    truth = replay(OBJECT[task], init, actions, "libero")
    np.testing.assert_array_equal(ours.success, truth.success)
    assert isinstance(truth.engine, LiberoEngine)
    full = Simulator(OBJECT[task], "full")
    full.set_state(ours.states[0])
    truth.engine.set_state(ours.states[0])
    for camera in ("agentview", "robot0_eye_in_hand"):
        np.testing.assert_array_equal(full.render(camera, 96), truth.engine.render(camera, 96))
    np.testing.assert_allclose(full.proprio(), truth.engine.proprio(), atol=1e-6)
    truth.engine.close()
    return np.abs(ours.states - truth.states), int(full.model.physics.nq)


def test_equal_to_libero() -> None:
    """States over 50 control steps, and in the full look every pixel."""
    difference, nq = _compare(2, 50, 3)
    assert difference[:, 0].max() == 0
    assert difference[:, 1 : 1 + nq].max() < 1e-9


@pytest.mark.slow
@pytest.mark.parametrize(("task", "init"), [(0, 40), (5, 11), (9, 0)])
def test_equal_to_libero_for_longer(task: int, init: int) -> None:
    difference, nq = _compare(task, 130, init)
    assert difference[:51, 1 : 1 + nq].max() <= 1e-5
    assert difference[:, 1:8].max() <= 1e-4


@pytest.mark.parametrize(
    "actions", [np.zeros((3, 6)), np.zeros(7), np.zeros((0, 7)), np.full((2, 7), np.inf), np.full((2, 7), "a")]
)
def test_impossible_actions(actions: np.ndarray) -> None:
    with pytest.raises(UserError, match="wanted"):
        check_actions(actions, "actions")


def test_action_files(tmp_path) -> None:
    good = tmp_path / "a.npy"
    np.save(good, smooth_actions(0, 4))
    assert load_actions(good).shape == (4, 7)
    for name, content in {"half.npy": good.read_bytes()[:150], "empty.npy": b"", "text.npy": b"hello there"}.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError):
            load_actions(tmp_path / name)
    with pytest.raises(UserError, match="cannot read"):
        load_actions(tmp_path / "none.npy")


@pytest.mark.slow
def test_burning_stove_looks_as_in_libero() -> None:
    """LIBERO shows a red disc while the stove is on; fixtures stand where its reset with seed 0 puts them."""
    task = suite_tasks("libero_goal")[7]
    ours, truth = Simulator(task, "full"), LiberoEngine(task)
    truth.reset(0)
    row = truth.state()
    knob = 1 + int(ours.model.physics.joint("flat_stove_1_button").qposadr[0])
    pictures = []
    for row[knob] in (0.0, 1.0):
        ours.set_state(row)
        truth.set_state(row)
        pictures.append(ours.render("agentview", 96))
        np.testing.assert_array_equal(pictures[-1], truth.render("agentview", 96))
    truth.close()
    assert (pictures[0] != pictures[1]).any(axis=2).sum() > 20


def test_physics_that_blows_up_is_an_error() -> None:
    simulator = Simulator(suite_tasks("libero_object")[2])
    simulator.reset(0)
    simulator.data.qvel[20:] = 1e12
    with pytest.raises(SimulationDivergedError, match="diverged"):
        simulator.step(np.zeros(7))
    simulator.reset(0)
    simulator.step(np.zeros(7))


def test_physics_that_blows_up_in_libero_is_an_error() -> None:
    engine = LiberoEngine(suite_tasks("libero_object")[2])
    engine.reset(0)
    engine._env.sim.data.qvel[20:] = 1e12
    with pytest.raises(SimulationDivergedError, match="diverged after 0.50 s"):
        engine.step(np.zeros(7))
    engine.close()
