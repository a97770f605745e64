"""How an update is started: in how many processes, and what an Accelerate config tells each of them.

The processes of one machine are started by `stages.learning.processes`, whose errors are one line, with the environment
that `accelerate launch` would give them; several machines need `accelerate launch` itself.
"""

import os
from dataclasses import dataclass, field
from pathlib import Path

from data.errors import UserError, unknown
from data.settings import PRESETS
from stages.learning.processes import in_group
from stages.learning.settings import UpdateSettings
from stages.learning.sharding import ASKED

CONFIGS = PRESETS / "accelerate"
KINDS = ("NO", "MULTI_CPU", "MULTI_GPU", "FSDP")
"""of Accelerate's distributed types, those that an update knows"""
MIXED_PRECISION = "ACCELERATE_MIXED_PRECISION"
"""of the environment, where Accelerate looks for it"""


@dataclass(frozen=True)
class Launch:
    """Processes on this machine."""

    processes: int = 1
    environment: dict[str, str] = field(default_factory=dict)
    """what each of them is told beside its number"""

    @property
    def shares_out(self) -> bool:
        """Whether they share weights, gradients and the optimizer's memory out."""
        return self.processes > 1 and ASKED in self.environment

    def __post_init__(self) -> None:
        if self.processes < 1:
            raise UserError(f"--processes must be 1 or more, not {self.processes}")


def launch_of(accelerate: str | None, processes: int | None) -> Launch:
    """What `--accelerate` and `--processes` ask for; an environment for one process alone becomes this one's.

    Args:
        accelerate: a config of `data/presets/accelerate` by name, or a YAML file. processes: instead of the config's.

    Raises:
        UserError: no such config, one that Accelerate cannot read or an update cannot follow.
    """
    if in_group():
        return Launch()
    found = _read(config_file(accelerate), processes) if accelerate else Launch(processes or 1)
    if found.processes == 1:
        os.environ.update(found.environment)
    return found


def settings_words(settings: UpdateSettings) -> list[str]:
    """Options of `srpo update` that say these settings."""
    values = {
        key: str(value) if isinstance(value, str) else repr(value).lower() for key, value in vars(settings).items()
    }
    return [word for key, value in values.items() for word in ("--set", f"{key}={value}")]


def config_file(named: str) -> Path:
    """An Accelerate config by name or path.

    Raises:
        UserError: there is none.
    """
    if named.endswith((".yaml", ".yml", ".json")):
        if not (file := Path(named)).is_file():
            raise UserError(f"no Accelerate config {file}; `accelerate config --config_file {file}` makes one")
        return file
    if not (file := CONFIGS / f"{named}.yaml").is_file():
        raise unknown("Accelerate config", named, sorted(path.stem for path in CONFIGS.glob("*.yaml")))
    return file


def _read(file: Path, processes: int | None) -> Launch:
    from accelerate.commands.config.config_args import load_config_from_file
    from yaml import YAMLError

    try:
        config = load_config_from_file(str(file))
        kind = str(getattr(config.distributed_type, "value", config.distributed_type))
        machines, count = int(config.num_machines), int(processes or config.num_processes)
    except (YAMLError, ValueError, KeyError, TypeError, AttributeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"Accelerate cannot read {file}: {reason}; `accelerate config` makes a new one") from error
    if kind not in KINDS:
        raise UserError(f"{file} says distributed_type: {kind}, where an update knows {', '.join(KINDS)}")
    if machines > 1:
        told = f"accelerate launch --config_file {file} --machine_rank I -m srpo_cli update ..."
        raise UserError(f"{file} is for {machines} machines: start on each, I from 0, `{told}`")
    environment = {MIXED_PRECISION: str(config.mixed_precision or "no")}
    if kind == "FSDP":
        environment |= {ASKED: "true", **{key.upper(): str(value).lower() for key, value in config.fsdp_config.items()}}
    return Launch(count, environment)


def mixed_precision() -> str:
    """What an Accelerate config says for this process: no, bf16 or fp16."""
    return os.environ.get(MIXED_PRECISION, "no")
