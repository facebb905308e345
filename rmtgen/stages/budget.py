"""The time that a command may take."""

from collections.abc import Callable

Clock = Callable[[], float]
"""Seconds since some instant, such as `time.monotonic`."""


class Budget:
    """A time that is spent.

    Attributes:
        seconds: How much it is from the beginning.
        clock: The clock.
        end: The instant at which it is spent.
    """

    def __init__(self, seconds: float, clock: Clock, started: float):
        """Take the seconds, a clock, and the instant at which their spending began."""
        self.seconds, self.clock = seconds, clock
        self.end = started + seconds

    @property
    def left(self) -> float:
        """Seconds that are left."""
        return max(0.0, self.end - self.clock())
