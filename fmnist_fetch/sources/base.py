"""Where bytes come from. None of these is trusted: every piece is held against the manifest afterwards.

An origin is a place that may have the files (a mirror, a folder, a package); a source is one worker's connection to it.
`Source.read` is the one method. What it gives may be short, and a short answer is data: the next `read`, for the rest,
goes on where this one ended, on the same connection if it can.
"""

from enum import IntEnum
from typing import Protocol

from fmnist_fetch.manifest.model import DataFile
from fmnist_fetch.manifest.pieces import Span


class Tier(IntEnum):
    """The order in which origins are asked; a later tier's turn comes when no earlier one can serve just now."""

    OWN = 0
    USER = 1
    LOCAL = 2
    MIRROR = 3
    PACKAGE = 4


class Source(Protocol):
    """One worker's connection to an origin."""

    status: int | None
    """What the last answer was (HTTP status code), where there are such answers."""

    oddity: str | None
    """What the answer that is being read seems to be in place of the file; None: nothing is odd about it."""

    @property
    def pending(self) -> int:
        """Bytes that are on their way but can't be read yet: a package under download, say."""
        ...

    def read(self, file: DataFile, span: Span) -> bytes:
        """Bytes of FILE from span.start on: at least one, and none past span.stop; raises SourceError."""
        ...

    def stop(self) -> None:
        """End a read that is under way in another thread, as soon as possible; later reads fail."""
        ...

    def close(self) -> None:
        """Give back what it holds."""
        ...


class Origin(Protocol):
    """A place that may have the files."""

    name: str
    """What it is called in messages; without secrets."""
    tier: Tier

    @property
    def connections(self) -> int | None:
        """How many sources at once are of use, None for any number."""
        ...

    def open(self) -> Source:
        """A source of one's own; opens no connection yet."""
        ...
