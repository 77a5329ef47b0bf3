"""The entrance: complete files in a folder from what is there and, for the rest, from sources.

The caller's thread watches over the workers, which receive, and the consumers, which process complete pieces.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from fmnist_fetch.concurrency import run_parallel
from fmnist_fetch.errors import FetchError, PartFileReplacedError
from fmnist_fetch.events import DownloadEnded, DownloadStarted, Listener, Message
from fmnist_fetch.manifest.model import DataFile
from fmnist_fetch.sources.base import FetchOptions, Source
from fmnist_fetch.storage.files import NO_PIECES, GoodPieces
from fmnist_fetch.storage.part_file import find_partials, names_in
from fmnist_fetch.storage.recorded_file import part_file

if TYPE_CHECKING:
    from fmnist_fetch.download.consumers import IncomingFile
    from fmnist_fetch.download.segments import FileDownload

MAX_REPLACED = 4
TICK_S = 0.25


def download(
    files: Sequence[DataFile],
    folder: Path,
    sources: Sequence[Source],
    options: FetchOptions,
    listener: Listener,
    consume: "Callable[[IncomingFile], None]" = lambda _incoming: None,
    known: Mapping[str, GoodPieces] = MappingProxyType({}),
) -> None:
    """Complete files in a folder; what is there already and verifies is kept, and so is all that comes.

    Where another process replaces a part file, everything is looked at anew and continued.

    Args:
        files: What to complete.
        folder: Where; it is made if need be.
        sources: Whom to ask, in any order: their tiers count.
        options: `jobs`, `patience` and `limit_rate` count here.
        listener: Receives the events, from any thread.
        consume: Gets each file while it arrives, in several threads; where the run fails, those that are complete.
        known: The good pieces of damaged files in the folder, by name, where they have been hashed already.

    Raises:
        SourceError: No new good piece for the seconds of patience, or no source that has what is missing.
        IntegrityError: The same, and a source sent wrong bytes.
        DiskError: The disk refuses the files, or other processes go on replacing them.
        BaseException: Whatever CONSUME raises.
    """
    if not files:
        return
    # Imported where it is needed: most runs find everything in its place.
    from fmnist_fetch.download.consumers import FileConsumers
    from fmnist_fetch.download.transfer import Transfer
    from fmnist_fetch.download.workers import GRACE_S, WorkerPool

    for replaced in range(MAX_REPLACED + 1):
        downloads = _open(files, folder, {} if replaced else known, listener)
        transfer = Transfer(downloads, sources, options, listener)
        pool, consumers = WorkerPool(transfer, options.limit_rate), FileConsumers(transfer, consume)
        try:
            consumers.start()
            for _ in range(options.jobs):
                pool.add_worker()
            while not consumers.done:
                transfer.wait(TICK_S)
                pool.look_after()
            return
        except FetchError as exc:
            transfer.close()
            consumers.join()
            if not isinstance(exc, PartFileReplacedError) or replaced == MAX_REPLACED:
                raise
        finally:
            pool.stop()
            consumers.join(GRACE_S)
            transfer.save_partials()
            listener(DownloadEnded())


def _open(
    files: Sequence[DataFile], folder: Path, known: Mapping[str, GoodPieces], listener: Listener
) -> "list[FileDownload]":
    """Return FILES with what is in FOLDER already: good pieces, and the beginnings of others; tell LISTENER."""
    from fmnist_fetch.download.segments import FileDownload

    parts, names = [part_file(folder / file.name, file) for file in files], names_in(folder)
    for part in parts:
        if part.path.name in names and os.path.exists(part.path):  # noqa: PTH110 - not where a link leads to nothing
            listener(Message(f"{part.path} is damaged; its good pieces are kept"))
    # Of many files, most have not begun: they are not even looked for.
    begun = [part for part in parts if not names.isdisjoint((part.path.name, part.part.name))]
    scans = [partial(part.scan, known.get(part.path.name, NO_PIECES)) for part in begun]
    good, partials = dict(zip(begun, run_parallel(scans), strict=True)), find_partials(names)
    files_begun = [
        FileDownload(part, good.get(part, ()), part.load_partials(partials.get(part.path.name, ()))) for part in parts
    ]
    sizes = tuple((file.name, file.size, file.bytes_good) for file in files_begun)
    total = sum(len(file.pieces) for file in files_begun)
    listener(DownloadStarted(sizes, total, sum(len(file.good) for file in files_begun)))
    return files_begun
