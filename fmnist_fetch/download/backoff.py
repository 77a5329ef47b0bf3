"""The arithmetic of waiting. Pure: the clock and the dice are passed in, and nothing here sleeps."""

from collections.abc import Callable

BASE = 0.5
CAP = 30.0
FOREVER = float("inf")


def full_jitter(failures: int, dice: Callable[[], float]) -> float:
    """Seconds to wait after FAILURES in a row: uniform between 0 and an exponential bound of at most CAP.

    Source: M. Brooker, "Exponential Backoff And Jitter" (2015), the variant called full jitter. DICE gives a number
    in [0, 1). No failure, no wait.
    """
    if failures <= 0:
        return 0.0
    # 2**60 already exceeds any cap; more would only overflow a float.
    return dice() * min(CAP, BASE * 2.0 ** min(failures, 60))


class Patience:
    """How long to go on without progress: SECONDS (or FOREVER), counted anew from each new good piece."""

    def __init__(self, seconds: float, now: float) -> None:
        self.seconds = seconds
        self._since = now

    def progress(self, now: float) -> None:
        """A new good piece has come."""
        self._since = now

    @property
    def ends(self) -> float:
        """The moment (on the clock that is passed in) at which patience runs out."""
        return self._since + self.seconds

    def exhausted(self, now: float) -> bool:
        """Whether nothing good has come for the whole of the time."""
        return now >= self.ends
