"""`srpo` answers at once: nothing heavy is imported before a command needs it."""

import resource
import subprocess
import sys

HEAVY = ("torch", "mujoco", "zarr", "numpy", "transformers", "sklearn", "numba", "matplotlib")


def test_help_imports_nothing_heavy() -> None:
    program = (
        "import sys; from srpo_cli.__main__ import run; code = run(['--help'])\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules], code)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip().splitlines()[-1] == "[] 0"


def test_help_takes_less_than_half_a_second_of_work() -> None:
    """Processor time, the least of three: what else runs on the machine does not count."""

    def once() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-m", "srpo_cli", "--help"], capture_output=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    assert min(once() for _ in range(3)) < 0.5


def test_every_command_has_help_with_an_example() -> None:
    from typer.testing import CliRunner

    from srpo_cli.app import COMMANDS, app

    for name in COMMANDS:
        shown = CliRunner().invoke(app, [name, "--help"])
        assert shown.exit_code == 0, name
        assert f"srpo {name}" in " ".join(shown.output.split()), f"{name}: no example"
