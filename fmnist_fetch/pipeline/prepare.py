"""One dataset from nothing to tensors: look at the disk, do what is missing, look no further."""

import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING

from fmnist_fetch.concurrency import run_parallel
from fmnist_fetch.download.engine import download, retry_when_replaced
from fmnist_fetch.errors import FormatError, IntegrityError, ManifestError
from fmnist_fetch.events import Event, Listener, Message, Unpacked, silent
from fmnist_fetch.manifest.model import DataFile, Manifest
from fmnist_fetch.pipeline.report import Report
from fmnist_fetch.pipeline.status import Condition, DatasetStatus, FileStatus, damaged_pieces, inspect
from fmnist_fetch.pipeline.tool_caches import caches_of, share
from fmnist_fetch.sources.base import FetchOptions, Source
from fmnist_fetch.sources.discovery import origins
from fmnist_fetch.sources.folder import Folder
from fmnist_fetch.storage.atomic import Seal, sweep
from fmnist_fetch.storage.layout import Layout
from fmnist_fetch.storage.lock import alone, traces
from fmnist_fetch.storage.part_file import verifies
from fmnist_fetch.tensors.decompress import unpack
from fmnist_fetch.tensors.writer import Assembly

if TYPE_CHECKING:
    from fmnist_fetch.download.consumers import IncomingFile


def prepare(
    manifest: Manifest,
    layout: Layout,
    options: FetchOptions | None = None,
    *,
    listener: Listener = silent,
    also: Sequence[str] = (),
) -> Report:
    """Bring the dataset to the root, unpacked and with its tensor file; a complete one is verified and left alone.

    The caches of the tools ALSO get the files as published too. Raises FetchError and its kinds; everything verified is
    kept then.
    """
    began = time.monotonic()
    options = options or FetchOptions()
    report = Report(manifest.name, layout.root, layout.tensors, also=caches_of(manifest, also))
    tell = _one_at_a_time(report.note, listener)
    sweep(layout.raw)
    sweep(layout.processed)
    before = traces(layout)
    state = inspect(manifest, layout)
    if not state.complete:
        with alone(layout, tell):
            if traces(layout) != before:
                # Another process has been at work, and may have done it all.
                state = inspect(manifest, layout)
            if not state.complete:
                found = origins(manifest, layout, options)
                states = chain([state], iter(partial(inspect, manifest, layout), None))
                retry_when_replaced(lambda: _bring(manifest, layout, next(states), found, options, tell))
                _tidy(layout)
    for tool, folder in report.also.items():
        share(manifest, layout, tool, folder, options, tell)
    report.seconds = time.monotonic() - began
    return report


def _one_at_a_time(*listeners: Listener) -> Listener:
    """Tell LISTENERS of events that come from several threads."""
    lock = threading.Lock()

    def tell(event: Event) -> None:
        with lock:
            for listen in listeners:
                listen(event)

    return tell


def _bring(
    manifest: Manifest,
    layout: Layout,
    state: DatasetStatus,
    found: Sequence[Source],
    options: FetchOptions,
    tell: Listener,
) -> None:
    """Do what STATE lacks: payloads from copies, files from sources, payloads from files, the tensor file."""
    seals = {
        entry.file.tensor: Seal(entry.digest)
        for entry in state.files
        if entry.payload is Condition.GOOD and entry.digest
    }

    def adopted(entry: FileStatus) -> bool:
        _check_consistent(manifest, layout, entry)
        if entry.published is not Condition.ABSENT or not (seal := _adopt(entry.file, found, layout)):
            return False
        seals[entry.file.tensor] = seal
        tell(Message(f"{entry.file.payload.name}: a right copy was found on this machine"))
        return True

    wanting = [entry.file for entry in state.files if entry.wants_source and not adopted(entry)]
    _make(manifest, layout, wanting, seals, found, options, tell)
    tell(Message(f"{layout.tensors} written"))


def _make(
    manifest: Manifest,
    layout: Layout,
    wanting: Sequence[DataFile],
    seals: dict[str, Seal],
    found: Sequence[Source],
    options: FetchOptions,
    tell: Listener,
) -> None:
    """Bring the files WANTING, unpack what has no seal yet, and make the tensor file of all, side by side."""
    with Assembly(manifest, layout) as assembly:

        def take(arrival: "IncomingFile") -> None:
            file = arrival.file
            if not file.packed:
                if assembly.places(file):
                    deque(assembly.place(file, arrival.read()), maxlen=0)
                seals[file.tensor] = Seal(file.sha256, arrival.finish())
            elif file.tensor not in seals:
                seals[file.tensor] = unpacked(file, arrival.read())

        def unpacked(file: DataFile, arriving: Iterator[bytes] | None = None) -> Seal:
            way = partial(assembly.place, file)
            seal = unpack(layout.published(file), layout.payload(file), file.payload, arriving, way)
            tell(Unpacked(file.payload.name))
            return seal

        download(wanting, layout.raw, found, options, tell, take)
        packed = {file.tensor: partial(unpacked, file) for file in manifest.files if file.tensor not in seals}
        seals |= zip(packed, run_parallel(list(packed.values())), strict=True)
        assembly.complete(seals)


def _adopt(file: DataFile, found: Sequence[Source], layout: Layout) -> Seal | None:
    """Take over the payload from a copy that is unpacked, or packed in another way, if there is one.

    Where a place has the file as published, the ordinary way is better: that keeps the published file too.
    """
    places = [origin for origin in found if isinstance(origin, Folder)]
    if file.payload.sha256 is None or not file.packed or any(place.has_published(file) for place in places):
        return None
    for candidate in (path for place in places for path in place.candidates(file)):
        with suppress(FormatError, IntegrityError):
            return unpack(candidate, layout.payload(file), file.payload)
    return None


def _tidy(layout: Layout) -> None:
    """Remove what the package was unpacked to."""
    if layout.work.exists():
        import shutil

        shutil.rmtree(layout.work, ignore_errors=True)


def _check_consistent(manifest: Manifest, layout: Layout, entry: FileStatus) -> None:
    """A file that is wrong as a whole but right in every piece contradicts its manifest; raises ManifestError."""
    path, file = layout.published(entry.file), entry.file
    if entry.published is not Condition.DAMAGED or damaged_pieces(path, file) or path.stat().st_size != file.size:
        return
    # Hashed again: another process may have completed it since ENTRY was made.
    if not verifies(path, file.size, file.sha256):
        raise ManifestError(manifest.name, [f"{file.name}: its sha256 is not that of its pieces"])
