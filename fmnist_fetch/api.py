"""The Python door: `fetch`, the same as on the command line."""

import os
import sys
from collections.abc import Sequence

from fmnist_fetch.console.notebook import Cell, in_notebook
from fmnist_fetch.console.progress import listener, never_raising
from fmnist_fetch.events import Listener
from fmnist_fetch.manifest.catalog import find
from fmnist_fetch.pipeline.prepare import prepare
from fmnist_fetch.pipeline.report import Report
from fmnist_fetch.sources.base import FetchOptions
from fmnist_fetch.storage.layout import Layout


def fetch(
    dataset: str = "fashion-mnist",
    root: str | os.PathLike[str] | None = None,
    *,
    mirrors: Sequence[str] = (),
    offline: bool = False,
    progress: Listener | None = None,
    also: Sequence[str] = (),
) -> Report:
    """Bring DATASET to ROOT, unpacked and with its tensor file; run again, it verifies and repairs.

    DATASET is a name from the catalogue or the path of a manifest. ROOT is FMNIST_ROOT or ./data if it is None.
    MIRRORS, URLs or folders, are asked first. OFFLINE opens no socket. PROGRESS is called with each event; None shows
    it on stderr, in a notebook as a bar. ALSO names tools ("keras") whose own caches get the files as published too.
    Raises FetchError and its kinds; everything verified is kept then.

    >>> import fmnist_fetch
    >>> report = fmnist_fetch.fetch(mirrors=["http://lab-server:8000/"])
    >>> report.received, report.tensors.name  # nothing was missing
    ({}, 'fashion-mnist.safetensors')
    """
    manifest = find(dataset)
    if progress is None:
        show = never_raising(Cell()) if in_notebook() else listener("auto", sys.stderr)
    else:
        show = never_raising(progress)
    options = FetchOptions(tuple(mirrors), offline=offline)
    return prepare(Layout(root, manifest), options, listener=show, also=also)
