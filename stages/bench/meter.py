"""Progress of work whose parts take very different times: counted in the seconds that each is expected to take."""

from collections.abc import Callable

from data.watching import Tick


class Meter:
    """Adds up what is planned, then tells how much of it is done.

    Args:
        tick: told of it, in whole planned seconds; none: nobody is.
    """

    def __init__(self, tick: Tick | None) -> None:
        self._tick, self._total, self._done = tick, 0.0, 0.0

    def plan(self, calls: int, seconds: float) -> Callable[[str], None]:
        """A function to be called `calls` times with a note on what was done, each worth `seconds`."""
        self._total += calls * seconds

        def done(note: str) -> None:
            self._done += seconds
            if self._tick:
                self._tick(round(self._done), round(self._total), note)

        return done
