"""An HTTP mirror as an origin. The only room in which HTTP's inclusive ranges exist.

A status line is not believed: a 200 to a range, another Content-Range, a body that is short or too long are each
noticed by name. No validator (ETag, If-Range) is sent, since a digest is a stronger one than any a server can offer.
"""

import re
import threading
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import quote, urljoin, urlsplit, urlunsplit

import requests
from urllib3.exceptions import HTTPError, ReadTimeoutError

from fmnist_fetch import suspects
from fmnist_fetch.errors import SourceError
from fmnist_fetch.manifest import DataFile
from fmnist_fetch.sources import Tier
from fmnist_fetch.spans import Span
from fmnist_fetch.version import __version__

CONNECT_TIMEOUT = 5.0
READ_TIMEOUT = 5.0
REDIRECTS = 5
_MOST = 256 * 1024
_CONTENT_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)")
_TRANSIENT = {408, 425, 429}


class HttpMirror:
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

    def open(self) -> "HttpSource":
        """A connection of one's own."""
        return HttpSource(self)

    def file_url(self, name: str) -> str:
        """The URL of the file NAME; a query in the base URL (a token, say) stays at its end."""
        parts = urlsplit(self.url)
        return urlunsplit(parts._replace(path=parts.path.rstrip("/") + "/" + quote(name)))


class HttpSource:
    """One keep-alive connection to a mirror, and the answer that is being read from it."""

    pending = 0

    def __init__(self, mirror: HttpMirror) -> None:
        self.status: int | None = None
        self._mirror = mirror
        self._session = _session()
        self._lock = threading.Lock()
        self._stopped = False
        self._response: requests.Response | None = None
        self._file: DataFile | None = None
        self._span = Span(0, 0)
        self._decode = False

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
        self._session.close()

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
            self._span = self._accept(response, file, span)
        except SourceError:
            self._drop()
            raise
        self._file = file

    def _get(self, url: str, span: Span) -> requests.Response:
        headers = {"Range": f"bytes={span.start}-{span.stop - 1}"}
        timeout = (CONNECT_TIMEOUT, READ_TIMEOUT)
        self.status = None
        # Redirects are followed here: the library would read the whole body of each, however long it is.
        for _ in range(REDIRECTS + 1):
            if self._stopped:
                raise SourceError(f"{self._mirror.name}: stopped")
            try:
                response = self._session.get(url, headers=headers, stream=True, timeout=timeout, allow_redirects=False)
                target = self._session.get_redirect_target(response)
                if target is None:
                    self.status = response.status_code
                    return response
                response.close()
                url = urljoin(url, target)
            except (requests.RequestException, HTTPError, OSError, ValueError) as exc:
                raise self._translate(exc) from exc
        raise SourceError(f"{self._mirror.name} redirects in a circle", hint="Check the address of the mirror.")

    def _accept(self, response: requests.Response, file: DataFile, span: Span) -> Span:
        """The span of the file that the body of RESPONSE is; raises SourceError where it is of no use."""
        if response.status_code == 206:
            return self._partial(response, file, span)
        if response.status_code == 200:
            return self._whole(response, file, span)
        raise self._refusal(response, file)

    def _partial(self, response: requests.Response, file: DataFile, span: Span) -> Span:
        stated = response.headers.get("Content-Range", "")
        match = _CONTENT_RANGE.fullmatch(stated.strip())
        if not match or int(match[1]) != span.start or int(match[2]) < span.start:
            wanted = f"bytes {span.start}-{span.stop - 1}/{file.size}"
            raise SourceError(f"{self._mirror.name}: {file.name}: answered {stated or 'no range'}, wanted {wanted}")
        if match[3] not in ("*", str(file.size)):
            raise self._other_size(response, file, int(match[3]))
        if self._mirror.serves_ranges is None:
            self._mirror.serves_ranges = True
        got = Span(span.start, min(int(match[2]) + 1, span.stop))
        self._decode = _encoded(response) and response.headers.get("Content-Length") != str(
            int(match[2]) + 1 - got.start
        )
        return got

    def _whole(self, response: requests.Response, file: DataFile, span: Span) -> Span:
        length = response.headers.get("Content-Length", "")
        self._decode = _encoded(response) and length != str(file.size)
        if length.isdecimal() and int(length) != file.size and not self._decode:
            raise self._other_size(response, file, int(length))
        known, self._mirror.serves_ranges = self._mirror.serves_ranges, False
        if span.start > 0 and known is not False:
            raise SourceError(f"{self._mirror.name} ignores ranges: {file.name} comes from its start each time")
        return Span(0, file.size)

    def _receive(self, most: int) -> bytes:
        """The next bytes of the body, at least one, at most MOST; never past what was asked for."""
        response = self._response
        if response is None or self._stopped:
            raise SourceError(f"{self._mirror.name}: stopped")
        try:
            data: bytes = response.raw.read1(min(most, _MOST), decode_content=self._decode)
        except (HTTPError, requests.RequestException, OSError, ValueError, AttributeError) as exc:
            raise self._translate(exc) from exc
        if not data:
            raise SourceError(f"{self._mirror.name} hung up {self._span.length:,} bytes early")
        self._span = Span(self._span.start + len(data), self._span.stop)
        if not self._span.length:
            self._finish(response)
        return data

    def _finish(self, response: requests.Response) -> None:
        """Give the connection back for the next request; close it where the body goes on past its end."""
        with self._lock:
            self._response = None
        length = response.raw.length_remaining
        if length == 0 and not self._decode:
            with suppress(Exception):
                response.raw.release_conn()
                return
        response.close()

    def _drop(self) -> None:
        with self._lock:
            response, self._response = self._response, None
        if response is not None:
            with suppress(Exception):
                response.close()

    def _refusal(self, response: requests.Response, file: DataFile) -> SourceError:
        status = response.status_code
        facts = f"{self._mirror.name} answered {status} for {file.name}"
        if what := self._suspect(response, file):
            facts += f" ({what})"
        permanent = 400 <= status < 500 and status not in _TRANSIENT and status != 416
        hint = "Check the address of the mirror." if permanent else "Run the same command again; what arrived is kept."
        after = _retry_after(response.headers.get("Retry-After"))
        return SourceError(facts, hint=hint, permanent=permanent, retry_after=after, status=status)

    def _other_size(self, response: requests.Response, file: DataFile, size: int) -> SourceError:
        what = self._suspect(response, file, size) or "another file, or a part of it"
        facts = f"{self._mirror.name}: {file.name} has {size:,} bytes there, wanted {file.size:,}: {what}"
        return SourceError(facts, status=response.status_code)

    def _suspect(self, response: requests.Response, file: DataFile, size: int | None = None) -> str | None:
        """What the body of a wrong answer is, judged by its first bytes."""
        start = b""
        with suppress(Exception):
            start = response.raw.read1(1024, decode_content=True)
        return suspects.describe(start, file, size=size, content_type=response.headers.get("Content-Type", ""))

    def _translate(self, exc: Exception) -> SourceError:
        """The failure of a library as ours; the sentence says what happened in the words of the network."""
        text = str(exc)
        if isinstance(exc, requests.exceptions.SSLError):
            return SourceError(
                f"{self._mirror.name}: its certificate is not trusted ({_reason(text)})",
                hint="Behind a company's or school's proxy, set REQUESTS_CA_BUNDLE to its CA file.",
                permanent=True,
            )
        if isinstance(exc, (requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema)):
            return SourceError(f"{self._mirror.name}: not a usable URL", hint="Check the address.", permanent=True)
        if isinstance(exc, (requests.ReadTimeout, ReadTimeoutError, TimeoutError)) or "timed out" in text:
            return SourceError(f"{self._mirror.name} said nothing for {READ_TIMEOUT:g} s")
        for sign, meaning in _SIGNS:
            if sign in text:
                return SourceError(f"{self._mirror.name} {meaning}", hint=_NETWORK_HINT)
        return SourceError(f"{self._mirror.name}: the connection broke ({_reason(text) or type(exc).__name__})")


_NETWORK_HINT = "Check the network, then run the same command again; what arrived is kept."
_SIGNS = (
    ("NameResolutionError", "can't be found: its name does not resolve"),
    ("Failed to resolve", "can't be found: its name does not resolve"),
    ("Connection refused", "refuses connections"),
    ("unreachable", "can't be reached: no route to it"),
    ("No route to host", "can't be reached: no route to it"),
    ("ProxyError", "can't be reached through the proxy that is set"),
    ("Connection reset", "reset the connection"),
    ("without response", "hung up without an answer"),
)


def redact(url: str) -> str:
    """URL without what may be secret: user, password, and the values of a query."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    netloc = f"***@{host}" if "@" in parts.netloc else host
    return urlunsplit(parts._replace(netloc=netloc, query="***" if parts.query else "", fragment=""))


def _session() -> requests.Session:
    session = requests.Session()
    session.headers.update({"User-Agent": f"fmnist-fetch/{__version__}", "Accept-Encoding": "identity"})
    return session


def _encoded(response: requests.Response) -> bool:
    return response.headers.get("Content-Encoding", "identity").strip().lower() != "identity"


def _retry_after(value: str | None) -> float | None:
    """Retry-After in seconds from now, or None; a number or an HTTP date (RFC 9110, section 10.2.3)."""
    if not value:
        return None
    if value.strip().isdecimal():
        return float(value.strip()[:9])
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())


def _reason(text: str) -> str:
    """The kernel of a nested library message."""
    match = re.search(r"\[[A-Z0-9_: ]+\] ([^(\"']+)|certificate verify failed[^(\"']*", text)
    return (match[0] if match else text)[:120].strip()
