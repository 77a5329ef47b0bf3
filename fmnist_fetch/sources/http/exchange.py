"""Send a request and get the head of its answer, whatever redirects and dead connections are between."""

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import requests

from fmnist_fetch.errors import SourceError
from fmnist_fetch.manifest.pieces import Span
from fmnist_fetch.sources.base import Tier
from fmnist_fetch.sources.diagnosis import refused_by_proxy, translate
from fmnist_fetch.sources.http.client import Client
from fmnist_fetch.sources.http.sockets import Wire
from fmnist_fetch.sources.mirror import origin, redact

if TYPE_CHECKING:
    from fmnist_fetch.sources.http.source import HttpSource

MAX_REDIRECTS = 10


class Exchange:
    """The requests of one connection to a mirror.

    Attributes:
        status: The status of the last answer, if there was one.
        note: A sentence for the log, which the caller removes.
    """

    def __init__(self, mirror: "HttpSource") -> None:
        self.status: int | None = None
        self.note: str | None = None
        self._mirror = mirror
        self._wire = Wire()
        self._client = Client(self._wire, stranger=mirror.tier is Tier.LAN)
        self._stopped = self._redirected = self._kept_alive = False
        self._place = mirror.name

    def _get(self, url: str, span: Span | None) -> requests.Response:
        self.status = None
        # Redirects are followed here: the library would read the whole body of each, however long it is.
        for hop in range(MAX_REDIRECTS + 1):
            if self._stopped:
                raise SourceError(f"{self._mirror.name}: stopped")
            self._redirected = hop > 0
            self._place = f"{self._mirror.name} (redirected to {origin(url)})" if hop else self._mirror.name
            try:
                response = self._exchange(url, span)
                target = self._target(url, response)
                if target is None and response.status_code != 407:
                    self.status = response.status_code
                    return response
                response.close()
                if target is None:
                    raise refused_by_proxy(self._mirror.name, self._client.proxy_of(url))
                self._note_redirect(url, target)
                url = target
            except SourceError:
                raise
            except Exception as exc:
                error = self._translate(exc, url)
                # Where a redirect leads to may be another place in a moment; a login page does such things.
                error.permanent = error.permanent and hop == 0
                raise error from exc
        facts = f"{self._mirror.name} redirects in a circle, or more than {MAX_REDIRECTS} times"
        raise SourceError(facts, hint="Check the address of the mirror.")

    def _target(self, url: str, response: requests.Response) -> str | None:
        """Return the URL to which RESPONSE redirects, if it does."""
        try:
            target = self._client.redirect_target(url, response)
            if target is None or urlsplit(target).scheme in ("http", "https"):
                return target
        except ValueError:
            target = response.headers["Location"]
        facts = f"{self._place} redirects to what is no usable URL: {redact(target)[:80]}"
        raise SourceError(facts, hint="Check the address of the mirror.")

    def _note_redirect(self, url: str, target: str) -> None:
        """Note for the log, once for the mirror, that the redirect from URL to TARGET leaves https."""
        if url.lower().startswith("https:") and target.lower().startswith("http:") and not self._mirror.told_downgrade:
            self._mirror.told_downgrade = True
            self.note = f"{self._mirror.name} redirects from https to {origin(target)}; the digests verify what comes"

    def _translate(self, exc: Exception, url: str) -> SourceError:
        proxy, bundle = self._client.proxy_of(url), self._client.bundle_of(url)
        return translate(exc, self._place, proxy=proxy, bundle=bundle)

    def _exchange(self, url: str, span: Span | None) -> requests.Response:
        """One request; once more at once if a connection that was kept alive turns out to be dead.

        Servers close idle connections when they like (RFC 9112, section 9.3.1), and that says nothing against them.
        """
        wanted = f"bytes={span.start}-{span.stop - 1}" if span else None
        while True:
            kept_alive, self._kept_alive = self._kept_alive, False
            if kept_alive and not self._mirror.keeps_alive:
                self._client.hang_up()
                kept_alive = False
            try:
                return self._client.get(url, wanted)
            except requests.ReadTimeout:
                if kept_alive:
                    self._mirror.keeps_alive = False
                raise
            except requests.ConnectionError:
                if not kept_alive or self._stopped:
                    raise
                self._client.hang_up()
