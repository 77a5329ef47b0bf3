"""How long to wait after failures, and when to give up. Pure: the time and the random numbers are passed in."""

from collections.abc import Callable

BASE_S = 0.5
CAP_S = 30.0
FOREVER = float("inf")
Random = Callable[[], float]
"""Returns a number in [0, 1)."""
MIN_PATIENCE_S = 1.0
"""Less would end a run between two pieces of a source that delivers."""


def full_jitter(failures: int, random: Random) -> float:
    """Return the seconds to wait after FAILURES in a row: uniform from 0 to an exponential bound of at most CAP_S.

    Source: M. Brooker, "Exponential Backoff And Jitter" (2015), the variant called full jitter.
    """
    if failures <= 0:
        return 0.0
    # 2**60 already exceeds any cap; more would only overflow a float.
    return random() * min(CAP_S, BASE_S * 2.0 ** min(failures, 60))


class Patience:
    """How long to continue without progress: SECONDS (or FOREVER), counted anew from each new good piece."""

    def __init__(self, seconds: float, now: float) -> None:
        self.seconds = max(seconds, MIN_PATIENCE_S)
        self._since = now

    def progress(self, now: float) -> None:
        """Note a new good piece."""
        self._since = now

    def extend(self, seconds: float) -> None:
        """Note SECONDS that do not count, because no source is to blame for them."""
        self._since += seconds

    @property
    def ends(self) -> float:
        """The time at which patience runs out."""
        return self._since + self.seconds

    def exhausted(self, now: float) -> bool:
        """Return whether there was no progress for the whole of the time."""
        return now >= self.ends
