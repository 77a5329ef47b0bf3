"""The functions for Python programs: `fetch` and `verify`, with what the command line can do."""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from numbers import Real

from fmnist_fetch.commands.arguments import offline_by_environment
from fmnist_fetch.commands.fetch import DEFAULTS, MAX_JOBS
from fmnist_fetch.console.progress import Log, listener
from fmnist_fetch.errors import FetchError, UsageError, from_exception, interrupt_behind
from fmnist_fetch.events import Dispatcher, Listener
from fmnist_fetch.manifest.catalog import DATASET, find
from fmnist_fetch.pipeline.prepare import prepare
from fmnist_fetch.pipeline.report import Report
from fmnist_fetch.pipeline.status import DatasetStatus, inspect_with_parts
from fmnist_fetch.sources.base import FetchOptions
from fmnist_fetch.storage.layout import Layout, checked_path

StrPath = str | os.PathLike[str]


def fetch(
    dataset: StrPath = DATASET,
    root: StrPath | None = None,
    *,
    mirrors: StrPath | Sequence[StrPath] = (),
    only_mirrors: bool = False,
    offline: bool | None = None,
    jobs: int = DEFAULTS.jobs,
    patience: float = DEFAULTS.patience,
    limit_rate: float | None = None,
    lan: bool = False,
    also: str | Sequence[str] = (),
    log: StrPath | None = None,
    progress: Listener | None = None,
) -> Report:
    """Download a dataset, verify and unpack it, and write its tensor file; run again, verify and repair it.

    Args:
        dataset: A name from the catalogue, or the path of a manifest.
        root: The folder for the data; None for FMNIST_ROOT or ./data.
        mirrors: URLs or folders to ask first; one or several.
        only_mirrors: Whether to ask no source but these and, with `lan`, the servers of the local network.
        offline: Whether to open no socket; None for the value of FMNIST_OFFLINE.
        jobs: The number of connections at once, from 1 to 64.
        patience: The seconds to continue without progress; math.inf for no end.
        limit_rate: The most bytes per second to receive, over all connections; None for no limit.
        lan: Whether to look for servers (`fmnist-fetch serve --announce`) in the local network, and to ask them.
        also: Tools ("keras") whose own caches get the files as published too; one or several.
        log: A file to append every attempt to, as a JSON line.
        progress: A function that is called with each event; None to display the progress on stderr or in the notebook.

    Returns:
        What the run did.

    Raises:
        FetchError: Or one of its kinds; everything verified is kept.

    >>> import fmnist_fetch
    >>> report = fmnist_fetch.fetch(mirrors="http://lab-server:8000/")
    >>> report.received, report.tensors.name  # nothing was missing
    ({}, 'fashion-mnist.safetensors')
    """
    if not (isinstance(jobs, int) and _is_number(jobs, 1) and jobs <= MAX_JOBS):
        raise UsageError(f"jobs is {jobs!r}, not a number from 1 to {MAX_JOBS}", hint="Leave it out for the default.")
    if not _is_number(patience, 0):
        raise UsageError(f"patience is {patience!r}, not a number of seconds", hint="Leave it out for the default.")
    if limit_rate is not None and not _is_number(limit_rate, 1):
        raise UsageError(f"limit_rate is {limit_rate!r}, not bytes per second", hint="Leave it out for no limit.")
    with _errors():
        layout = Layout(root, find(dataset))
        notify = listener("auto", sys.stderr) if progress is None else Dispatcher(progress)
        if log is not None:
            notify = Dispatcher(notify, Log(checked_path(log)))
        options = FetchOptions(
            mirrors=_several(mirrors, "mirrors"),
            only_mirrors=only_mirrors,
            offline=offline_by_environment() if offline is None else offline,
            jobs=jobs,
            patience=patience,
            limit_rate=limit_rate,
            lan=lan,
        )
        return prepare(layout, options, listener=notify, also=_several(also, "also"))


def verify(dataset: StrPath = DATASET, root: StrPath | None = None) -> DatasetStatus:
    """Hash all files of a dataset. Repair nothing and open no socket.

    Args:
        dataset: A name from the catalogue, or the path of a manifest.
        root: The folder of the data; None for FMNIST_ROOT or ./data.

    Returns:
        The condition of each file, as published and unpacked, and of the tensor file.

    Raises:
        FetchError: Or one of its kinds, where the dataset or the manifest is not known.

    >>> import fmnist_fetch
    >>> status = fmnist_fetch.verify()
    >>> status.complete, str(status.tensors), [str(file.payload) for file in status.files]
    (True, 'good', ['good', 'good', 'good', 'good'])
    """
    with _errors():
        return inspect_with_parts(Layout(root, find(dataset)))


@contextmanager
def _errors() -> Iterator[None]:
    """Convert what the block raises to a FetchError; the exception stays its cause."""
    try:
        yield
    except FetchError:
        raise
    except Exception as exc:
        raise interrupt_behind(exc) or from_exception(exc) from exc


def _is_number(value: object, least: int) -> bool:
    """Return whether a value from a program is a number of at least LEAST that arithmetic can work with."""
    with suppress(OverflowError):
        return isinstance(value, Real) and not isinstance(value, bool) and float(value) >= least
    return False


def _several(value: object, noun: str) -> tuple[str, ...]:
    """Return one or several as several: a string is a sequence of characters, which nobody means."""
    each = [value] if isinstance(value, str | bytes | os.PathLike) else [] if value is None else value
    try:
        return tuple(os.fsdecode(one) for one in each)  # type: ignore[attr-defined]  # what TypeError is about
    except TypeError:
        raise UsageError(
            f"{noun} is {value!r}, neither text nor a list of texts", hint="Leave it out for none."
        ) from None
