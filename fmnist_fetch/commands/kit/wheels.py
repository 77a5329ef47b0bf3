"""The machine that a kit is for, and its wheels: those that the lock has for it, downloaded as a set-up does it."""

import os
import platform
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from fmnist_fetch.environment.indexes import Configuration
from fmnist_fetch.environment.lock import Lock, Wheel
from fmnist_fetch.environment.store import Sources, Store
from fmnist_fetch.errors import FetchError, SourceError, UsageError
from fmnist_fetch.events import Listener

if TYPE_CHECKING:
    from packaging.tags import Tag

GROUP = "test"
"""What `make data`, `make train`, `make serve`, `make kit` and `make test` need."""

_HINT = (
    "Check the network, then run the same command again. What arrived is kept. "
    "Another source, such as a server of make serve: FMNIST_MIRRORS=URL; or without wheels: --no-wheels"
)
_OURS = "{}.{}".format(*sys.version_info)
_PYTHON = re.compile(r"3\.\d{1,2}")
_PLATFORM = re.compile(r"(manylinux_2_(\d+)|manylinux2014|musllinux_1_\d+|linux|macosx_\d+_\d+|win)_([a-z0-9_]+)")
_OLDEST_GLIBC_MINOR = 5
_LEGACY = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}
_SYSTEMS = {"macosx": ("darwin", "posix", "Darwin"), "win": ("win32", "nt", "Windows")}


class Target(NamedTuple):
    """A Python version ("3.12") on a platform as wheels name it ("manylinux_2_28_x86_64"), None for this machine's."""

    python: str
    platform: str | None

    @classmethod
    def parse(cls, python: str | None, platform: str | None) -> "Target":
        """Return the machine with this Python and platform, this one's where they are None; raise UsageError."""
        if python is not None and not _PYTHON.fullmatch(python):
            raise UsageError(f"{python!r} is not a version of Python", hint="Write it as in --python 3.12.")
        if platform is not None and not _PLATFORM.fullmatch(platform):
            hint = "For example manylinux_2_28_x86_64, manylinux_2_17_aarch64, macosx_14_0_arm64, win_amd64."
            raise UsageError(f"{platform!r} is not a platform that wheels are made for", hint=hint)
        return cls(python or _OURS, platform)

    @property
    def description(self) -> str:
        """The machine in words: "Python 3.12 on win_amd64"."""
        return f"Python {self.python} on {self.platform or f'{platform.system()} {self.machine}'}"

    @property
    def machine(self) -> str:
        """The processor, as `uname -m` names it."""
        match = _PLATFORM.fullmatch(self.platform or "")
        return match[3] if match else platform.machine().lower()

    def tags(self) -> "list[Tag]":
        """Return the tags of the wheels that run there, the best first."""
        from packaging.tags import compatible_tags, cpython_tags

        version = (3, int(self.python.partition(".")[2]))
        platforms = list(dict.fromkeys(self._platforms())) or None
        others = compatible_tags(version, interpreter=f"cp3{version[1]}", platforms=platforms)
        return [*cpython_tags(version, platforms=platforms), *others]

    def markers(self) -> Mapping[str, str]:
        """Return the values that markers have there, as far as they differ from this machine's."""
        markers = {}
        if self.python != _OURS:
            markers = {"python_version": self.python, "python_full_version": f"{self.python}.0"}
        if match := _PLATFORM.fullmatch(self.platform or ""):
            system, name, title = _SYSTEMS.get(match[1].partition("_")[0], ("linux", "posix", "Linux"))
            machine = "AMD64" if match[3] == "amd64" else match[3]
            markers |= {"sys_platform": system, "os_name": name, "platform_system": title, "platform_machine": machine}
        return markers

    def _platforms(self) -> Iterator[str]:
        """Yield the platform, and the older ones whose wheels run there too."""
        match = _PLATFORM.fullmatch(self.platform or "")
        if not match:
            return
        yield match[0]
        if match[2]:
            for minor in range(int(match[2]), _OLDEST_GLIBC_MINOR - 1, -1):
                yield from (f"{name}_{match[3]}" for name in (f"manylinux_2_{minor}", _LEGACY.get(minor)) if name)
            yield f"linux_{match[3]}"
        elif match[1].startswith("musllinux"):
            newest = int(match[1].rpartition("_")[2])
            yield from (f"musllinux_1_{minor}_{match[3]}" for minor in range(newest, 0, -1))
        elif match[1].startswith("macosx"):
            from packaging.tags import mac_platforms

            major, minor = map(int, match[1].split("_")[1:])
            yield from mac_platforms((major, minor), match[3])


def select_wheels(lock: Lock, target: Target) -> list[Wheel]:
    """Return exactly the wheels that LOCK has for TARGET.

    Raises:
        UsageError: The lock has no wheel of a package for that machine.
        FetchError: The package `packaging` is not installed.
    """
    try:
        return lock.select(GROUP, target.markers(), target.tags())
    except LookupError as exc:
        raise UsageError(
            f"pylock.toml has no wheels for {target.description}: {exc}",
            hint="It has those for CPython 3.11 to 3.14 on Linux (glibc), macOS (arm64) and Windows (win_amd64).",
        ) from exc
    except ModuleNotFoundError as exc:
        hint = "Run: make kit, or pip install 'fmnist-fetch[kit]', or pack without wheels: --no-wheels"
        raise FetchError(f"kit needs {exc.name}, which is not installed", hint=hint) from exc


def fetch_wheels(wheels: Sequence[Wheel], folder: Path, project: Path, listener: Listener) -> list[Path]:
    """Download those of WHEELS that are not in FOLDER, and return the paths of all; raise as `Store.fetch` does."""
    configuration = Configuration.read()
    configuration.apply()
    mirrors = os.environ.get("FMNIST_MIRRORS", "").split()
    store = Store(folder, Sources(project, mirrors, configuration, offline=False), listener)
    if missing := store.missing(wheels):
        try:
            store.fetch(missing)
        except SourceError as exc:
            exc.hint = _HINT  # the engine's own hint names an option of fetch
            raise
    return [store.path(wheel) for wheel in wheels]
