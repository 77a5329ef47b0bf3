"""Mirrors: what is known of a server, for all connections to it. Ranges are an optimization, never a condition."""

import threading
from collections.abc import Callable
from urllib.parse import quote, urlsplit, urlunsplit

from fmnist_fetch.errors import SourceError
from fmnist_fetch.manifest.pieces import Piece
from fmnist_fetch.sources.base import Tier
from fmnist_fetch.sources.http.connection import HttpConnection
from fmnist_fetch.sources.mirror import redact

RANGE_FAILURES = 2
"""After so many requests with a range that failed in a row, one without a range shows whether that is the reason."""
DELIVERED_BEFORE = 4
"""By how much the number grows where a range has been delivered before."""


class HttpSource:
    """The mirror at the base URL; it remembers what its answers show, for all connections to it.

    Attributes:
        keeps_alive: Whether a connection is of use for a second request.
        told_downgrade: Whether the log has it that a redirect leaves https.
        coding_is_label: Whether a content coding without a length is a label only, and nothing must be removed.
        serves_ranges: Whether requests with a range are of use; None before that is known.
        verified: Whether a piece has shown that answers hold what they are taken for.
        suspect: A piece that was wrong in an answer to a range; a whole file shows whether the range was the reason.
        whole_tries: How often a request without a range succeeded where those with a range failed.
        range_failures: How many requests with a range failed in a row.
        refuses_whole: The statuses with which requests without a range are refused too.
    """

    def __init__(self, url: str, tier: Tier) -> None:
        self.url = url
        self.name = redact(url)
        self.tier = tier
        self.keeps_alive = True
        self.told_downgrade = False
        # Of a .gz file that is by far the more frequent case.
        self.coding_is_label = True
        self.serves_ranges: bool | None = None
        self.verified = False
        self.suspect: Piece | None = None
        self.whole_tries = self.range_failures = 0
        self.refuses_whole: set[int | None] = set()
        self._delivers_ranges = self._trying_whole = False
        self._lock = threading.Lock()

    @property
    def connections(self) -> int | None:
        """Any number once it has served a range; before, or where it ignores them, one.

        Where ranges are ignored, every further connection would get the file from its start.
        """
        return None if self.serves_ranges else 1

    def open(self) -> HttpConnection:
        """Return a new connection."""
        return HttpConnection(self)

    def file_url(self, name: str) -> str:
        """Return the URL of the file NAME; a query in the base URL such as a token stays at its end.

        Where the query ends with `=`, its value is the name: `https://mirror.example/get?file=`.
        """
        parts = urlsplit(self.url)
        if parts.query.endswith("="):
            return urlunsplit(parts._replace(query=parts.query + quote(name)))
        return urlunsplit(parts._replace(path=parts.path.rstrip("/") + "/" + quote(name)))

    @property
    def doubts_ranges(self) -> bool:
        """Whether requests with a range failed so often in a row that the range may be the reason."""
        return self.range_failures >= RANGE_FAILURES * (DELIVERED_BEFORE if self._delivers_ranges else 1)

    def begin_whole_try(self) -> bool:
        """Return whether to send this request without a range because of the doubts; `tried_whole` ends the try.

        One connection at a time does so: each of several would get the file from its start.
        """
        with self._lock:
            if self._trying_whole or not self.doubts_ranges:
                return False
            self._trying_whole = True
            return True

    def delivered_range(self) -> None:
        """Note that bytes of an answer came that holds the range that was asked for."""
        self._delivers_ranges = True
        self.range_failures = self.whole_tries = 0

    def missed_range(self, status: int | None) -> bool:
        """Note an answer with STATUS that did not hold the range; return whether ranges are to blame for it.

        One answer shows it, unless others held their ranges before.
        """
        if status in self.refuses_whole:
            return False
        self.range_failures += 1
        return self.range_failures > (1 if self.serves_ranges else 0)

    def contradicted_range(self) -> None:
        """Note an answer with fewer bytes than it says. The second one ends ranges, unless a piece of one was right."""
        if not self.verified:
            self.range_failures += 1
            self.serves_ranges = self.serves_ranges if self.range_failures == 1 else False

    def tried_whole(self, *, succeeded: bool) -> None:
        """Note what the request without a range came to that `begin_whole_try` asked for.

        Where it succeeded, the next failure of a range leads to the next one: the server may just have recovered.
        """
        self.range_failures = RANGE_FAILURES - 1 if succeeded else 0
        self.whole_tries += succeeded
        self._delivers_ranges, self.serves_ranges = False, None
        self._trying_whole = False


class LinkedFiles(HttpSource):
    """A server at URL whose files have URLs of their own, such as a package index, whose pages link them.

    FIND returns the URL of a file by its name, None if there is none; it may raise OSError.
    """

    def __init__(self, url: str, tier: Tier, find: Callable[[str], str | None]) -> None:
        super().__init__(url, tier)
        self._find = find
        self._urls: dict[str, str] = {}

    def file_url(self, name: str) -> str:
        """Return the URL of the file NAME; raise SourceError."""
        if name not in self._urls:
            try:
                url = self._find(name)
            except OSError as exc:
                permanent = 400 <= getattr(exc, "code", 0) < 500
                raise SourceError(f"{self.name}: {exc}", permanent=permanent) from exc
            if url is None:
                raise SourceError(f"{self.name} does not have {name}", permanent=True)
            self._urls[name] = url
        return self._urls[name]
