"""Colours of the `lite` look: one for each kind of thing, the same in every task, near to what a person would call it.

Kinds that meet in a task are at least `SEPARATION` apart in CIELAB, and as far from the table and floor (a test holds
this for all 130 tasks). A kind without an entry gets a hue from its name.
"""

import colorsys
import re
from hashlib import sha256

import numpy as np

SEPARATION = 25.0
FLOOR = (0.36, 0.37, 0.39)
TABLE = (0.56, 0.54, 0.50)
ROBOT = (0.85, 0.85, 0.85)
FINGERS = (0.60, 0.60, 0.66)
TARGET = (0.55, 1.0, 0.35, 0.6)
BURNER_OFF, BURNER_ON = (0.72, 0.76, 0.78, 1.0), (1.0, 0.25, 0.05, 1.0)
LEVELS = {"top": 1.0, "middle": 0.8, "bottom": 0.62, "microdoorroot": 0.7, "button": 0.45}
"""Brightness of the moving parts of a fixture, by the end of the body's name, so that drawers can be told apart."""

COLOURS: dict[str, tuple[float, float, float]] = {
    # groceries
    "alphabet_soup": (0.13, 0.27, 0.90),
    "bbq_sauce": (0.50, 0.13, 0.62),
    "butter": (1.00, 0.86, 0.15),
    "chocolate_pudding": (0.36, 0.18, 0.08),
    "cookies": (0.20, 0.38, 0.85),
    "cream_cheese": (0.45, 0.78, 1.00),
    "ketchup": (0.80, 0.05, 0.05),
    "milk": (0.97, 0.97, 0.97),
    "new_salad_dressing": (0.15, 0.65, 0.22),
    "orange_juice": (1.00, 0.52, 0.03),
    "salad_dressing": (0.15, 0.65, 0.22),
    "tomato_sauce": (1.00, 0.42, 0.60),
    "wine_bottle": (0.05, 0.42, 0.18),
    # crockery and pans
    "akita_black_bowl": (0.10, 0.10, 0.13),
    "chefmate_8_frypan": (0.25, 0.35, 0.55),
    "glazed_rim_porcelain_ramekin": (0.55, 0.90, 0.80),
    "moka_pot": (0.72, 0.62, 0.90),
    "plate": (1.00, 0.72, 0.76),
    "porcelain_mug": (0.97, 0.97, 0.97),
    "red_coffee_mug": (0.85, 0.08, 0.08),
    "white_bowl": (0.97, 0.97, 0.97),
    "white_yellow_mug": (1.00, 0.86, 0.25),
    # books
    "black_book": (0.10, 0.10, 0.13),
    "yellow_book": (1.00, 0.82, 0.10),
    # containers and fixtures
    "basket": (0.80, 0.68, 0.40),
    "desk_caddy": (0.75, 0.45, 0.25),
    "flat_stove": (0.22, 0.53, 0.60),
    "microwave": (0.30, 0.45, 0.62),
    "white_cabinet": (0.88, 0.90, 0.95),
    "wine_rack": (0.62, 0.32, 0.38),
    "wooden_cabinet": (0.78, 0.50, 0.25),
    "wooden_tray": (0.80, 0.58, 0.32),
    "wooden_two_layer_shelf": (0.72, 0.46, 0.24),
}


def kind_of(body: str) -> str:
    """`akita_black_bowl` of `akita_black_bowl_2_main`; a name without a number is its own kind."""
    found = re.match(r"(.+)_\d+_[a-z_]+$", body)
    return found[1] if found else body


def colour_of(body: str) -> np.ndarray:
    """What a body of the scene is painted: (3,) in [0, 1]."""
    if body.startswith("gripper0_"):
        return np.array(FINGERS)
    if body.startswith(("robot0_", "mount0_")):
        return np.array(ROBOT)
    if body in ("floor", "world"):
        return np.array(FLOOR)
    kind = kind_of(body)
    if "table" in kind:
        return np.array(TABLE)
    part = body.removeprefix(kind)
    level = next((value for name, value in LEVELS.items() if part.endswith(name)), 1.0)
    return np.array(COLOURS.get(kind) or _named(kind)) * level


def _named(kind: str) -> tuple[float, float, float]:
    """A bright colour whose hue comes from the name."""
    return colorsys.hsv_to_rgb(sha256(kind.encode()).digest()[0] / 256, 0.75, 0.95)
