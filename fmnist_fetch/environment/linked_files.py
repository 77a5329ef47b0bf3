"""Files of which each has a URL of its own, as the page of a package index links them."""

from collections.abc import Callable
from urllib.error import HTTPError

from fmnist_fetch.errors import SourceError
from fmnist_fetch.sources.base import Tier
from fmnist_fetch.sources.http import HttpSource


class LinkedFiles(HttpSource):
    """A server at URL of which FIND tells where a file is; None where it has none. FIND may raise OSError."""

    def __init__(self, url: str, tier: Tier, find: Callable[[str], str | None]) -> None:
        super().__init__(url, tier)
        self._find = find
        self._found: dict[str, str] = {}

    def file_url(self, name: str) -> str:
        """Return the URL of the file NAME; raise SourceError."""
        if name not in self._found:
            try:
                url = self._find(name)
            except OSError as exc:
                permanent = isinstance(exc, HTTPError) and 400 <= exc.code < 500
                raise SourceError(f"{self.name}: {exc}", permanent=permanent) from exc
            if url is None:
                raise SourceError(f"{self.name} has no such {name}", permanent=True)
            self._found[name] = url
        return self._found[name]
