"""The wheels of the lock that are in the store, for the set-ups of other machines: as files, and as a package index.

/wheels/NAME is a wheel, /simple/ an index for pip and uv (PEP 503). Only verified wheels are given away.
"""

import threading
from contextlib import suppress
from html import escape
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote

from fmnist_fetch.environment.lock import STORE, Lock, Wheel
from fmnist_fetch.errors import FetchError
from fmnist_fetch.manifest.model import DataFile, Payload
from fmnist_fetch.manifest.pieces import Piece, Span
from fmnist_fetch.storage.atomic import Stamp, stamp
from fmnist_fetch.storage.part_file import verified

INDEX = "/simple/"
_HEAD = '<!DOCTYPE html>\n<html><head><meta name="pypi:repository-version" content="1.0">'


class ServedWheel:
    """A wheel in the store, as the server gives files away."""

    def __init__(self, path: Path, wheel: Wheel) -> None:
        self.wheel = wheel
        self._path = path
        self._stamp: Stamp | None = None
        self._lock = threading.Lock()

    @property
    def file(self) -> DataFile:
        """The wheel as a file of one piece."""
        size = self.wheel.size or self._path.stat().st_size
        piece = Piece(Span(0, size), self.wheel.sha256)
        payload = Payload(self.wheel.name, size, self.wheel.sha256)
        return DataFile(self.wheel.name, size, self.wheel.sha256, (piece,), "", "", payload)

    @property
    def under_way(self) -> bool:
        """Whether the wheel is just being downloaded: then it is worth waiting for."""
        return self._path.with_name(self._path.name + ".part").exists()

    @property
    def here(self) -> bool:
        """Whether a file of this name is there; `open` verifies it."""
        return self._path.is_file()

    def open(self, span: Span) -> tuple[BinaryIO, Span] | None:
        """Return the wheel, open, and SPAN; None where it is not there, or is not what the lock says."""
        with suppress(OSError):
            opened = open(self._path, "rb", buffering=0)  # noqa: SIM115 - handed on
            with self._lock:
                found = stamp(opened)
                if found == self._stamp:
                    return opened, span
                # Hashed once, and again only after it has changed.
                self._stamp = verified(self._path, self.wheel.size or found.size, self.wheel.sha256)
                if found == self._stamp:
                    return opened, span
            opened.close()
        return None


class WheelShelf:
    """The wheels of LOCK in FOLDER, by the paths of their URLs."""

    def __init__(self, lock: Lock, folder: Path) -> None:
        wheels = [ServedWheel(folder / wheel.name, wheel) for wheel in lock.wheels()]
        self._items = {f"/{STORE}/{one.wheel.name}": one for one in wheels}

    @classmethod
    def of_project(cls, project: Path) -> "WheelShelf | None":
        """Return the wheels of the clone PROJECT; None for an installed package, which has no lock."""
        path = project / "pylock.toml"
        with suppress(FetchError, ValueError, KeyError):
            return cls(Lock.read(path), project / STORE) if path.exists() else None
        return None

    def find(self, path: str) -> ServedWheel | None:
        """Return the wheel that has PATH, if it is here or coming."""
        item = self._items.get(path)
        return item if item and (item.here or item.under_way) else None

    def page(self, path: str) -> str | None:
        """Return the page of the index at PATH: its packages, or the wheels of one; None where there is none."""
        if not path.startswith(INDEX):
            return None
        here = [one.wheel for one in self._items.values() if one.here]
        if path == INDEX:
            names = sorted({wheel.package for wheel in here})
            return _page("packages", [(f"{name}/", name) for name in names])
        package = path.removeprefix(INDEX).strip("/")
        wheels = [wheel for wheel in here if wheel.package == package]
        if not wheels:
            return None
        links = [(f"../../{STORE}/{quote(wheel.name)}#sha256={wheel.sha256}", wheel.name) for wheel in wheels]
        return _page(package, links)


def _page(title: str, links: list[tuple[str, str]]) -> str:
    lines = [f'<a href="{escape(url)}">{escape(text)}</a><br>\n' for url, text in links]
    return f"{_HEAD}<title>{escape(title)}</title></head><body>\n{''.join(lines)}</body></html>\n"
