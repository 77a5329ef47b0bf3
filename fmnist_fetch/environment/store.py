"""The store: a folder of wheels, each verified by its digest; and the sources that fill it.

They are asked in this order: wheels on this machine, found by digest; the user's mirrors; servers of the local network;
the indexes that pip is configured for, and for torch the places where its builds without CUDA are.
"""

import hashlib
import random
import time
import tomllib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import quote

from fmnist_fetch import standalone
from fmnist_fetch.environment.indexes import Configuration, Page, ask, is_url, local_path
from fmnist_fetch.environment.lock import STORE, Wheel
from fmnist_fetch.errors import CHECK_NETWORK, DiskError, IntegrityError, SourceError, disk
from fmnist_fetch.events import BytesInFlight, DownloadEnded, DownloadStarted, Listener
from fmnist_fetch.manifest.model import DataFile, Payload
from fmnist_fetch.manifest.pieces import Piece, cut
from fmnist_fetch.sources.base import Tier
from fmnist_fetch.storage.atomic import write_all, write_atomically
from fmnist_fetch.storage.files import verifies

if TYPE_CHECKING:
    from fmnist_fetch.sources.base import Source

T = TypeVar("T")
TORCH = Path(__file__).with_name("torch.toml")
PATIENCE_S = 120.0
MIRRORS_PATIENCE_S = 5.0
ATTEMPTS = 12
JOBS = 4
PIECE_LENGTH = 256 * 1024
COPY_STEP_BYTES = 1024 * 1024


class Sources:
    """Where wheels may be: MIRRORS, SERVERS of the local network, this machine, and what CONFIGURATION names."""

    def __init__(
        self,
        project: Path,
        mirrors: Sequence[str],
        configuration: Configuration,
        *,
        offline: bool,
        servers: Sequence[str] = (),
    ) -> None:
        named_urls = filter(is_url, mirrors) if not offline else ()
        self._tiers = {base: Tier.LAN for server in servers for base in _folders(server)}
        self._tiers |= {base: Tier.USER for mirror in named_urls for base in _folders(mirror)}
        self.bases = sorted(self._tiers, key=lambda base: self._tiers[base])
        """The URLs of the folders of the mirrors and servers that may have wheels."""
        named = [Path(mirror).expanduser() for mirror in mirrors if not is_url(mirror)]
        near = [path for path in project.parent.glob(f"*/{STORE}") if path.parent != project]
        found = (local_path(link) for link in configuration.links)
        folders = [*named, *(path for path in found if path), *near]
        self._folders = [place for folder in folders for place in (folder, folder / STORE)]
        self._configuration = configuration
        self._offline = offline
        self._torch: list[str] = tomllib.loads(TORCH.read_text(encoding="utf-8"))["sources"]

    def copies(self, wheel: Wheel) -> Iterator[Path]:
        """Yield files on this machine that have the name of WHEEL."""
        yield from (folder / wheel.name for folder in self._folders)
        for page in self._configuration.pages(wheel.package):
            if page.local is not None:
                with suppress(OSError):
                    yield from (path for link in page.links(wheel.name, wheel.sha256) if (path := local_path(link)))

    def links(self, wheel: Wheel) -> list[str]:
        """Return the URLs that WHEEL has besides the mirrors'; this asks the indexes, several times if need be."""
        found: list[str] = []
        for page in self._pages(wheel):
            with suppress(OSError):
                found += persistently(partial(page.links, wheel.name, wheel.sha256))
        return found + ([base + quote(wheel.name) for base in self._torch] if self._has_torch(wheel) else [])

    def for_engine(self, wheels: Sequence[Wheel]) -> list["Source"]:
        """Return the sources of WHEELS for the engine; an index is asked for a link when its turn comes."""
        from fmnist_fetch.environment.linked_files import LinkedFiles
        from fmnist_fetch.sources.http import HttpSource

        # A later tier is asked only where no earlier one can serve: what is configured goes before what is built in.
        known = {wheel.name: wheel for wheel in wheels}
        found: list[Source] = [HttpSource(base, tier) for base, tier in self._tiers.items()]
        if self._offline:
            return found
        for number, index in enumerate(self._configuration.indexes):

            def link(name: str, number: int = number) -> str | None:
                page = self._configuration.pages(known[name].package)[number]
                links = page.links(name, known[name].sha256)
                return next(filter(is_url, links), None)

            if is_url(index):
                found.append(LinkedFiles(index, Tier.INDEX, link))
        for base in self._torch if any(map(self._has_torch, wheels)) else ():

            def file(name: str, base: str = base) -> str | None:
                return base + quote(name) if self._has_torch(known[name]) else None

            found.append(LinkedFiles(base, Tier.MIRROR, file))
        return found

    def size(self, wheel: Wheel) -> int:
        """Ask for the size of WHEEL, which the lock does not know; raise SourceError where nobody tells."""
        urls = [base + quote(wheel.name) for base in self.bases]
        for url in chain(urls, chain.from_iterable(map(self.links, [wheel]))):  # The links only where they are needed.
            with suppress(OSError):
                return persistently(partial(_size, url))
        raise SourceError(f"no source tells the size of {wheel.name}", hint=CHECK_NETWORK)

    def _pages(self, wheel: Wheel) -> list[Page]:
        pages = [] if self._offline else self._configuration.pages(wheel.package)
        return [page for page in pages if page.local is None]

    def _has_torch(self, wheel: Wheel) -> bool:
        """Return whether the places of torch may have WHEEL."""
        return wheel.package == "torch" and not self._offline


def _folders(url: str) -> tuple[str, str]:
    """Return the URLs of the folders in which a mirror may have wheels."""
    base = url.rstrip("/")
    return f"{base}/{STORE}/", f"{base}/"


def persistently(ask: Callable[[], T]) -> T:
    """Return what ASK returns, asked again where it fails for now; raise its OSError in the end."""
    for attempt in range(ATTEMPTS):
        try:
            return ask()
        except OSError as exc:
            if attempt == ATTEMPTS - 1 or 400 <= getattr(exc, "code", 0) < 500:
                raise
            time.sleep(random.uniform(0, min(0.1 * 2**attempt, 4.0)))
    raise AssertionError


def _size(url: str) -> int:
    """Return the size of the file at URL; raise OSError."""
    with ask(url, {"Range": "bytes=0-0"}) as answer:
        total = answer.headers.get("Content-Range", "").rpartition("/")[2]
        total = answer.headers.get("Content-Length", "") if answer.status == 200 else total
    if not total.isdecimal():
        raise OSError(f"{url} does not tell its size")
    return int(total)


class Store:
    """The wheels in FOLDER."""

    def __init__(self, folder: Path, sources: Sources, listener: Listener) -> None:
        self.folder = folder
        self._sources = sources
        self._tell = listener
        self._verified: set[str] = set()
        self._avoided: set[str] = set()

    def path(self, wheel: Wheel) -> Path:
        """Return where WHEEL is, or will be."""
        return self.folder / wheel.name

    def missing(self, wheels: Iterable[Wheel]) -> list[Wheel]:
        """Return those of WHEELS that are not here; copies on this machine are taken over."""
        return [wheel for wheel in wheels if not (self._has(wheel) or self._adopt(wheel))]

    def fetch_first(self, wheels: Sequence[Wheel]) -> None:
        """Download small WHEELS with the standard library alone. Raises SourceError, IntegrityError, DiskError."""
        for wheel in wheels:
            bases = self._sources.bases
            # Where there is a mirror, the indexes are asked only after it has failed; once is enough for all wheels.
            hopeful = [base for base in bases if base not in self._avoided]
            if not (hopeful and self._fetch_plainly(wheel, hopeful)):
                self._fetch_plainly(wheel, [*self._sources.links(wheel), *bases], final=True)

    def fetch(self, wheels: Sequence[Wheel]) -> None:
        """Download WHEELS with the engine. Raises SourceError, IntegrityError, DiskError."""
        from fmnist_fetch.download.engine import download
        from fmnist_fetch.sources.base import FetchOptions

        files = [_data_file(wheel, wheel.size or self._sources.size(wheel)) for wheel in wheels]
        files = [file for file in files if not self._has_file(file.name, file.size, file.sha256)]
        options = FetchOptions(jobs=JOBS, patience=PATIENCE_S)
        download(files, self.folder, self._sources.for_engine(wheels), options, self._tell)
        self._verified.update(file.name for file in files)

    def _has(self, wheel: Wheel) -> bool:
        path = self.path(wheel)
        if wheel.size is None:
            with suppress(OSError):
                return self._has_file(wheel.name, path.stat().st_size, wheel.sha256)
            return False
        return self._has_file(wheel.name, wheel.size, wheel.sha256)

    def _has_file(self, name: str, size: int, sha256: str) -> bool:
        if name not in self._verified and verifies(self.folder / name, size, sha256):
            self._verified.add(name)
        return name in self._verified

    def _adopt(self, wheel: Wheel) -> bool:
        """Take over a copy of WHEEL on this machine; return whether there is one."""
        for copy in self._sources.copies(wheel):
            with suppress(OSError, DiskError):
                size = copy.stat().st_size
                if wheel.size in (None, size) and _copy(copy, self.path(wheel), wheel.sha256):
                    self._verified.add(wheel.name)
                    return True
        return False

    def _fetch_plainly(self, wheel: Wheel, urls: Sequence[str], *, final: bool = False) -> bool:
        """Download WHEEL from URLS, those that failed before last; return whether it came, raise if FINAL."""
        size = wheel.size or self._sources.size(wheel)
        urls = sorted(urls, key=lambda url: _place(url, wheel) in self._avoided)
        sources = [standalone.Source(url, wheel.name, size) for url in urls]
        patience = PATIENCE_S if final else MIRRORS_PATIENCE_S
        self._tell(DownloadStarted(((wheel.name, size, 0),), 1, 0))
        try:
            with disk(self.path(wheel), size):
                path = str(self.path(wheel))
                standalone.fetch(path, size, wheel.sha256, sources, patience=patience, report=self._report)
            return True
        except standalone.Failure as exc:
            if not final:
                return False
            kind = IntegrityError if exc.exit_code == 3 else SourceError
            raise kind(exc.facts, hint=exc.hint) from exc
        finally:
            failed = [url for url, source in zip(urls, sources, strict=True) if source.failures > 0]
            self._avoided.update(_place(url, wheel) for url in failed)
            self._tell(DownloadEnded())

    def _report(self, name: str, done: int, _size: int) -> None:
        self._tell(BytesInFlight(((name, done),)))


def _place(url: str, wheel: Wheel) -> str:
    return url.removesuffix(quote(wheel.name))


def _data_file(wheel: Wheel, size: int) -> DataFile:
    """Return WHEEL as the engine takes it: a small one as a piece with a digest, a large one as many without."""
    spans = cut(size, PIECE_LENGTH)
    pieces = tuple(Piece(span, "" if len(spans) > 1 else wheel.sha256) for span in spans)
    return DataFile(wheel.name, size, wheel.sha256, pieces, "", "", Payload(wheel.name, size, wheel.sha256))


def _copy(source: Path, path: Path, sha256: str) -> bool:
    """Make PATH a copy of SOURCE, verified as it is written; return whether it has this digest.

    It is no link: a change of one of them in place would spoil the other. Raises OSError, DiskError.
    """
    with suppress(_OtherBytesError), open(source, "rb", buffering=0) as stored, write_atomically(path) as file:
        digest = hashlib.sha256()
        while data := stored.read(COPY_STEP_BYTES):
            digest.update(data)
            write_all(file, data)
        if digest.hexdigest() != sha256:
            raise _OtherBytesError
        return True
    return False


class _OtherBytesError(Exception):
    """A copy has another digest, and must not get its name."""
