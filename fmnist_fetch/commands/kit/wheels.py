"""The wheels of a kit: those that the lock has for a machine, downloaded to the store as a set-up does it."""

import os
from collections.abc import Sequence
from pathlib import Path

from fmnist_fetch.commands.kit.target import Target
from fmnist_fetch.environment.indexes import Configuration
from fmnist_fetch.environment.lock import Lock, Wheel
from fmnist_fetch.environment.store import Sources, Store
from fmnist_fetch.errors import FetchError, SourceError, UsageError
from fmnist_fetch.events import Listener

GROUP = "test"
"""What `make data`, `make train`, `make serve`, `make kit` and `make test` need."""

_HINT = (
    "Check the network, then run the same command again. What arrived is kept. "
    "Another source, such as a server of make serve: FMNIST_MIRRORS=URL; or without wheels: --no-wheels"
)


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
    """Download those of WHEELS that are not in FOLDER, and return the paths of all.

    Raises:
        SourceError: No source delivered one of them; what arrived is kept.
        IntegrityError: The sources have other bytes than the lock pins.
        DiskError: They cannot be written.
    """
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
