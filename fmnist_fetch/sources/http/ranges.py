"""How well a server supports ranges, as its answers show it. Ranges are an optimization, never a condition."""

from fmnist_fetch.manifest.pieces import Piece

RANGE_FAILURES = 2
"""After so many requests with a range that failed in a row, one without a range shows whether that is the reason."""
DELIVERED_BEFORE = 4
"""By how much the number grows where a range has been delivered before."""


class RangeSupport:
    """What is known of a server's support for ranges; all connections to it add to that.

    Attributes:
        serves_ranges: Whether requests with a range are of use; None before that is known.
        verified: Whether a piece has shown that answers hold what they are taken for.
        suspect: A piece that was wrong in an answer to a range; a whole file shows whether the range was the reason.
        whole_tries: How often a request without a range succeeded where those with a range failed.
    """

    def __init__(self) -> None:
        self.serves_ranges: bool | None = None
        self.verified = False
        self.suspect: Piece | None = None
        self.whole_tries = 0
        self._delivers_ranges = False
        self._misses = 0
        self._refuses_whole: set[int | None] = set()

    @property
    def doubts_ranges(self) -> bool:
        """Whether requests with a range failed so often in a row that the range may be the reason."""
        return self._misses >= RANGE_FAILURES * (DELIVERED_BEFORE if self._delivers_ranges else 1)

    def served_range(self) -> None:
        """Note that an answer holds the range that was asked for."""
        self.serves_ranges = True

    def delivered_range(self) -> None:
        """Note that bytes of such an answer came."""
        self._delivers_ranges = True
        self._misses = self.whole_tries = 0

    def missed_range(self, status: int | None) -> bool:
        """Note an answer with STATUS that did not hold the range; return whether ranges are to blame for it.

        One answer shows it, unless others held their ranges before.
        """
        if status in self._refuses_whole:
            return False
        self._misses += 1
        return self._misses > (1 if self.serves_ranges else 0)

    def failed_range(self) -> None:
        """Note a request with a range that failed in a way that may pass: a server that is busy, or hangs up early."""
        self._misses += 1

    def contradicted_range(self) -> None:
        """Note an answer with fewer bytes than it says. The second one ends ranges, unless a piece of one was right."""
        if not self.verified:
            self._misses += 1
            if self._misses > 1:
                self.serves_ranges = False

    def tried_whole(self, *, succeeded: bool) -> None:
        """Note what a request without a range came to, which was sent because of the doubts.

        Where it succeeded, the next failure of a range leads to the next one: the server may just have recovered.
        """
        self._misses = RANGE_FAILURES - 1 if succeeded else 0
        self.whole_tries += succeeded
        self._delivers_ranges, self.serves_ranges = False, None

    def refused_whole(self, status: int | None) -> None:
        """Note that a request without a range is refused with STATUS too: ranges are not the reason."""
        self._refuses_whole.add(status)
