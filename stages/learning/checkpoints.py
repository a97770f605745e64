"""An update that was killed half-way goes on from its last checkpoint, and ends with the weights it would have had.

A checkpoint is a folder beside the policy to be made, `.NAME.halfway/STEPS`: weights, the optimizer's state and how far
the epochs and their health figures are. Nothing else has a memory: minibatches follow from the seed and their number.
"""

import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from data.checkpoint import read_record, write_checkpoint


@dataclass
class Halfway:
    """How far an update is."""

    totals: dict[str, float] = field(default_factory=dict)
    """sums over the minibatches stepped on"""
    norms: list[float] = field(default_factory=list)
    """of the gradient, one a step"""
    first: dict[str, float] = field(default_factory=dict)
    """how well the first minibatch reproduced what was recorded"""


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoints of one update."""

    out: Path
    """the policy folder to be made"""
    inputs: str
    """digest of all that decides what it becomes; another update's checkpoints are passed over"""
    every: int
    """optimizer steps from one to the next"""

    @property
    def folder(self) -> Path:
        """Where they lie."""
        return self.out.with_name(f".{self.out.name}.halfway")

    def last(self) -> tuple[Path, Halfway] | None:
        """The newest checkpoint of this update."""
        steps = sorted((int(p.name) for p in self.folder.glob("[0-9]*")), reverse=True)
        for path in (self.folder / str(step) for step in steps):
            record = read_record(path)
            if record.get("inputs") == self.inputs:
                return path, Halfway(**record["halfway"])
        return None

    def due(self, halfway: Halfway) -> bool:
        """Whether there is one to be made now."""
        return len(halfway.norms) % self.every == 0

    def save(self, fill: Callable[[Path], None], halfway: Halfway) -> None:
        """Write one, then remove those before it.

        Args:
            fill: writes weights and optimizer state into a folder.
        """
        path = self.folder / str(len(halfway.norms))
        shutil.rmtree(path, ignore_errors=True)
        write_checkpoint(path, fill, {"inputs": self.inputs, "halfway": asdict(halfway)})
        for other in self.folder.iterdir():
            if other != path:
                shutil.rmtree(other)

    def remove(self) -> None:
        """The update is done."""
        shutil.rmtree(self.folder, ignore_errors=True)
