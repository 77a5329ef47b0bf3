"""HTTP requests, one after the other on connections that are kept alive.

requests reads the environment (proxies, certificates, .netrc), once for each server; urllib3, on which it stands, then
does the requests: to a small file, what requests does anew for each would be most of the time that it takes.
"""

from typing import Any, NamedTuple
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from requests.cookies import extract_cookies_to_jar
from urllib3 import BaseHTTPResponse, Timeout

from fmnist_fetch.version import __version__

HEADERS = {"User-Agent": f"fmnist-fetch/{__version__}", "Accept-Encoding": "identity"}


class _Server(NamedTuple):
    """How the environment has a server asked: connections, headers, and what stands before the path for a proxy."""

    pool: Any
    request: requests.PreparedRequest
    headers: dict[str, str]
    prefix: str


class _Adapter(HTTPAdapter):
    def server(self, session: requests.Session, url: str) -> _Server:
        request = session.prepare_request(requests.Request("GET", url))
        settings = session.merge_environment_settings(request.url, {}, True, None, None)
        verify, proxies, cert = settings["verify"], settings["proxies"], settings["cert"]
        pool = self.get_connection_with_tls_context(request, verify, proxies, cert)
        self.cert_verify(pool, request.url, verify, cert)  # type: ignore[no-untyped-call]
        prefix = self.request_url(request, proxies).removesuffix(request.path_url)
        return _Server(pool, request, dict(request.headers), prefix)


class Client:
    """The connections of one thread."""

    def __init__(self) -> None:
        self._session = requests.Session()
        self._session.headers.update(HEADERS)
        self._adapter = _Adapter()
        self._servers: dict[str, _Server] = {}

    def get(self, url: str, wanted: str, timeout: Timeout) -> BaseHTTPResponse:
        """Ask for the range WANTED of URL; the body is left to be read, and a redirect to be followed.

        Raises as urllib3 does, and RequestException for a URL that is none.
        """
        parts = urlsplit(url)
        origin = f"{parts.scheme}://{parts.netloc}"
        server = self._servers.get(origin) or self._adapter.server(self._session, url)
        self._servers[origin] = server
        path = url[len(origin) :]
        response: BaseHTTPResponse = server.pool.urlopen(
            "GET",
            server.prefix + (path if path.startswith("/") else f"/{path}"),
            headers=server.headers | {"Range": wanted},
            timeout=timeout,
            retries=False,
            redirect=False,
            assert_same_host=False,
            preload_content=False,
            decode_content=False,
        )
        if "Set-Cookie" in response.headers:
            extract_cookies_to_jar(self._session.cookies, server.request, response)  # type: ignore[no-untyped-call]
            # The next request is to bring them.
            self._servers.clear()
        return response

    def hang_up(self) -> None:
        """Close the connections that are kept alive, now: the adapter's own close leaves that to the collector."""
        for server in self._servers.values():
            server.pool.close()
        self._servers.clear()
        self._adapter.close()
