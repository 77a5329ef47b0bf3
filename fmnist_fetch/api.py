"""The functions for Python programs: `fetch` and `verify`, the same as on the command line."""

import os
import sys
from collections.abc import Sequence

from fmnist_fetch.console.notebook import Cell, in_notebook
from fmnist_fetch.console.progress import listener, never_raising
from fmnist_fetch.errors import UsageError
from fmnist_fetch.events import Listener
from fmnist_fetch.manifest.catalog import DATASET, find
from fmnist_fetch.pipeline.prepare import prepare
from fmnist_fetch.pipeline.report import Report
from fmnist_fetch.pipeline.status import DatasetStatus, inspect
from fmnist_fetch.sources.base import FetchOptions
from fmnist_fetch.storage.layout import Layout

MAX_JOBS = 64

PathLike = str | os.PathLike[str]


def fetch(
    dataset: PathLike = DATASET,
    root: PathLike | None = None,
    *,
    mirrors: PathLike | Sequence[PathLike] = (),
    only_mirrors: bool = False,
    offline: bool | None = None,
    jobs: int = 4,
    patience: float = 120.0,
    limit_rate: float | None = None,
    progress: Listener | None = None,
    also: str | Sequence[str] = (),
) -> Report:
    """Download a dataset, verify and unpack it, and write its tensor file; run again, it verifies and repairs.

    Args:
        dataset: a name from the catalogue, or the path of a manifest.
        root: the folder for the data; FMNIST_ROOT or ./data if it is None.
        mirrors: URLs or folders to ask first, one or several; ONLY_MIRRORS asks no other source.
        offline: open no socket; None takes FMNIST_OFFLINE, as the command line does.
        jobs, limit_rate: connections at once, 1 to 64, and the most bytes per second of all together.
        patience: seconds to go on without progress; math.inf for ever.
        progress: called with each event; None shows the progress on stderr, in a notebook as a bar.
        also: tools ("keras") whose own caches get the files as published too, one or several.

    Raises FetchError and its kinds; everything verified is kept then.

    >>> import fmnist_fetch
    >>> report = fmnist_fetch.fetch(mirrors="http://lab-server:8000/")
    >>> report.received, report.tensors.name  # nothing was missing
    ({}, 'fashion-mnist.safetensors')
    """
    manifest = find(dataset)
    offline = _is_offline() if offline is None else offline
    options = _checked(FetchOptions(_several(mirrors), only_mirrors, offline, jobs, patience, limit_rate))
    return prepare(Layout(root, manifest), options, listener=_display(progress), also=_several(also))


def verify(dataset: PathLike = DATASET, root: PathLike | None = None) -> DatasetStatus:
    """Hash all files of a dataset; repair nothing and open no socket.

    Args:
        dataset: a name from the catalogue, or the path of a manifest.
        root: the folder with the data; FMNIST_ROOT or ./data if it is None.

    Returns:
        The condition of each file, as published and unpacked, and of the tensor file.

    >>> import fmnist_fetch
    >>> status = fmnist_fetch.verify()
    >>> status.complete, str(status.tensors), [str(file.payload) for file in status.files]
    (True, 'good', ['good', 'good', 'good', 'good'])
    """
    manifest = find(dataset)
    return inspect(Layout(root, manifest))


def _is_offline() -> bool:
    return os.environ.get("FMNIST_OFFLINE", "") not in ("", "0")


def _checked(options: FetchOptions) -> FetchOptions:
    """Return the options. Raises a UsageError for a number that means nothing."""
    hint = "Leave it out for the default."
    if not 1 <= options.jobs <= MAX_JOBS:
        raise UsageError(f"jobs is {options.jobs!r}, not a number from 1 to {MAX_JOBS}", hint=hint)
    if not options.patience >= 0:
        raise UsageError(f"patience is {options.patience!r}, not a number of seconds", hint=hint)
    if options.limit_rate is not None and not options.limit_rate > 0:
        raise UsageError(f"limit_rate is {options.limit_rate!r}, not a number of bytes per second", hint=hint)
    return options


def _display(progress: Listener | None) -> Listener:
    if progress is not None:
        return never_raising(progress)
    return never_raising(Cell()) if in_notebook() else listener("auto", sys.stderr)


def _several(value: PathLike | Sequence[PathLike]) -> tuple[str, ...]:
    """One or several, as several: a string is a sequence of letters too, which nobody means."""
    return (os.fspath(value),) if isinstance(value, str | os.PathLike) else tuple(os.fspath(each) for each in value)
