"""HTTP requests through the requests library, one after the other on connections that are kept alive."""

from typing import Any
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter

from fmnist_fetch import __version__

HEADERS = {"User-Agent": f"fmnist-fetch/{__version__}", "Accept-Encoding": "identity"}


class Client:
    """A session of its own, for one thread."""

    def __init__(self) -> None:
        self._session = requests.Session()
        self._session.headers.update(HEADERS)
        self._prepared: dict[tuple[str, str], tuple[requests.PreparedRequest, Any]] = {}

    def get(self, url: str, wanted: str | None, timeout: tuple[float, float]) -> requests.Response:
        """Ask for the range WANTED of URL, or for all of it; read no body, and follow no redirect.

        TIMEOUT is that of connecting and that of each read, in seconds. Raises as requests does.
        """
        request, settings = self._prepare(url)
        if wanted is not None:
            request.headers["Range"] = wanted
        return self._session.send(request, timeout=timeout, allow_redirects=False, **settings)

    def redirect_target(self, response: requests.Response) -> str | None:
        """Where RESPONSE sends us, if it does."""
        return self._session.get_redirect_target(response)

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
        """The request for URL, and what the environment says of its server: proxies, certificates, .netrc.

        The environment is looked at once for each server: that takes longer than a small file does.
        """
        server = urlsplit(url)[:2]
        if server not in self._prepared or self._session.cookies:
            prepared = self._session.prepare_request(requests.Request("GET", url))
            settings = self._session.merge_environment_settings(prepared.url, {}, True, None, None)
            self._prepared[server] = prepared, settings
        prepared, settings = self._prepared[server]
        request = prepared.copy()
        request.prepare_url(url, None)
        return request, settings
