"""The wheels of a kit: those that the lock has for a machine, brought to the store as a set-up brings its own."""

import os
from collections.abc import Sequence
from pathlib import Path

from fmnist_fetch.commands.kit.target import Target
from fmnist_fetch.environment.indexes import Configuration
from fmnist_fetch.environment.lock import Lock, Wheel
from fmnist_fetch.environment.store import Sources, Store
from fmnist_fetch.errors import FetchError, UsageError
from fmnist_fetch.events import Listener

GROUP = "test"
"""What `make data`, `make train`, `make serve`, `make kit` and `make test` need."""


def choose(lock: Lock, target: Target) -> list[Wheel]:
    """Return the wheels of LOCK for TARGET; raise UsageError where it has none, FetchError without `packaging`."""
    try:
        return lock.select(GROUP, target.markers(), target.tags())
    except LookupError as exc:
        raise UsageError(
            f"pylock.toml has no wheels for {target.words}: {exc}",
            hint="It has those for CPython 3.11 to 3.14 on Linux (glibc), macOS (arm64) and Windows (win_amd64).",
        ) from exc
    except ModuleNotFoundError as exc:
        hint = "Run: make kit, or pip install 'fmnist-fetch[kit]', or pack without wheels: --no-wheels"
        raise FetchError(f"kit needs {exc.name}, which is not installed", hint=hint) from exc


def bring(wheels: Sequence[Wheel], folder: Path, project: Path, listener: Listener) -> list[Path]:
    """Make sure that WHEELS are in FOLDER, and return their paths. Raises SourceError, IntegrityError, DiskError."""
    configuration = Configuration.read()
    configuration.apply()
    mirrors = os.environ.get("FMNIST_MIRRORS", "").split()
    store = Store(folder, Sources(project, mirrors, configuration, offline=False), listener)
    if missing := store.missing(wheels):
        store.fetch(missing)
    return [store.path(wheel) for wheel in wheels]
