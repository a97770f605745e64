"""`srpo`: runs a command and turns its end into an exit code.

0 done · 2 bad input, one line that says what and how to mend it · 130 interrupted, everything on disk is consistent ·
1 our own fault, with the traceback in a log file.
"""

import sys
import tempfile
import time
import traceback
from pathlib import Path

from data.cache import cache_dir
from data.errors import UserError
from srpo_cli.app import COMMANDS, app

INTERRUPTED = 130
"""Also what typer returns when it meets Ctrl-C itself."""


def main() -> None:
    """Entry point of the console script."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command line and return its exit code; whatever went wrong is told in one line on stderr."""
    try:
        code = app(arguments, prog_name="srpo", standalone_mode=False) or 0
        return _interrupted() if code == INTERRUPTED else code
    except UserError as error:
        return _say(str(error), 2)
    except KeyboardInterrupt:
        return _interrupted()
    except Exception as error:
        return _command_line_error(error, arguments) if hasattr(error, "format_message") else _own_fault(error)


def _interrupted() -> int:
    return _say("interrupted; what was finished is kept: run the same command again to go on", INTERRUPTED)


def _command_line_error(error: Exception, arguments: list[str]) -> int:
    """Typer's own refusals (unknown option, missing argument, ...) in our one-line form."""
    names = [word for word in arguments[:1] if word in COMMANDS]
    names += [word for word in arguments[1:2] if names == ["bench"] and word.isalpha()]
    message = " ".join(error.format_message().split())  # type: ignore[attr-defined]
    if not message:  # the help, which typer has printed, is the answer to a command line without a command
        return 2
    if "No such command" in message:
        names = names[:1]
    return _say(f"{message.rstrip('.')}; see `srpo {' '.join([*names, '--help'])}`", 2)


def _own_fault(error: Exception) -> int:
    log = _log_file()
    log.write_text("".join(traceback.format_exception(error)))
    last = str(error).strip().splitlines()[-1:] or [""]
    notes = "".join(f"; {note}" for note in getattr(error, "__notes__", []))
    return _say(f"{type(error).__name__}: {last[0]} (this is a fault of srpo; traceback in {log}){notes}", 1)


def _log_file() -> Path:
    name = f"srpo-{time.strftime('%Y%m%d-%H%M%S')}.log"
    try:
        return cache_dir("logs") / name
    except UserError:
        return Path(tempfile.gettempdir()) / name


def _say(message: str, code: int) -> int:
    print(f"srpo: {' '.join(message.splitlines())}", file=sys.stderr)
    return code


if __name__ == "__main__":
    main()
