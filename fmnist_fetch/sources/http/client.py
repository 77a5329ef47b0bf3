"""Send requests, one after the other on connections that are kept alive, and get the heads of their answers.

What the environment says of proxies, logins and certificates is read once for each server. A request is sent by an
adapter of requests alone, without a session, which would look at cookies, hooks and redirects each time.
"""

import os
import re
import string
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from functools import partial
from http import HTTPStatus
from http.client import HTTPResponse, parse_headers
from io import BufferedReader
from pathlib import Path
from queue import Empty
from socket import gaierror, socket
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urljoin, urlsplit, urlunsplit

import requests
from requests.adapters import HTTPAdapter
from requests.utils import select_proxy
from urllib3 import BaseHTTPResponse
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError

from fmnist_fetch import __version__
from fmnist_fetch.errors import CHECK_ADDRESS, SourceError
from fmnist_fetch.manifest.pieces import Span
from fmnist_fetch.sources.base import Tier
from fmnist_fetch.sources.http.sockets import HeadStream, Wire, connect
from fmnist_fetch.sources.mirror import origin, redact

if TYPE_CHECKING:
    from fmnist_fetch.sources.http.source import HttpSource

MAX_REDIRECTS = 10
MAX_SERVERS = 8
_FIRST_RECEIVE_BYTES = 128 * 1024
"""Bytes that come with the head of an answer at most: with the usual 8 KiB, a small file would take two receives."""
_REDIRECTS = (300, 301, 302, 303, 307, 308)
_HEADERS = {"User-Agent": f"fmnist-fetch/{__version__}", "Accept-Encoding": "identity"}


class Client(Wire):
    """The requests of one worker to the server of SOURCE, and to those to which it redirects.

    A server that nobody named (one that the local network announces) gets no login of the user, is asked without a
    proxy, and redirects nobody: it must not make this machine send requests to others.

    Attributes:
        status: The status of the last answer, if there was one.
        note: A sentence for the log, which the caller removes.
        requested: Whether the request under way has been sent, so that its answer is waited for.
        redirected: Whether a redirect led to the last answer, which then says nothing lasting about the mirror.
        place: Where the last answer came from, for messages.
    """

    def __init__(self, source: "HttpSource") -> None:
        super().__init__()
        self.status: int | None = None
        self.note: str | None = None
        self.requested = self.redirected = False
        self.place = source.name
        self._source = source
        self._session = requests.Session()
        self._session.trust_env = source.tier is not Tier.LAN
        self._session.headers.update(_HEADERS)
        self._adapters: dict[tuple[str, ...], _Adapter] = {}
        self._kept_alive = False

    def request(self, url: str, span: Span | None) -> BaseHTTPResponse:
        """Ask for SPAN of URL, or for all of it; follow redirects, and read no body; raise SourceError."""
        self.status, hops = None, 0
        while hops <= MAX_REDIRECTS:
            if self.stopped:
                raise SourceError(f"{self._source.name}: stopped")
            self.redirected = hops > 0
            self.place = f"{self._source.name} (redirected to {origin(url)})" if hops else self._source.name
            if self._kept_alive and not self._source.keeps_alive:
                self.hang_up()
            kept_alive, self._kept_alive, self.requested = self._kept_alive, False, False
            try:
                adapter, limits = self._adapter(url), (self.timeout_s, self.timeout_s)
                request = adapter.prepare(url, span)
                response = adapter.send(request, stream=True, timeout=limits, **adapter.settings).raw
                if (target := self._follow(url, response)) is None:
                    self.status = response.status
                    return response
                url, hops = target, hops + 1
            except SourceError:
                raise
            except Exception as exc:
                if kept_alive and isinstance(exc, requests.ConnectionError) and not self.stopped:
                    # Once more at once: servers close idle connections when they like (RFC 9112, section 9.3.1), and
                    # that says nothing against them.
                    self.hang_up()
                    continue
                if kept_alive and isinstance(exc, requests.ReadTimeout):
                    self._source.keeps_alive = False
                error = self.translate(exc, url)
                # Where a redirect leads to may be another place in a moment; a login page does such things.
                error.permanent = error.permanent and not hops
                raise error from exc
        facts = f"{self._source.name} redirects in a circle, or more than {MAX_REDIRECTS} times"
        raise SourceError(facts, hint=CHECK_ADDRESS)

    def _follow(self, url: str, response: BaseHTTPResponse) -> str | None:
        """Return the URL to which RESPONSE for URL redirects, if it does; raise SourceError if a proxy refuses."""
        target = self.redirect_target(url, response)
        refused = target is None and response.status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED
        if target or refused:
            # Not read: it may be as long as it likes.
            response.close()
        if refused:
            from fmnist_fetch.sources.http.failures import refused_by_proxy

            raise refused_by_proxy(self._source.name, self.surroundings(url)[0])
        if target and url.lower().startswith("https:") and target.lower().startswith("http:"):
            if not self._source.told_downgrade:
                place = origin(target)
                self.note = f"{self._source.name} redirects from https to {place}; the digests verify what comes"
            self._source.told_downgrade = True
        return target

    def redirect_target(self, url: str, response: BaseHTTPResponse) -> str | None:
        """Return the URL to which RESPONSE for URL redirects, or None; a login stays within its host."""
        location = response.headers.get("Location", "").strip()
        if self._source.tier is Tier.LAN or response.status not in _REDIRECTS or not location:
            return None
        with suppress(ValueError):
            target = urljoin(url, _text(location))
            old, new = urlsplit(url), urlsplit(target)
            login, at, _ = old.netloc.rpartition("@")
            leaves = self._session.should_strip_auth(url, target)  # type: ignore[no-untyped-call]
            if at and "@" not in new.netloc and not leaves:
                target = urlunsplit(new._replace(netloc=f"{login}@{new.netloc}"))
            location = target
            if new.scheme in ("http", "https"):
                return target
        response.close()
        facts = f"{self.place} redirects to what is no usable URL: {redact(location)[:80]}"
        raise SourceError(facts, hint=CHECK_ADDRESS)

    def surroundings(self, url: str) -> tuple[str | None, str | None]:
        """Return the URL of the proxy through which URL is asked for, and the path of the CA bundle that is set."""
        with suppress(Exception):
            settings = self._settings(url)
            verify = settings["verify"]
            return select_proxy(url, settings["proxies"]), verify if isinstance(verify, str) else None
        return None, None

    def translate(self, exc: Exception, url: str) -> SourceError:
        """Return the error of a request for URL that failed with EXC."""
        from fmnist_fetch.sources.http.failures import translate  # where nothing fails, nobody waits for it

        proxy, bundle = self.surroundings(url)
        return translate(exc, self.place, proxy=proxy, bundle=bundle)

    def hang_up(self) -> None:
        """Close the connections that are kept alive, now: a pool's own close would be its end."""
        self._kept_alive = False
        for adapter in self._adapters.values():
            with suppress(AttributeError, Empty):
                while True:
                    if connection := adapter.pool.pool.get_nowait():
                        connection.close()

    def _adapter(self, url: str) -> "_Adapter":
        """Return what sends requests to the server of URL.

        The environment is looked at once for each server: that takes longer than a small file does.
        """
        server = urlsplit(url)[:2]
        if server not in self._adapters:
            if len(self._adapters) == MAX_SERVERS:
                # Each redirect may lead to another server, and each keeps a connection open.
                self.hang_up()
                self._adapters.clear()
            prepared = self._prepared(url)
            self._adapters[server] = _Adapter(self, prepared.headers, self._settings(prepared.url or url))
        return self._adapters[server]

    def _prepared(self, url: str) -> requests.PreparedRequest:
        """Return the request for URL, with the login of the URL or of .netrc."""
        request = requests.Request("GET", url)
        try:
            return self._session.prepare_request(request)
        except UnicodeDecodeError:
            # A .netrc that is no text: requests ignores one with any other fault.
            self._session.trust_env = False
            prepared = self._session.prepare_request(request)
            self._session.trust_env = True
            return prepared

    def _settings(self, url: str) -> dict[str, Any]:
        """Return what the environment says of the server of URL, in the spellings that requests understands."""
        found = self._session.merge_environment_settings(url, {}, True, None, None)
        proxies = {scheme: proxy for scheme, text in found["proxies"].items() if (proxy := _proxy(text))}
        verify = found["verify"]
        if verify is True:
            # As OpenSSL, curl and Python's ssl do.
            named = (os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR"))
            verify = next((path for path in named if path and Path(path).exists()), True)
        return {"proxies": proxies, "verify": verify, "cert": found["cert"]}


def _proxy(text: str) -> str:
    """Return the proxy that TEXT can mean, if any; desktops write socks:// for one that resolves names itself."""
    return re.sub(r"\Asocks://", "socks5h://", text.strip(" \t\"'"), flags=re.IGNORECASE)


def _text(location: str) -> str:
    """Return LOCATION, a field of bytes, as text: UTF-8, or bytes that are percent-encoded one by one."""
    raw = location.encode("latin-1")
    with suppress(UnicodeDecodeError):
        return raw.decode()
    return quote(raw, safe=string.punctuation)


class _Adapter(HTTPAdapter):
    """Sends requests with HEADERS to one server, with SETTINGS for `send`, on connections whose sockets WIRE knows."""

    def __init__(self, wire: Client, headers: Mapping[str, str], settings: dict[str, Any]) -> None:
        super().__init__()
        self.settings = settings
        self.pool: Any = None
        self._headers = dict(headers)
        self._wire = wire

    def prepare(self, url: str, span: Span | None) -> requests.PreparedRequest:
        """Return the request for SPAN of URL, or for all of it."""
        request = requests.PreparedRequest()
        request.prepare_url(url, None)
        request.method = "GET"
        # The dictionary of requests would fold the case of every name each time.
        fields: Any = dict(self._headers)
        if span is not None:
            fields["Range"] = f"bytes={span.start}-{span.stop - 1}"
        request.headers = fields
        return request

    def get_connection_with_tls_context(self, *args: Any, **settings: Any) -> Any:
        """Return the pool of connections to the server, which is always the same one."""
        if self.pool is None:
            self.pool = super().get_connection_with_tls_context(*args, **settings)
            kind = self.pool.ConnectionCls
            # SOCKS connects in its own way.
            bases = (_Wired, _Direct, kind) if kind in (HTTPConnection, HTTPSConnection) else (_Wired, kind)
            self.pool.ConnectionCls = partial(type(kind.__name__, bases, {}), self._wire)
        return self.pool

    def build_response(self, req: requests.PreparedRequest, resp: Any) -> requests.Response:
        """Return a response with what is looked at here: a copy of the header fields, and cookies, take their time."""
        response = requests.Response()
        response.request, response.raw = req, resp
        return response


class _Response(HTTPResponse):
    """An answer whose whole head must come in time, and whose cookies nobody reads."""

    def __init__(self, sock: Any, *args: Any, timeout_s: float, **settings: Any) -> None:
        super().__init__(sock, *args, **settings)
        self._stream = HeadStream(self.fp.detach(), sock, timeout_s)
        self.fp = BufferedReader(self._stream, _FIRST_RECEIVE_BYTES)

    def begin(self) -> None:
        """Read the head."""
        super().begin()
        del self.headers["Set-Cookie"]
        self._stream.in_head = False

    def _read_status(self) -> tuple[str, int, str]:
        """Read a status line; informational answers that http.client takes for the answer are skipped."""
        version, status, reason = super()._read_status()  # type: ignore[misc]
        while HTTPStatus.SWITCHING_PROTOCOLS < status < HTTPStatus.OK:
            parse_headers(self.fp)
            version, status, reason = super()._read_status()  # type: ignore[misc]
        return version, status, reason


class _Wired(HTTPConnection):
    """A connection whose socket a client knows."""

    def __init__(self, wire: Client, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self._wire = wire
        self._response: _Response | None = None

    def _new_conn(self) -> Any:
        sock = super()._new_conn()
        try:
            # TLS takes the descriptor away from the socket; the handshake can be ended from another thread too.
            is_tls = isinstance(self, HTTPSConnection)
            self._wire.opened(self._handles.enter_context(sock.dup()) if is_tls else sock)
        except OSError:
            sock.close()
            raise
        return sock

    def connect(self) -> None:
        """Connect, and make the socket known that TLS has made of the first one."""
        with ExitStack() as self._handles:
            super().connect()
            self._wire.opened(self.sock)

    def response_class(self, *args: Any, **settings: Any) -> Any:  # type: ignore[override]
        """Make what reads an answer, that of a proxy too: there is a limit for its whole head."""
        self._response = _Response(*args, timeout_s=self._wire.timeout_s, **settings)
        return self._response

    def getresponse(self) -> Any:
        """Get the head of the answer."""
        self._wire.requested = True
        sock = self.sock
        try:
            response = super().getresponse()
        except BaseException:
            # urllib3 may find a fault in a head that http.client has accepted; its file would keep the socket open.
            if self._response is not None:
                self._response.close()
            raise
        self._wire.stages += 1
        sock.settimeout(self._wire.timeout_s)
        return response


class _Direct(HTTPConnection):
    """A connection that tries all addresses of its host."""

    _wire: Client

    def _new_conn(self) -> socket:
        # The same exceptions as urllib3's own method has, with the cause in their chain.
        try:
            return connect(self._dns_host, self.port, self._wire, self.socket_options or ())
        except TimeoutError as exc:
            raise ConnectTimeoutError(self, str(exc)) from exc
        except gaierror as exc:
            raise NameResolutionError(self.host, self, exc) from exc
        except OSError as exc:
            raise NewConnectionError(self, str(exc)) from exc
