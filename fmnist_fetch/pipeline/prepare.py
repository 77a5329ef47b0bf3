"""One dataset from nothing to tensors: look at the disk, do what is missing, and nothing else."""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from itertools import chain, repeat
from pathlib import Path
from typing import TYPE_CHECKING

from fmnist_fetch.concurrency import run_parallel
from fmnist_fetch.download.engine import download
from fmnist_fetch.errors import AGAIN, FormatError, IntegrityError, ManifestError, SourceError, disk
from fmnist_fetch.events import Dispatcher, Listener, Message, Note, Unpacked, silent
from fmnist_fetch.manifest.model import DataFile
from fmnist_fetch.pipeline.report import Report
from fmnist_fetch.pipeline.status import Condition, DatasetStatus, FileStatus, inspect
from fmnist_fetch.pipeline.tool_caches import caches_of, share
from fmnist_fetch.sources.base import FetchOptions
from fmnist_fetch.sources.folder import Folder
from fmnist_fetch.storage.atomic import sweep
from fmnist_fetch.storage.durability import sync_folder, take_refusals
from fmnist_fetch.storage.files import verifies
from fmnist_fetch.storage.layout import Layout
from fmnist_fetch.storage.lock import alone, traces
from fmnist_fetch.storage.part_file import remove_leftovers
from fmnist_fetch.tensors.decompress import no_sink, read_file, unpack
from fmnist_fetch.tensors.writer import Assembly

if TYPE_CHECKING:
    from fmnist_fetch.download.consumers import IncomingFile


def prepare(
    layout: Layout,
    options: FetchOptions | None = None,
    *,
    listener: Listener = silent,
    also: Sequence[str] = (),
) -> Report:
    """Download the dataset, unpack it and write its tensor file; verify a complete one and leave it alone.

    ALSO are tools whose caches get the files as published, too. Raises FetchError where the dataset is not complete;
    everything that was verified is kept.
    """
    began = time.monotonic()
    options = options or FetchOptions()
    report = Report(layout.manifest.name, layout.root, layout.tensors, also=caches_of(layout.manifest, also))
    notify = Dispatcher(report.note, listener)
    try:
        _sweep(layout)
        before = traces(layout)
        state = inspect(layout)
        if not state.complete:
            _complete(layout, state, before, options, notify)
        remove_leftovers(layout.raw, [file.name for file in layout.manifest.files])
        # Another process may have been killed meanwhile.
        _sweep(layout)
        for tool, folder in report.also.items():
            share(layout, tool, folder, options, notify)
    finally:
        for sentence in take_refusals():
            notify(Note(sentence))
    report.seconds = time.monotonic() - began
    return report


def _sweep(layout: Layout) -> None:
    for folder in (layout.raw, layout.processed):
        sweep(folder)


def _complete(
    layout: Layout, state: DatasetStatus, before: Sequence[object], options: FetchOptions, notify: Listener
) -> None:
    """Do what STATE lacks, which was found after the traces BEFORE: payloads, files, the tensor file, in one run."""
    # Imported here: a complete dataset needs no source.
    from fmnist_fetch.sources.discovery import explain, find_sources

    # Before anything is made: a mirror may be mistyped, or absent.
    found = find_sources(layout, options, notify)
    if options.only_mirrors and not found and not os.path.lexists(layout.root):
        raise explain(SourceError("there is no source to ask", hint=AGAIN), found, options)
    with alone(layout, notify):
        if traces(layout) != before:
            # Another process has been at work, and may have done it all.
            state = inspect(layout)
        if state.complete:
            return
        payloads = _Payloads(layout, state, [source for source in found if isinstance(source, Folder)], notify)
        with payloads.tensor_file():
            wanting = [entry for entry in state.files if entry.wants_source and not payloads.adopt(entry)]
            files, good = [entry.file for entry in wanting], {entry.file.name: entry.good for entry in wanting}
            try:
                download(files, layout.raw, found, options, notify, payloads.consume, good)
            except SourceError as exc:
                raise explain(exc, found, options) from exc.__cause__
            payloads.unpack_rest()
        _sync(layout)
        _remove_unpacked_package(layout)


class _Payloads:
    """What a run makes out of the files of a dataset in STATE: their payloads, and the tensor file of these.

    Payloads come from copies in FOLDERS, from files while they arrive, and from complete files, side by side.
    """

    def __init__(self, layout: Layout, state: DatasetStatus, folders: Sequence[Folder], notify: Listener) -> None:
        self._layout = layout
        self._folders = folders
        self._notify = notify
        self._assembly = None if state.tensors is Condition.GOOD else Assembly(layout)
        # The SHA-256 of each payload that is in its place, by the name of its tensor.
        self._digests = {
            entry.file.tensor: entry.digest for entry in state.files if entry.payload is Condition.GOOD and entry.digest
        }

    @contextmanager
    def tensor_file(self) -> Iterator[None]:
        """Make the tensor file, if it is wanted, out of the payloads that are complete at the end of the block."""
        if self._assembly is None:
            yield
            return
        with self._assembly:
            yield
            self._assembly.complete(self._digests)
        self._notify(Message(f"{self._layout.tensors} written"))

    def adopt(self, entry: FileStatus) -> bool:
        """Take the payload of ENTRY from a copy on this machine, unpacked or packed in another way, if there is one.

        Where a folder has the file as published, the ordinary way is better: that keeps the published file too.
        """
        _check_consistent(self._layout, entry)
        file = entry.file
        if (
            entry.published is not Condition.ABSENT
            or file.payload.sha256 is None
            or not file.packed
            or any(folder.has_published(file) for folder in self._folders)
        ):
            return False
        for candidate in (path for folder in self._folders for path in folder.candidates(file)):
            with suppress(FormatError, IntegrityError):
                self._digests[file.tensor] = unpack(candidate, self._layout.payload(file), file.payload)
                self._notify(Message(f"{file.payload.name}: a right copy was found on this machine"))
                return True
        return False

    def consume(self, incoming: "IncomingFile") -> None:
        """Unpack a file while it arrives; what is no archive is its payload already."""
        file = incoming.file
        if file.packed:
            if file.tensor not in self._digests:
                self._unpack(file, _reader(incoming, self._layout.published(file)))
            return
        if self._assembly and self._assembly.places(file):
            with self._assembly.sink(file) as sink:
                for data in incoming.read():
                    sink(data)
        incoming.finish()
        self._digests[file.tensor] = file.sha256

    def unpack_rest(self) -> None:
        """Unpack the files that have not been consumed, since they were complete before."""
        packed = [file for file in self._layout.manifest.files if file.tensor not in self._digests]
        run_parallel([partial(self._unpack, file) for file in packed])

    def _unpack(self, file: DataFile, read: Callable[[], Iterator[bytes]] | None = None) -> None:
        open_sink = partial(self._assembly.sink, file) if self._assembly else no_sink
        published, payload = self._layout.published(file), self._layout.payload(file)
        self._digests[file.tensor] = unpack(published, payload, file.payload, read, open_sink)
        self._notify(Unpacked(file.payload.name))


def _reader(incoming: "IncomingFile", path: Path) -> Callable[[], Iterator[bytes]]:
    """Return what yields the bytes of INCOMING: as they come, and out of the complete file at PATH from then on."""

    def read_complete() -> Iterator[bytes]:
        incoming.finish()
        yield from read_file(path)

    reads = chain([incoming.read], repeat(read_complete))
    return lambda: next(reads)()


def _sync(layout: Layout) -> None:
    """Sync the names of what was written, once for each folder; side by side they share the wait."""
    folders = (layout.raw, layout.processed, layout.raw.parent, layout.root)
    with disk(layout.root):
        run_parallel([partial(sync_folder, folder) for folder in folders])


def _remove_unpacked_package(layout: Layout) -> None:
    if os.path.lexists(layout.work):
        import shutil

        shutil.rmtree(layout.work, ignore_errors=True)


def _check_consistent(layout: Layout, entry: FileStatus) -> None:
    """Raise ManifestError for a file that is wrong as a whole but right in every piece."""
    path, file = layout.published(entry.file), entry.file
    if entry.published is not Condition.DAMAGED or entry.damaged_pieces:
        return
    with disk(path):
        if path.stat().st_size != file.size:
            return
    # Hashed again: another process may have completed it since ENTRY was made.
    if not verifies(path, file.size, file.sha256):
        raise ManifestError(layout.manifest.name, [f"{file.name}: its sha256 is not that of its pieces"])
