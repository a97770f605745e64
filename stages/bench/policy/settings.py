"""What `srpo bench policy` measures, and how often."""

from dataclasses import dataclass

from data.errors import UserError, unknown
from stages.bench.policy.random_weights import SIZES

MOST_IMAGES = 2


@dataclass(frozen=True)
class PolicyBenchSettings:
    """See `stages.bench.policy.bench`."""

    size: str | None = None
    """of an OpenVLA-OFT with random weights, where no policy is given; none: the real one"""
    device: str = "auto"
    """cpu, cuda or cuda:N; auto: the first GPU where there is one"""
    batches: tuple[int, ...] = (1, 8, 32)
    """queries at a time when acting; the largest is also what the ratios compare the others with"""
    images: tuple[int, ...] | None = None
    """images a query; none: as many as the policy sees, and 1 and 2 with random weights"""
    lora: int = 32
    """rank of the adapters that an update of OpenVLA-OFT trains; 0: no update is measured"""
    micro: tuple[int, ...] = (8,)
    """queries a forward pass of an update"""
    repeats: int = 10
    """how often acting is timed"""

    def __post_init__(self) -> None:
        if self.size is not None and self.size not in SIZES:
            raise unknown("size", self.size, SIZES)
        for name in ("batches", "micro", "images"):
            values = getattr(self, name)
            if values is not None and (not values or min(values) < 1):
                raise UserError(f"{name} takes whole numbers of 1 or more, such as 1,2, not {_text(values)}")
        if self.images and max(self.images) > MOST_IMAGES:
            raise UserError(f"images takes 1, 2 or 1,2, since a policy sees at most two, not {_text(self.images)}")
        if self.lora < 0 or self.repeats < 1:
            raise UserError(f"lora must be 0 or more and repeats 1 or more, not {self.lora} and {self.repeats}")


def _text(values: tuple[int, ...]) -> str:
    return ",".join(map(str, values)) or "nothing"
