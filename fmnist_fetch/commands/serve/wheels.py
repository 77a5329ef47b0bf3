"""The wheels of the lock that are in the store, for the set-ups of other machines: as files, and as a package index.

/wheels/NAME is a wheel, /simple/ an index for pip and uv (PEP 503). Only verified wheels are sent.
"""

from collections.abc import Sequence
from contextlib import suppress
from functools import cache, partial
from html import escape
from pathlib import Path
from urllib.parse import quote

from fmnist_fetch.commands.serve.files import ServedFile
from fmnist_fetch.environment.lock import LOCK, STORE, Lock, Wheel
from fmnist_fetch.errors import FetchError
from fmnist_fetch.manifest.pieces import Piece, Span

INDEX = "/simple/"
_HEAD = '<!DOCTYPE html>\n<html><head><meta name="pypi:repository-version" content="1.0">'


class ServedWheel(ServedFile):
    """A wheel in the folder STORE; no piece of it is verified before all of it is here."""

    def __init__(self, store: Path, wheel: Wheel, size: int) -> None:
        path = store / wheel.name
        super().__init__(store, path, wheel.as_file(size, [Piece(Span(0, size), wheel.sha256)]))
        self._served = (path,)

    @property
    def expected(self) -> bool:
        """Whether a client should ask again; the folder is that of all wheels."""
        return self.arriving


class ServedWheels:
    """The wheels of a lock in the folder STORE, by the paths of their URLs."""

    def __init__(self, wheels: Sequence[Wheel], store: Path) -> None:
        self._store = store
        self._wheels = {f"/{STORE}/{wheel.name}": wheel for wheel in wheels}
        self._file = cache(partial(ServedWheel, store))  # what was verified stays so

    @classmethod
    def of_project(cls, project: Path) -> "ServedWheels":
        """Return the wheels of the clone PROJECT; an installed package has no lock, and so none."""
        wheels: list[Wheel] = []
        with suppress(FetchError, ValueError, KeyError):
            wheels = list(Lock.read(project / LOCK).wheels()) if (project / LOCK).exists() else []
        return cls(wheels, project / STORE)

    def files(self) -> list[ServedFile]:
        """Return the wheels that are here; they are verified before they are sent."""
        return [file for path in self._wheels if (file := self.find(path)) and file.exists]

    def find(self, path: str) -> ServedFile | None:
        """Return the wheel that has PATH, if it is here or being downloaded."""
        if (wheel := self._wheels.get(path)) is None:
            return None
        place = self._store / wheel.name
        served = self._file(wheel, wheel.size or (place.stat().st_size if place.exists() else 0) or 1)
        return served if served.exists or served.arriving else None

    def page(self, path: str) -> str | None:
        """Return the page of the index at PATH: its packages, or the wheels of one; None where there is none."""
        if not self._wheels or not path.startswith(INDEX):
            return None
        names = {file.file.name for file in self.files()}
        here = [wheel for wheel in self._wheels.values() if wheel.name in names]
        if path == INDEX:
            packages = sorted({wheel.package for wheel in here})
            return _page("packages", [(f"{package}/", package) for package in packages])
        package = path.removeprefix(INDEX).strip("/")
        wheels = [wheel for wheel in here if wheel.package == package]
        if not wheels:
            return None
        links = [(f"../../{STORE}/{quote(wheel.name)}#sha256={wheel.sha256}", wheel.name) for wheel in wheels]
        return _page(package, links)


def _page(title: str, links: list[tuple[str, str]]) -> str:
    lines = [f'<a href="{escape(url)}">{escape(text)}</a><br>\n' for url, text in links]
    return f"{_HEAD}<title>{escape(title)}</title></head><body>\n{''.join(lines)}</body></html>\n"
