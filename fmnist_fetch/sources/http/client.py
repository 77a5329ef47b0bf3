"""HTTP requests through the requests library, one after the other on connections that are kept alive."""

import http.client
import os
import re
import socket
import string
from collections.abc import Callable
from contextlib import ExitStack, suppress
from functools import partial
from http.cookiejar import DefaultCookiePolicy
from pathlib import Path
from typing import Any
from urllib.parse import quote, urljoin, urlsplit, urlunsplit

import requests
import urllib3
from requests.adapters import HTTPAdapter
from requests.utils import select_proxy
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError

from fmnist_fetch import __version__
from fmnist_fetch.sources.http.sockets import HeadReader, Wire, connect

_REDIRECTS = (300, 301, 302, 303, 307, 308)
HEADERS = {"User-Agent": f"fmnist-fetch/{__version__}", "Accept-Encoding": "identity"}


class Client:
    """A session for one thread, on the sockets that WIRE knows.

    A server that nobody named (STRANGER) gets no login of the user, is asked without a proxy, and redirects nobody: it
    must not make this machine send requests to others.
    """

    def __init__(self, wire: Wire, *, stranger: bool = False) -> None:
        self._wire = wire
        self._follows = not stranger
        self._session = _Session()
        self._session.trust_env = not stranger
        self._session.headers.update(HEADERS)
        # No cookie is kept: a server that sets many makes every request longer, and a mirror has no use for any.
        self._session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, _Adapter(wire))
        self._prepared: dict[tuple[str, str], tuple[requests.PreparedRequest, Any]] = {}

    def get(self, url: str, wanted: str | None) -> requests.Response:
        """Ask for the range WANTED of URL, or for all of it; read no body, and follow no redirect.

        Raises as requests does; FileNotFoundError where a CA bundle is named that is not there.
        """
        request, settings = self._prepare(url)
        if wanted is not None:
            request.headers["Range"] = wanted
        self._wire.requested = False
        limit = self._wire.timeout_s
        return self._session.send(request, timeout=(limit, limit), allow_redirects=False, **settings)

    def redirect_target(self, url: str, response: requests.Response) -> str | None:
        """Return the URL to which RESPONSE for URL redirects, or None; a login stays within its host."""
        location = response.headers.get("Location", "").strip()
        if not self._follows or response.status_code not in _REDIRECTS or not location:
            return None
        target = urljoin(url, _text(location))
        old, new = urlsplit(url), urlsplit(target)
        login, at, _ = old.netloc.rpartition("@")
        leaves = self._session.should_strip_auth(url, target)  # type: ignore[no-untyped-call]
        if at and "@" not in new.netloc and not leaves:
            target = urlunsplit(new._replace(netloc=f"{login}@{new.netloc}"))
        return target

    def proxy_of(self, url: str) -> str | None:
        """Return the URL of the proxy through which URL is asked for."""
        with suppress(Exception):
            return select_proxy(url, self._settings(url)["proxies"])
        return None

    def bundle_of(self, url: str) -> str | None:
        """Return the path of the CA bundle that the environment names."""
        with suppress(Exception):
            verify = self._settings(url)["verify"]
            return verify if isinstance(verify, str) else None
        return None

    def hang_up(self) -> None:
        """Close the connections that are kept alive, now: the session's own close leaves that to the collector."""
        for adapter in self._session.adapters.values():
            if isinstance(adapter, HTTPAdapter):
                for pools in (adapter.poolmanager.pools, *(proxy.pools for proxy in adapter.proxy_manager.values())):
                    for key in pools.keys():  # noqa: SIM118 - it is no dict, and can't be iterated over
                        if (pool := pools.get(key)) is not None:
                            pool.close()
        self._session.close()

    def _prepare(self, url: str) -> tuple[requests.PreparedRequest, Any]:
        """Return the request for URL, with the settings of the environment: proxies, certificates, .netrc.

        The environment is looked at once for each server: that takes longer than a small file does.
        """
        server = urlsplit(url)[:2]
        if server not in self._prepared:
            prepared = self._request(url)
            self._prepared[server] = prepared, self._settings(prepared.url or url)
        prepared, settings = self._prepared[server]
        request = prepared.copy()
        request.prepare_url(url, None)
        return request, settings

    def _request(self, url: str) -> requests.PreparedRequest:
        try:
            return self._session.prepare_request(requests.Request("GET", url))
        except UnicodeDecodeError:
            # A .netrc that is no text: requests ignores one with any other fault.
            self._session.trust_env = False
            request = self._session.prepare_request(requests.Request("GET", url))
            self._session.trust_env = True
            return request

    def _settings(self, url: str) -> Any:
        """Return what the environment says of the server of URL, in the spellings that requests understands."""
        settings = self._session.merge_environment_settings(url, {}, True, None, None)
        proxies = {scheme: _proxy(text) for scheme, text in settings["proxies"].items()}
        settings["proxies"] = {scheme: proxy for scheme, proxy in proxies.items() if proxy}
        if settings["verify"] is True:
            # As OpenSSL, curl and Python's ssl do.
            named = (os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR"))
            settings["verify"] = next((path for path in named if path and Path(path).exists()), True)
        return settings


def _proxy(text: str) -> str:
    """Return the proxy that TEXT can mean, if any; desktops write socks:// for one that resolves names itself."""
    return re.sub(r"\Asocks://", "socks5h://", text.strip(" \t\"'"), flags=re.IGNORECASE)


def _text(location: str) -> str:
    """Return LOCATION, a field of bytes, as text: UTF-8, or bytes that are percent-encoded one by one."""
    raw = location.encode("latin-1")
    with suppress(UnicodeDecodeError):
        return raw.decode()
    return quote(raw, safe=string.punctuation)


class _Session(requests.Session):
    """A session that looks at no redirect, which may be nonsense: its user follows them."""

    def get_redirect_target(self, resp: requests.Response) -> str | None:  # noqa: ARG002
        """Return None: there is none to follow."""
        return None


class _Adapter(HTTPAdapter):
    """Makes connections on the sockets that a wire knows, with a limit for each of their stages."""

    def __init__(self, wire: Wire) -> None:
        self._pools: dict[str, Callable[..., HTTPConnectionPool]] = {
            "http": partial(_pool, HTTPConnectionPool, _Http, wire),
            "https": partial(_pool, HTTPSConnectionPool, _Https, wire),
        }
        super().__init__()

    def init_poolmanager(self, *args: Any, **settings: Any) -> None:
        """Make the pool manager of direct connections."""
        super().init_poolmanager(*args, **settings)
        self.poolmanager.pool_classes_by_scheme = self._pools

    def proxy_manager_for(self, proxy: str, **settings: Any) -> Any:
        """Make the pool manager of connections through PROXY; SOCKS has connections of its own."""
        manager = super().proxy_manager_for(proxy, **settings)
        if isinstance(manager, urllib3.ProxyManager):
            manager.pool_classes_by_scheme = self._pools  # type: ignore[assignment]
        return manager


def _pool(kind: Callable[..., Any], connection: Callable[..., Any], wire: Wire, *args: Any, **settings: Any) -> Any:
    pool = kind(*args, **settings)
    pool.ConnectionCls = partial(connection, wire)
    return pool


class _Response(http.client.HTTPResponse):
    """An answer whose whole head must come in time, and whose cookies nobody reads."""

    fp: Any

    def __init__(self, sock: Any, *args: Any, timeout_s: float, **settings: Any) -> None:
        super().__init__(sock, *args, **settings)
        self._head: Any = HeadReader(self.fp, sock, timeout_s)
        self.fp = self._head

    def begin(self) -> None:
        """Read the head."""
        super().begin()
        del self.headers["Set-Cookie"]
        if self.fp is self._head:
            self.fp = self._head.stored

    def _read_status(self) -> tuple[str, int, str]:
        """Read a status line; informational answers that http.client takes for the answer are skipped."""
        version, status, reason = super()._read_status()  # type: ignore[misc]
        while http.client.SWITCHING_PROTOCOLS < status < http.client.OK:
            http.client.parse_headers(self.fp)
            version, status, reason = super()._read_status()  # type: ignore[misc]
        return version, status, reason


class _Connects(HTTPConnection):
    """A connection whose socket its wire knows."""

    def __init__(self, wire: Wire, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self._wire = wire
        self._response: _Response | None = None

    def _new_conn(self) -> Any:
        # The same exceptions as urllib3's own method has, with the cause in their chain.
        try:
            sock = connect(self._dns_host, self.port, self._wire, self.socket_options or ())
        except TimeoutError as exc:
            raise ConnectTimeoutError(self, str(exc)) from exc
        except OSError as exc:
            if isinstance(exc, socket.gaierror):
                raise NameResolutionError(self.host, self, exc) from exc
            raise NewConnectionError(self, str(exc)) from exc
        try:
            self._wire.opened(self._handle(sock))
        except OSError:
            sock.close()
            raise
        return sock

    def _handle(self, sock: socket.socket) -> socket.socket:
        """Return that by which the wire can shut SOCK down."""
        return sock

    def connect(self) -> None:
        """Connect, and make the socket known that TLS has made of the first one."""
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


class _Http(_Connects):
    """HTTP."""


class _Https(_Connects, HTTPSConnection):
    """HTTP over TLS."""

    def connect(self) -> None:
        """Connect; the handshake can be ended from another thread too."""
        with ExitStack() as self._handles:
            super().connect()

    def _handle(self, sock: socket.socket) -> socket.socket:
        # TLS takes the descriptor away from the socket.
        return self._handles.enter_context(sock.dup())
