"""Package indexes: those that pip and uv are configured for, and the links on their pages (PEP 503, PEP 691)."""

import configparser
import json
import os
import re
import sys
import threading
import zlib
from base64 import b64encode
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import cache
from html import unescape
from http.client import HTTPException
from pathlib import Path
from typing import Any, NamedTuple
from urllib.error import HTTPError
from urllib.parse import unquote, urljoin, urlsplit, urlunsplit
from urllib.request import BaseHandler, HTTPSHandler, Request, build_opener, install_opener, url2pathname, urlopen

from fmnist_fetch.manifest.validation import is_url

PYPI = "https://pypi.org/simple"
TIMEOUT_S = 10
_ACCEPT = "application/vnd.pypi.simple.v1+html, text/html;q=0.9, application/vnd.pypi.simple.v1+json;q=0.5"
_LINK = re.compile(rb"""href\s*=\s*["']([^"']+)["']""", re.IGNORECASE)


class Configuration(NamedTuple):
    """What pip and uv are configured for.

    Attributes:
        indexes: The URLs of the indexes, in their order.
        links: Folders and pages with links to wheels.
        certificates: The path of a CA bundle.
        proxy: The URL of a proxy.
    """

    indexes: tuple[str, ...]
    links: tuple[str, ...]
    certificates: str | None
    proxy: str | None

    @classmethod
    def read(cls, environment: Mapping[str, str] = os.environ) -> "Configuration":
        """Read the configuration files of pip, and the environment variables of pip and uv."""
        options = _pip_options(environment)
        options |= {key[4:].lower().replace("_", "-"): value for key, value in environment.items() if key[:4] == "PIP_"}
        get = environment.get
        first = options.get("index-url") or get("UV_DEFAULT_INDEX") or get("UV_INDEX_URL") or PYPI
        more = f"{options.get('extra-index-url', '')} {get('UV_INDEX', '')} {get('UV_EXTRA_INDEX_URL', '')}"
        no_index = options.get("no-index", "").lower() in ("1", "true", "yes", "on")
        indexes = [] if no_index else [first, *more.split()]
        links = f"{options.get('find-links', '')} {get('UV_FIND_LINKS', '').replace(',', ' ')}".split()
        # An index of uv may have a name: NAME=URL.
        urls = [re.sub(r"^[\w-]+=(?=\w+://)", "", index) for index in indexes]
        return cls(tuple(dict.fromkeys(urls)), tuple(links), options.get("cert"), options.get("proxy"))

    def apply(self) -> None:
        """Make urllib and requests use the CA bundle, the proxy, and passwords in URLs.

        Those that environment variables name for urllib and requests take precedence.
        """
        if self.certificates and not os.environ.get("REQUESTS_CA_BUNDLE"):
            os.environ["REQUESTS_CA_BUNDLE"] = self.certificates
        if self.proxy:
            for name in ("http_proxy", "https_proxy"):
                os.environ.setdefault(name, self.proxy)
        handlers: list[BaseHandler] = [_SecretHandler()]
        if bundle := os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE"):
            import ssl

            with suppress(OSError):
                paths = {"capath" if Path(bundle).is_dir() else "cafile": bundle}
                handlers.append(HTTPSHandler(context=ssl.create_default_context(ssl.Purpose.SERVER_AUTH, **paths)))
        install_opener(build_opener(*handlers))

    def pages(self, package: str) -> list["Page"]:
        """Return the pages that may have links to wheels of a package: those of the indexes, and pages of links."""
        urls = [f"{index.rstrip('/')}/{package}/" for index in self.indexes]
        return [_page(url) for url in (*urls, *(link for link in self.links if is_url(link)))]


class Page:
    """A page of links, for all threads. When the connection breaks, what has arrived of it is kept and used."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.local = local_path(url)
        self._base = url
        self._text = b""
        self._complete = False
        self._tried = False
        self._lock = threading.Lock()

    def links(self, name: str, sha256: str) -> list[str]:
        """Return the links to the file of this name; a link with another digest is left out.

        Raises:
            OSError: The page, or the part of it that arrived, has no such link. Another call requests the rest.
        """
        # One thread requests the page; the others, which need it too, wait for it.
        with self._lock:
            if not self._complete and not self._matches(name, sha256):
                self._read()
            found = self._matches(name, sha256)
            if not found and not self._complete:
                raise OSError(f"{self.url} is incomplete")
            return found

    def _matches(self, name: str, sha256: str) -> list[str]:
        found = []
        for link in _hrefs(self._text):
            url, _, fragment = urljoin(self._base, link).partition("#")
            stated = re.search(r"sha256=([0-9a-f]{64})", fragment)
            if unquote(urlsplit(url).path).rpartition("/")[2] == name and (stated is None or stated[1] == sha256):
                found.append(_with_secret(url, self.url))
        return found

    def _read(self) -> None:
        """Request the page once: packed with gzip the first time, since pages are long; with a range afterwards."""
        if self.local is not None:
            path = self.local / "index.html" if self.local.is_dir() else self.local
            self._base, self._text, self._complete = path.absolute().as_uri(), path.read_bytes(), True
            return
        headers = {"Accept": _ACCEPT}
        if not self._tried:
            headers["Accept-Encoding"] = "gzip"
        elif self._text:
            headers["Range"] = f"bytes={len(self._text)}-"
        with ask(self.url, headers) as response:
            self._base = response.geturl()
            stated = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
            before = self._text[: int(stated[1]) if response.status == 206 and stated else 0]
            packed = zlib.decompressobj(31) if response.headers.get("Content-Encoding") == "gzip" else None
            self._tried = True
            self._receive(response, before, packed)

    def _receive(self, response: Any, before: bytes, packed: Any) -> None:
        length, count, body = response.headers.get("Content-Length"), 0, bytearray(before)
        try:
            while data := response.read1(65536):
                count += len(data)
                body += packed.decompress(data) if packed else data
            self._complete = length is None or count == int(length)
        except (OSError, ValueError, HTTPException, zlib.error):
            pass  # The part that arrived may have the link.
        self._text = bytes(body) if len(body) > len(before) else self._text


class _SecretHandler(BaseHandler):
    """Sends the user and the password of a URL in a header, and only to the server of that URL."""

    handler_order = 100

    def http_request(self, request: Request) -> Request:
        url, authorization = split_secret(request.full_url)
        if authorization:
            request.full_url = url
            request.add_unredirected_header("Authorization", authorization)
        return request

    https_request = http_request


def ask(url: str, headers: Mapping[str, str]) -> Any:
    """Request a URL and return the response; raise OSError."""
    try:
        return urlopen(Request(url, headers={"User-Agent": "fmnist-fetch", **headers}), timeout=TIMEOUT_S)
    except HTTPError as exc:
        exc.close()
        raise


_page = cache(Page)
"""The page at a URL, the same object each time."""


def local_path(place: str) -> Path | None:
    """Return the path of a place that is a path or a file: URL; None for other URLs."""
    parts = urlsplit(place)
    if parts.scheme == "file":
        return Path(url2pathname(unquote(parts.path)))
    return None if is_url(place) else Path(place).expanduser()


def _pip_options(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the options in the configuration files of pip; later files and sections override earlier ones."""
    parser = configparser.RawConfigParser()
    for path in _pip_paths(environment):
        with suppress(OSError, configparser.Error, UnicodeDecodeError):
            parser.read(path, encoding="utf-8")
    sections = filter(parser.has_section, ("global", "download", "install"))
    return {key.replace("_", "-"): value for section in sections for key, value in parser.items(section)}


def _pip_paths(environment: Mapping[str, str]) -> list[Path]:
    """Return the paths where pip looks for configuration files: of machine, user and interpreter, and the named one.

    PIP_CONFIG_FILE may be the null device, which means no file at all.
    """
    named, home = environment.get("PIP_CONFIG_FILE"), Path("~").expanduser()
    if named == os.devnull:
        return []
    if os.name == "nt":
        programs, data = environment.get("PROGRAMDATA", "C:/ProgramData"), environment.get("APPDATA", str(home))
        folders = [Path(programs, "pip"), home / "pip", Path(data, "pip"), Path(sys.prefix)]
    else:
        library = Path("Library/Application Support/pip")
        machine = [Path(folder, "pip") for folder in (environment.get("XDG_CONFIG_DIRS") or "/etc/xdg").split(":")]
        user = [home / ".pip", Path(environment.get("XDG_CONFIG_HOME") or home / ".config", "pip")]
        if sys.platform == "darwin":
            machine, user = ["/" / library, *machine], [*user, home / library]
        folders = [*machine, Path("/etc"), *user, Path(sys.prefix)]
    files = [folder / ("pip.ini" if os.name == "nt" else "pip.conf") for folder in folders]
    return [*files, *([Path(named)] if named else [])]


def _with_secret(url: str, page: str) -> str:
    """Return a URL with the user and password of the page that links it, if both are on the same server."""
    ours, theirs = urlsplit(url), urlsplit(page)
    secret, _, host = theirs.netloc.rpartition("@")
    if secret and ours.netloc == host:
        return urlunsplit(ours._replace(netloc=theirs.netloc))
    return url


def _hrefs(text: bytes) -> Iterator[str]:
    with suppress(ValueError):
        table: Any = json.loads(text)
        for entry in table["files"]:
            yield f"{entry['url']}#sha256={entry.get('hashes', {}).get('sha256', '')}"
        return
    for match in _LINK.finditer(text):
        yield unescape(match[1].decode(errors="replace"))


def split_secret(url: str) -> tuple[str, str]:
    """Return a URL without its user and password, and the value of Authorization for them, or ""."""
    parts = urlsplit(url)
    secret, _, host = parts.netloc.rpartition("@")
    header = "Basic " + b64encode(unquote(secret).encode()).decode() if secret else ""
    return urlunsplit(parts._replace(netloc=host)), header
