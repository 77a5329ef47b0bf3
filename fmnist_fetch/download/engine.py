"""Files to a folder: what lies there already is counted in, the rest is brought."""

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from fmnist_fetch.concurrency import run_parallel
from fmnist_fetch.errors import PartFileReplacedError
from fmnist_fetch.events import DownloadStarted, Listener, Message
from fmnist_fetch.manifest.model import DataFile
from fmnist_fetch.sources.base import FetchOptions, Source
from fmnist_fetch.storage.files import NO_PIECES, GoodPieces
from fmnist_fetch.storage.recorded_file import part_file

if TYPE_CHECKING:
    from fmnist_fetch.download.arrivals import IncomingFile

MAX_RIVALS = 5


def beside_rivals(attempt: Callable[[], None]) -> None:
    """Call ATTEMPT, and again where another process replaces the part files under it: it looks anew at what is there.

    Raises what ATTEMPT raises; PartFileReplacedError only the fifth time.
    """
    for _ in range(MAX_RIVALS - 1):
        with suppress(PartFileReplacedError):
            return attempt()
    return attempt()


def download(
    files: Sequence[DataFile],
    folder: Path,
    found: Sequence[Source],
    options: FetchOptions,
    tell: Listener,
    take: "Callable[[IncomingFile], None]" = lambda _arrival: None,
    known: Mapping[str, GoodPieces] = MappingProxyType({}),
) -> None:
    """Complete FILES in FOLDER from the origins FOUND; TAKE gets each while it arrives.

    KNOWN are the good pieces of damaged files in FOLDER, by name, where they have been hashed already.

    Raises as `complete` does.
    """
    if not files:
        return
    # Imported where it is needed: most runs find everything in its place.
    from fmnist_fetch.download.workers import complete

    parts = [part_file(folder / file.name, file) for file in files]
    for part in parts:
        if os.path.exists(part.path):  # noqa: PTH110 - a folder that is closed to us has none
            tell(Message(f"{part.path} is damaged; its good pieces are kept"))
    good = run_parallel([partial(part.scan, known.get(part.file.name, NO_PIECES)) for part in parts])
    sizes = tuple(
        (file.name, file.size, sum(file.pieces[index].span.length for index in indices))
        for file, indices in zip(files, good, strict=True)
    )
    tell(DownloadStarted(sizes, sum(len(file.pieces) for file in files), sum(map(len, good))))
    complete(parts, good, found, take, jobs=options.jobs, patience=options.patience, listener=tell)
