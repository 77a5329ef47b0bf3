"""An HTTP mirror as an origin. HTTP's inclusive ranges exist only here and in answers.py.

A body is never read past the span asked for. No validator (ETag, If-Range) is sent: a digest is a stronger one than any
that a server can offer.
"""

import threading
from contextlib import suppress
from urllib.parse import quote, urljoin, urlsplit, urlunsplit

import requests
from urllib3.exceptions import HTTPError

from fmnist_fetch.errors import SourceError
from fmnist_fetch.manifest.model import DataFile
from fmnist_fetch.manifest.pieces import Span
from fmnist_fetch.sources.base import STAGE_TIMEOUT_S, Tier
from fmnist_fetch.sources.diagnosis import LOGIN_PAGE, looks_like_page, translate
from fmnist_fetch.sources.http_client import Client
from fmnist_fetch.sources.http_response import judge

REDIRECTS = 5
_MOST = 1024 * 1024
"""Bytes that one receive takes at most: each costs the worker the same, and all others who wait for the interpreter."""


class HttpSource:
    """The mirror at the base URL; it remembers what it learns of the server, for all connections to it."""

    def __init__(self, url: str, tier: Tier) -> None:
        self.url = url
        self.name = redact(url)
        self.tier = tier
        self.serves_ranges: bool | None = None

    @property
    def connections(self) -> int | None:
        """Any number once it has served a range; before, or where it ignores them, one.

        Where ranges are ignored, every further connection would get the file from its start.
        """
        return None if self.serves_ranges else 1

    def open(self) -> "HttpConnection":
        """A connection of one's own."""
        return HttpConnection(self)

    def file_url(self, name: str) -> str:
        """The URL of the file NAME; a query in the base URL (a token, say) stays at its end."""
        parts = urlsplit(self.url)
        return urlunsplit(parts._replace(path=parts.path.rstrip("/") + "/" + quote(name)))


class HttpConnection:
    """One keep-alive connection to a mirror, and the answer that is being read from it."""

    pending = 0

    def __init__(self, mirror: HttpSource) -> None:
        self.status: int | None = None
        self.oddity: str | None = None
        self.timeout_s = STAGE_TIMEOUT_S
        self.stages = 0
        self._mirror = mirror
        self._client = Client()
        self._lock = threading.Lock()
        self._stopped = False
        self._response: requests.Response | None = None
        self._file: DataFile | None = None
        self._span = Span(0, 0)
        self._decode = False
        self._fresh = False
        self._kept_alive = False

    def read(self, file: DataFile, span: Span) -> bytes:
        """Bytes of FILE from span.start on, as many as one receive brings; raises SourceError.

        Goes on with the answer under way where that continues at span.start, else asks for SPAN anew.
        """
        if not self._continues(file, span):
            self._drop()
            self._ask(file, span)
        try:
            while self._span.start < span.start:
                # The server ignores ranges: what comes before is read and thrown away.
                self._receive(span.start - self._span.start)
            return self._receive(span.stop - self._span.start)
        except BaseException:
            self._drop()
            raise

    def stop(self) -> None:
        """End a read under way by shutting its socket down."""
        self._stopped = True
        with self._lock:
            response = self._response
        if response is not None:
            with suppress(Exception):
                response.raw.shutdown()

    def close(self) -> None:
        """Close the connection."""
        self._drop()
        self._client.hang_up()

    def _continues(self, file: DataFile, span: Span) -> bool:
        here = self._span
        if self._response is None or self._file is not file or not here.start <= span.start < here.stop:
            return False
        return here.start == span.start or self._mirror.serves_ranges is False

    def _ask(self, file: DataFile, span: Span) -> None:
        response = self._get(self._mirror.file_url(file.name), span)
        with self._lock:
            self._response = response
        try:
            self._span, self._decode, self.oddity = judge(response, self._mirror.name, file, span)
            self._note_ranges(response, file, span)
        except BaseException:
            self._drop()
            raise
        self._file = file
        self._fresh = True

    def _note_ranges(self, response: requests.Response, file: DataFile, span: Span) -> None:
        """Remember whether the server serves ranges; raises SourceError at the first surprise that it does not."""
        known = self._mirror.serves_ranges
        if response.status_code == 200:
            self._mirror.serves_ranges = False
            if span.start > 0 and known is not False:
                raise SourceError(f"{self._mirror.name} ignores ranges: {file.name} comes from its start each time")
        else:
            self._mirror.serves_ranges = True

    def _get(self, url: str, span: Span) -> requests.Response:
        self.status = None
        # Redirects are followed here: the library would read the whole body of each, however long it is.
        for hop in range(REDIRECTS + 1):
            if self._stopped:
                raise SourceError(f"{self._mirror.name}: stopped")
            try:
                response = self._exchange(url, span)
                target = self._client.redirect_target(response)
                if target is None:
                    self.status = response.status_code
                    return response
                response.close()
                url = urljoin(url, target)
            except (requests.RequestException, HTTPError, OSError, ValueError) as exc:
                error = translate(exc, self._mirror.name)
                # Where a redirect leads to may be another place in a moment; a login page does such things.
                error.permanent = error.permanent and hop == 0
                raise error from exc
        raise SourceError(f"{self._mirror.name} redirects in a circle", hint="Check the address of the mirror.")

    def _exchange(self, url: str, span: Span) -> requests.Response:
        """One request; once more at once if a connection that was kept alive turns out to be dead.

        Servers close idle connections when they like (RFC 9112, section 9.3.1), and that says nothing against them.
        """
        wanted = f"bytes={span.start}-{span.stop - 1}"
        while True:
            kept_alive, self._kept_alive = self._kept_alive, False
            try:
                return self._client.get(url, wanted, (self.timeout_s, self.timeout_s))
            except requests.ConnectionError:
                if not kept_alive or self._stopped:
                    raise
                self._client.hang_up()

    def _receive(self, most: int) -> bytes:
        """The next bytes of the body, at least one, at most MOST; never past what was asked for."""
        response = self._response
        if response is None or self._stopped:
            raise SourceError(f"{self._mirror.name}: stopped")
        try:
            data: bytes = response.raw.read1(min(most, _MOST), decode_content=self._decode)
        except (HTTPError, requests.RequestException, OSError, ValueError, AttributeError) as exc:
            raise translate(exc, self._mirror.name) from exc
        if not data:
            raise SourceError(f"{self._mirror.name} hung up {self._span.length:,} bytes early")
        if self._fresh:
            self._check_beginning(response, data)
        self._span = Span(self._span.start + len(data), self._span.stop)
        if not self._span.length:
            self._finish(response)
        return data

    def _check_beginning(self, response: requests.Response, data: bytes) -> None:
        """Raise SourceError if a body that should be the file's begins as a page: no wrong bytes, but no answer."""
        self._fresh = False
        typed = response.headers.get("Content-Type", "").startswith("text/html")
        if (typed or self._span.start == 0) and looks_like_page(data):
            facts, hint = f"{self._mirror.name}: {LOGIN_PAGE}", "Log in to the network with a browser, then run again."
            raise SourceError(facts, hint=hint, telling=2)

    def _finish(self, response: requests.Response) -> None:
        """Give the connection back for the next request; close it where the body goes on past its end."""
        with self._lock:
            self._response = None
        length = response.raw.length_remaining
        if length == 0 and not self._decode:
            with suppress(Exception):
                # Nothing is left to drain, but it is this that lets go of the socket's file object; without it, closing
                # the connection later would wait for the garbage collector.
                response.raw.drain_conn()
                response.raw.release_conn()
                self._kept_alive = True
                return
        response.close()

    def _drop(self) -> None:
        with self._lock:
            response, self._response = self._response, None
        if response is not None:
            with suppress(Exception):
                response.close()


def redact(url: str) -> str:
    """URL without what may be secret: user, password, and the values of a query."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    netloc = f"***@{host}" if "@" in parts.netloc else host
    return urlunsplit(parts._replace(netloc=netloc, query="***" if parts.query else "", fragment=""))
