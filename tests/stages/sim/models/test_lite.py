"""The lite look can be read by a person: colours told apart, every object and region seen, physics untouched."""

import itertools

import mujoco
import numpy as np
import pytest

from stages.sim.looks.drawing import Drawing
from stages.sim.models.model import task_model
from stages.sim.models.palette import COLOURS, FLOOR, SEPARATION, TABLE, colour_of, kind_of
from stages.sim.simulator import Simulator
from stages.sim.tasks import SUITES, Task, suite_tasks

SAMPLE = [("libero_spatial", 0), ("libero_object", 3), ("libero_goal", 5), ("libero_10", 6), ("libero_90", 34)]
ALL = [(suite, task.index) for suite in SUITES for task in suite_tasks(suite)]
SIZE = 128
SEEN = 0.0003
"""Share of the picture below which an object is not seen: 5 pixels of 128 x 128."""
HIDDEN: dict[tuple[str, int], set[str]] = {}


def lab(rgb: np.ndarray) -> np.ndarray:
    """CIELAB (D65) of sRGB (..., 3) in [0, 1]: IEC 61966-2-1 and CIE 15."""
    rgb = np.asarray(rgb, float)
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    xyz = linear @ np.array([[0.4124, 0.2126, 0.0193], [0.3576, 0.7152, 0.1192], [0.1805, 0.0722, 0.9505]])
    x, y, z = np.moveaxis(xyz / np.array([0.9505, 1.0, 1.089]), -1, 0)
    fx, fy, fz = (np.where(t > (6 / 29) ** 3, np.cbrt(t), t / (3 * (6 / 29) ** 2) + 4 / 29) for t in (x, y, z))
    return np.stack([116 * fy - 16, 500 * (fx - fy), 200 * (fy - fz)], axis=-1)


def kinds(model: mujoco.MjModel) -> dict[str, list[int]]:
    """Kind of thing -> its geoms, without robot and burners' covers."""
    found: dict[str, list[int]] = {}
    for geom, body in enumerate(model.geom_bodyid):
        name = model.body(body).name
        if not name.startswith(("robot0_", "gripper0_", "mount0_", "world")):
            found.setdefault(kind_of(name), []).append(geom)
    return found


def objects(model: mujoco.MjModel) -> dict[str, np.ndarray]:
    """Every single object and fixture -> its geoms."""
    found: dict[str, list[int]] = {}
    for geom, body in enumerate(model.geom_bodyid):
        name = model.body(body).name
        if kind_of(name) in COLOURS:
            number = name.removeprefix(kind_of(name) + "_").split("_")[0]
            found.setdefault(f"{kind_of(name)}_{number}", []).append(geom)
    return {name: np.array(geoms) for name, geoms in found.items()}


def coverage(simulator: Simulator, drawing: Drawing, geoms: np.ndarray) -> np.ndarray:
    """(SIZE, SIZE) bool: the pixels that change when these geoms do."""
    model = simulator.model.physics
    before, colours = drawing.render(simulator.data, "agentview", SIZE), model.geom_rgba[geoms].copy()
    model.geom_rgba[geoms, :3] = (colours[:, :3] + 0.5) % 1.0
    after = drawing.render(simulator.data, "agentview", SIZE)
    model.geom_rgba[geoms] = colours
    return np.asarray((before != after).any(axis=2))


def test_lab_of_known_colours() -> None:
    """White, black and red as published for sRGB with D65."""
    np.testing.assert_allclose(lab(np.array([1, 1, 1])), [100, 0, 0], atol=0.1)
    np.testing.assert_allclose(lab(np.array([0, 0, 0])), [0, 0, 0], atol=0.1)
    np.testing.assert_allclose(lab(np.array([1, 0, 0])), [53.24, 80.09, 67.20], atol=0.2)


def test_names() -> None:
    assert kind_of("chefmate_8_frypan_1_main") == "chefmate_8_frypan"
    assert kind_of("wooden_cabinet_2_cabinet_top") == "wooden_cabinet"
    assert kind_of("living_room_table_col") == "living_room_table_col"
    drawers = [colour_of(f"white_cabinet_1_cabinet_{level}") for level in ("top", "middle", "bottom")]
    assert all(np.linalg.norm(lab(a) - lab(b)) > 10 for a, b in itertools.combinations(drawers, 2))
    np.testing.assert_array_equal(colour_of("red_coffee_mug_1_main"), colour_of("red_coffee_mug_2_main"))
    unknown = [colour_of("toaster_1_main"), colour_of("kettle_1_main")]
    assert np.linalg.norm(lab(unknown[0]) - lab(unknown[1])) > SEPARATION


def check_colours(task: Task) -> None:
    """Kinds that meet are as far apart as promised, and so from table and floor."""
    found = {kind for kind in kinds(task_model(task).physics) if kind in COLOURS}
    assert len(found) >= 2
    colours = {kind: lab(np.array(COLOURS[kind])) for kind in found}
    colours |= {"table": lab(np.array(TABLE)), "floor": lab(np.array(FLOOR))}
    for (one, a), (other, b) in itertools.combinations(colours.items(), 2):
        wanted = SEPARATION if found & {one, other} else 15
        assert np.linalg.norm(a - b) >= wanted, (one, other)


def check_seen(task: Task) -> None:
    """Every object, fixture, region, table and floor takes part in the first picture of initial state 0."""
    simulator = Simulator(task)
    simulator.reset(0)
    simulator.render("agentview", SIZE)
    drawing = Drawing(simulator.model, "lite")
    model = simulator.model.physics
    wanted = objects(model) | {
        model.geom(i).name: np.array([i]) for i in range(model.ngeom) if model.geom(i).name.startswith("target_")
    }
    wanted |= {kind: np.array(geoms) for kind, geoms in kinds(model).items() if "table" in kind or kind == "floor"}
    missing = {name for name, geoms in wanted.items() if coverage(simulator, drawing, geoms).mean() < SEEN}
    assert missing == HIDDEN.get((task.suite, task.index), set())
    assert len(simulator.model.numbers["targets"]) == sum(name.startswith("target_") for name in wanted)


@pytest.mark.parametrize(("suite", "index"), SAMPLE)
def test_colours_and_coverage(suite: str, index: int) -> None:
    check_colours(suite_tasks(suite)[index])
    check_seen(suite_tasks(suite)[index])


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_colours_and_coverage_of_all() -> None:
    failures = []
    for suite, index in ALL:
        try:
            check_colours(suite_tasks(suite)[index])
            check_seen(suite_tasks(suite)[index])
        except AssertionError as error:
            failures.append(f"{suite} {index}: {str(error).splitlines()[0]}")
    assert not failures


def test_rendered_colours_stay_apart() -> None:
    """Light and shade included: mean colours of the eight kinds in a living room, as drawn."""
    simulator = Simulator(suite_tasks("libero_10")[0])
    simulator.reset(0)
    drawing = Drawing(simulator.model, "lite")
    picture = simulator.render("agentview", SIZE) / 255
    found = {kind: geoms for kind, geoms in kinds(simulator.model.physics).items() if kind in COLOURS}
    means = {kind: lab(picture[coverage(simulator, drawing, np.array(g))].mean(axis=0)) for kind, g in found.items()}
    assert len(means) == 8
    assert min(np.linalg.norm(a - b) for a, b in itertools.combinations(means.values(), 2)) > 18


def test_a_region_is_marked_in_every_task_of_its_scene() -> None:
    """In front of the stove, whether or not the task is to push the plate there; so it gives nothing away."""
    tasks = suite_tasks("libero_goal")
    marks = [task_model(tasks[index]).numbers["targets"] for index in (0, 5)]
    assert len(marks[0]) == 1
    assert marks[0] == marks[1]


def test_mark_lies_on_the_table_where_the_goal_is() -> None:
    """Right of the plate: the region's site lies below the table top, the patch on it, same place and size."""
    simulator = Simulator(suite_tasks("libero_10")[6])
    simulator.reset(0)
    simulator.proprio()  # kinematics of the restored state
    numbers, data = simulator.model.numbers, simulator.data
    goal = next(spec for spec in numbers["goal"] if spec["kind"] == "on_site")
    (target,) = numbers["targets"]
    site = data.site(goal["site"]).xpos
    np.testing.assert_allclose(target["pos"][:2], site[:2], atol=1e-9)
    np.testing.assert_allclose(target["size"][:2], goal["size"][:2], atol=1e-9)
    assert site[2] < target["pos"][2] == pytest.approx(data.body("plate_1_main").xpos[2], abs=0.01)


def test_marks_touch_nothing() -> None:
    model = task_model(suite_tasks("libero_10")[6]).physics
    patch = model.geom("target_0").id
    assert model.geom_contype[patch] == model.geom_conaffinity[patch] == 0
    assert model.body_mass[model.geom_bodyid[patch]] == 0
