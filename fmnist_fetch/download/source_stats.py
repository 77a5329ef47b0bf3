"""What is known of one origin: how it fared lately, and what it can still be asked for. Pure."""

from collections import Counter
from collections.abc import Callable
from math import inf

from fmnist_fetch.download.backoff import full_jitter
from fmnist_fetch.errors import SourceError
from fmnist_fetch.sources.base import Source, Tier

SUFFICIENT = 16 * 1024
LONGEST_RETRY_AFTER = 120.0
SAME_WRONG = 5
MORE_ROOM = 1 / 16


class SourceStats:
    """An origin's workers, failures in a row, the moment from which it may be asked again, and its last error.

    `room` is how many connections it bears, as far as is known; `keeper` is the worker who read from it last; `rate` is
    that of its last attempt, in bytes per second of one connection, and `flow` the same without the wait before the
    first byte. `shut` are the files it will never give; `wrong` counts, for each piece that came wrong, the digests
    with which it came.
    """

    def __init__(self, origin: Source) -> None:
        self.origin = origin
        self.workers = self.failures = 0
        self.room = inf
        self.keeper: int | None = None
        self.ready = 0.0
        self.rate: float | None = None
        self.flow: float | None = None
        self.error: SourceError | None = None
        self.shut: set[int] = set()
        self.wrong: dict[tuple[int, int], Counter[str]] = {}

    @property
    def on_disk(self) -> bool:
        """Whether it is a folder: to ask it again costs nothing, and changes nothing."""
        return self.origin.tier in (Tier.OWN, Tier.LOCAL)

    @property
    def has_room(self) -> bool:
        """Whether one more worker is of use there."""
        most = self.origin.connections
        return self.workers + 1 <= (self.room if most is None else most)

    def ever(self, file: int, piece: int) -> bool:
        """Whether it can still bring this piece, sooner or later."""
        if file in self.shut:
            return False
        digests = self.wrong.get((file, piece))
        return digests is None or max(digests.values()) < (1 if self.on_disk else SAME_WRONG)

    def faults(self, file: int, piece: int) -> int:
        """How often it brought this piece wrong."""
        digests = self.wrong.get((file, piece))
        return digests.total() if digests else 0

    def gave_wrong(self, file: int, piece: int) -> bool:
        """Whether it brought this piece wrong before."""
        return (file, piece) in self.wrong

    def trusted(self, file: int, piece: int) -> bool:
        """Whether it can bring this piece and never brought it wrong."""
        return self.ever(file, piece) and not self.gave_wrong(file, piece)

    def came_wrong(self, file: int, piece: int, digest: str) -> None:
        """It brought this piece with another DIGEST than the manifest's."""
        self.wrong.setdefault((file, piece), Counter())[digest] += 1

    def served(self) -> None:
        """An attempt went well; perhaps it bears more connections than it did."""
        self.failures = 0
        self.room += MORE_ROOM
        if self.error is not None:
            self.error.telling = 0

    def crowded(self, ready: float) -> None:
        """It refused a connection while others were open: it bears no more than those. Left alone until READY."""
        self.ready = ready
        self.room = max(1.0, self.workers - 1.0)

    def failed(self, error: SourceError, file: int, *, progress: bool, now: float, dice: Callable[[], float]) -> None:
        """An attempt at FILE ended in ERROR; PROGRESS tells whether it had brought anything of worth."""
        if self.error is None or error.telling >= self.error.telling:
            # What tells a user more is not overwritten by what tells less.
            self.error = error
        if error.permanent:
            # It answers, and clearly: nothing against asking it for another file at once.
            self.shut.add(file)
            return
        self.failures = 0 if progress else self.failures + 1
        # Who is told when to come again needs not guess, however often that was.
        wait = full_jitter(self.failures if error.retry_after is None else 1, dice)
        if error.retry_after is not None:
            wait = max(wait, min(error.retry_after, LONGEST_RETRY_AFTER))
        if not self.on_disk:
            self.ready = now + wait
