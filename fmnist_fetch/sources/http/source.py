"""Mirrors: what is known of a server, for all connections to it."""

from collections.abc import Callable
from urllib.parse import quote, urlsplit, urlunsplit

from fmnist_fetch.errors import SourceError
from fmnist_fetch.sources.base import Tier
from fmnist_fetch.sources.http.connection import HttpConnection
from fmnist_fetch.sources.http.ranges import RangeSupport
from fmnist_fetch.sources.mirror import redact


class HttpSource(RangeSupport):
    """The mirror at the base URL; it remembers what it learns of the server, for all connections to it.

    Attributes:
        keeps_alive: Whether a connection is of use for a second request.
        told_downgrade: Whether the log has it that a redirect leaves https.
        coding_is_label: Whether a content coding without a length is a label only, and nothing must be removed.
    """

    def __init__(self, url: str, tier: Tier) -> None:
        super().__init__()
        self.url = url
        self.name = redact(url)
        self.tier = tier
        self.keeps_alive = True
        self.told_downgrade = False
        # Of a .gz file that is by far the more frequent case.
        self.coding_is_label = True

    @property
    def connections(self) -> int | None:
        """Any number once it has served a range; before, or where it ignores them, one.

        Where ranges are ignored, every further connection would get the file from its start.
        """
        return None if self.serves_ranges else 1

    def open(self) -> "HttpConnection":
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


class LinkedFiles(HttpSource):
    """A server at URL whose files have URLs of their own, such as a package index, whose pages link them.

    Args:
        url: The URL for messages.
        tier: When it is asked.
        find: Returns the URL of a file by its name, None if there is none; may raise OSError.
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
