"""Where bytes come from. None of these is trusted: every piece is checked against the manifest afterwards.

A source is a place that may have the files (a mirror, a folder, a package); a connection is one worker's use of it.
`Connection.read` is the one method. What it returns may be short, and a short answer is data: the next `read`, for the
rest, continues where this one ended, on the same connection if it can.
"""

from enum import IntEnum
from typing import NamedTuple, Protocol

from fmnist_fetch.manifest.model import DataFile
from fmnist_fetch.manifest.pieces import Span

STAGE_TIMEOUT_S = 5.0
"""What each stage of a connection may take at first; a source that was slow once gets more."""
STATE, ARRIVING = "Fmnist-Fetch-State", "arriving"
"""The field of a 503 answer, and its value, with which a server says that it is itself downloading what it lacks."""


class FetchOptions(NamedTuple):
    """What the user chose for a run; made once, and passed on as one value.

    Attributes:
        mirrors: URLs or folders to ask first.
        only_mirrors: Whether to ask no source but these and, with `lan`, the servers of the local network.
        offline: Whether to open no socket.
        jobs: The number of connections at once.
        patience: Seconds to continue without a new good piece.
        limit_rate: The most bytes per second to receive, over all connections; None for no limit.
        lan: Whether to look for servers in the local network, and to ask them.
    """

    mirrors: tuple[str, ...] = ()
    only_mirrors: bool = False
    offline: bool = False
    jobs: int = 4
    patience: float = 120.0
    limit_rate: float | None = None
    lan: bool = False


class Tier(IntEnum):
    """The order in which sources are asked: a later tier only when no earlier one can serve."""

    OWN = 0
    USER = 1
    LOCAL = 2
    LAN = 3
    INDEX = 4
    MIRROR = 5
    PACKAGE = 6


class Connection(Protocol):
    """One worker's connection to a source.

    Attributes:
        status: What the last answer was (HTTP status code), where there are such answers.
        oddity: What the answer that is being read seems to be in place of the file; None where it seems to be the file.
        note: A fact for the log that a read found out; the worker passes it on, and clears it.
        timeout_s: Seconds that each stage of a read may take; the worker sets it before it reads. Stages are the
            look-up of a name, the connection to one address, TLS, the first byte, the wait between two receives.
        stages: How many stages have ended so far. It grows while `read` waits: silence is counted from the last change.
    """

    status: int | None = None
    oddity: str | None = None
    note: str | None = None
    timeout_s: float = STAGE_TIMEOUT_S
    stages: int = 0

    @property
    def pending(self) -> int:
        """Bytes that are on their way but can't be read yet: a package under download, say."""
        return 0

    def read(self, file: DataFile, span: Span) -> bytes:
        """Bytes of FILE from span.start on: at least one, and none past span.stop; raises SourceError."""
        ...

    def stop(self) -> None:
        """End a read that is under way in another thread, as soon as possible; later reads fail."""

    def close(self) -> None:
        """Give back what it holds."""


class Source(Protocol):
    """A place that may have the files."""

    name: str
    """What it is called in messages; without secrets."""
    tier: Tier

    @property
    def connections(self) -> int | None:
        """How many sources at once are of use, None for any number."""
        ...

    def open(self) -> Connection:
        """Return a new connection; nothing is opened yet."""
        ...
