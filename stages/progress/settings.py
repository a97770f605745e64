"""Every choice that the paper leaves open, as one named setting, and the presets that fix them."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

from data.errors import UserError, unknown
from data.settings import build


@dataclass(frozen=True)
class RewardSettings:
    """How failures are rewarded. The defaults are the preset `paper` (arXiv 2511.15605, sections 3.2 and D)."""

    distance: Literal["l2", "l2_squared", "cosine", "dtw"] = "l2"
    """from a failure to a centre, on the raw embeddings: ||h-c||, ||h-c||^2 or 1-cos(h, c); or dtw, between paths of
    moments, whatever their tempo (dynamic time warping)"""
    centre: Literal["mean", "medoid", "each"] = "mean"
    """what stands for a cluster: its mean, its most central member, or every success for itself (no clustering)"""
    radius: Literal["gap", "fixed"] = "gap"
    """DBSCAN's radius: read from the data, where their distances have a gap, or `eps`"""
    gap: float = 3.0
    """radius=gap: how many times farther apart clusters must be than their members"""
    eps: float = 0.5
    """a fixed radius, in standard deviations of the successes; radius=gap falls back on it where there is no gap"""
    min_samples: int = 2
    """DBSCAN: successes within the radius, itself included, that make a success a core point"""
    noise: Literal["drop", "keep"] = "drop"
    """successes outside every cluster: no references, or each a centre of its own"""
    normalise: Literal["zscore", "minmax"] = "zscore"
    """what makes distances comparable: (d-mean)/std, or (d-min)/(max-min)"""
    ddof: int = 0
    """normalise=zscore: 0 is the population's standard deviation, 1 the sample's"""
    scope: Literal["task", "group"] = "task"
    """the failures that are normalised together: those of a task in the batch, or of a group (same initial state)"""
    slope: float = 1.0
    """steepness of the sigmoid over the normalised distance"""
    alpha: float = 0.8
    """upper bound of a failure's reward; 0 is no progress reward at all, and needs no embedding"""
    all_fail: Literal["remembered", "zero"] = "remembered"
    """a task without a success in the batch: measured against remembered successes where there are any, or 0"""

    def __post_init__(self) -> None:
        checks = {
            "eps must be above 0": self.eps > 0,
            "gap must be at least 1": self.gap >= 1,
            "min_samples must be at least 1": self.min_samples >= 1,
            "ddof must be 0 or 1": self.ddof in (0, 1),
            "slope must be above 0": self.slope > 0,
            "alpha must be in [0, 1]: a failure never outranks a success": 0 <= self.alpha <= 1,
            "centre must be each with distance=dtw: paths have no mean": self.distance != "dtw"
            or self.centre == "each",
        }
        for message, holds in checks.items():
            if not holds:
                raise UserError(f"reward setting {message}, not {getattr(self, message.split()[0])}")

    @property
    def needs_embedding(self) -> bool:
        """Whether distances count: with alpha 0 the reward is the success alone."""
        return self.alpha > 0

    @property
    def needs_paths(self) -> bool:
        """Whether the distance is between paths of moments (m, d) instead of vectors (D,)."""
        return self.needs_embedding and self.distance == "dtw"


PRESETS: dict[str, RewardSettings] = {
    "paper": RewardSettings(),
    "siirl": RewardSettings(radius="fixed", normalise="minmax", slope=10.0, alpha=0.6, all_fail="zero"),
    "cosine": RewardSettings(distance="cosine"),
    "path": RewardSettings(distance="dtw", centre="each"),
    "binary": RewardSettings(alpha=0.0),
}
"""paper; siirl: the reference code sii-research/siiRL at af00a77; cosine: the paper's rule on 1-cos; path: the paper's
rule on the nearest success's path, followed at any tempo; binary: 0 or 1"""


def reward_settings(preset: str = "paper", overrides: Mapping[str, Any] | None = None) -> RewardSettings:
    """A preset with some settings replaced (values, or texts as in `--set`).

    Raises:
        UserError: no such preset or setting (with the nearest name), or an impossible value.
    """
    if preset not in PRESETS:
        raise unknown("reward preset", preset, PRESETS)
    base = {field.name: getattr(PRESETS[preset], field.name) for field in fields(RewardSettings)}
    return build(RewardSettings, base | dict(overrides or {}), "reward")


def nearest_preset(settings: RewardSettings) -> tuple[str, bool]:
    """The preset that shares most settings with these, and whether it shares all."""

    def differences(name: str) -> int:
        return sum(getattr(settings, f.name) != getattr(PRESETS[name], f.name) for f in fields(RewardSettings))

    name = min(PRESETS, key=differences)
    return name, differences(name) == 0
