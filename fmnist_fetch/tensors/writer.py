"""The tensor file while it is made: values go to their place as payloads are unpacked, others are copied at the end.

Where the manifest pins the shapes, the places are known before the first byte comes. So nobody waits for a long copy.
"""

import hashlib
import threading
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

from fmnist_fetch.errors import AGAIN, IntegrityError, ManifestError, disk
from fmnist_fetch.manifest.idx import LONGEST_HEADER, IdxHeader
from fmnist_fetch.manifest.model import DataFile, Manifest
from fmnist_fetch.storage.atomic import write_atomically
from fmnist_fetch.storage.files import open_regular
from fmnist_fetch.storage.layout import Layout
from fmnist_fetch.storage.writeback import Writeback
from fmnist_fetch.tensors.decompress import Sink, no_sink
from fmnist_fetch.tensors.statistics import statistics
from fmnist_fetch.tensors.tensor_file import metadata, native, offsets, preamble

_STEP_BYTES = 1024 * 1024
_ANY_DIGEST = "0" * 64


class Assembly(ExitStack):
    """The tensor file of a dataset, made in a `with` block: complete at its end, or nothing of it is there."""

    def __init__(self, layout: Layout) -> None:
        super().__init__()
        self._layout = layout
        self._manifest = layout.manifest
        self._places = _places(layout.manifest)
        self._placed: set[str] = set()
        self._lock = threading.Lock()
        self._needed = sum(file.payload.size for file in layout.manifest.files)
        self._out: Writeback | None = None

    def places(self, file: DataFile) -> bool:
        """Return whether FILE's values are written to their place on the way: only those of one byte each."""
        header = self._places and file.payload.header
        return bool(header and header.itemsize == 1)

    def sink(self, file: DataFile) -> AbstractContextManager[Sink]:
        """Return a sink, to open, for FILE's payload, which writes its values to their place if this `places` them.

        The values count as written when the block ends without an error, if the payload's header is the pinned one.
        Raises DiskError.
        """
        header = file.payload.header
        return self._place(file.tensor, header) if header and self.places(file) else no_sink()

    @contextmanager
    def _place(self, tensor: str, header: IdxHeader) -> Iterator[Sink]:
        head, at, is_right = header.dumps(), self._places[tensor], True

        def write(data: bytes) -> None:
            nonlocal head, at, is_right
            values = memoryview(data)[len(head) :]
            is_right = is_right and data.startswith(head[: len(data)])
            head = head[len(data) :]
            self._write(at, values)
            at += len(values)

        yield write
        if is_right:
            self._placed.add(tensor)

    def complete(self, digests: Mapping[str, str]) -> None:
        """Copy what has not been placed out of the payloads, and compare it with their DIGESTS, by tensor, once more.

        Raises:
            FormatError: A payload is no IDX file.
            ManifestError: A payload has another shape than the pinned one.
            IntegrityError: A payload changed meanwhile.
            DiskError: A file can't be read or written.
        """
        files = {file.tensor: file for file in self._manifest.files}
        placed = {name: header for name in self._placed if (header := files[name].payload.header)}
        headers = {name: placed.get(name) or self._header(file) for name, file in files.items()}
        start = preamble(headers, metadata(self._manifest, digests, *_statistics(self._layout)))
        self._write(0, start)
        for name, offset in offsets(headers).items():
            if name not in placed and self._copy(files[name], len(start) + offset, headers[name]) != digests[name]:
                raise IntegrityError(f"{self._layout.payload(files[name])} changed while it was read", hint=AGAIN)

    def _copy(self, file: DataFile, at: int, header: IdxHeader) -> str:
        """Write the values of FILE's payload, little-endian, from AT on; return the payload's SHA-256."""
        path = self._layout.payload(file)
        with disk(path), open_regular(path) as payload:
            digest = hashlib.sha256(payload.read(header.offset))
            while data := payload.read(_STEP_BYTES):
                digest.update(data)
                self._write(at, native(data, header.itemsize))
                at += len(data)
        return digest.hexdigest()

    def _write(self, at: int, data: bytes | memoryview) -> None:
        """Write DATA from AT on to the temporary file, which is opened here: none is left where nothing is written."""
        with self._lock, disk(self._layout.tensors, self._needed):
            if self._out is None:
                beside = self.enter_context(write_atomically(self._layout.tensors, self._needed))
                self._out = self.enter_context(Writeback(beside))
            self._out.file.seek(at)
            self._out.write(data)

    def _header(self, file: DataFile) -> IdxHeader:
        header, given = idx_header(self._layout.payload(file), file), file.payload.header
        if given not in (None, header):
            fault = f"{file.payload.name}: its header says {header.words}, not {given.words}, the shape given"
            raise ManifestError(self._manifest.name, [fault])
        return header


def idx_header(path: Path, file: DataFile) -> IdxHeader:
    """Return the IDX header of FILE's payload at PATH; raises FormatError where it is wrong, DiskError."""
    with disk(path), open_regular(path) as payload:
        return IdxHeader.parse(payload.read(LONGEST_HEADER), file.payload.size, str(path))


def _places(manifest: Manifest) -> dict[str, int]:
    """Where each tensor's bytes begin in the tensor file; nothing where that depends on what is still to come."""
    headers = {file.tensor: file.payload.header for file in manifest.files if file.payload.header}
    if len(headers) < len(manifest.files) or (manifest.mean is None and manifest.file("train", "images")):
        return {}
    digests = dict.fromkeys(headers, _ANY_DIGEST)
    at = len(preamble(headers, metadata(manifest, digests, manifest.mean, manifest.std)))
    return {name: at + offset for name, offset in offsets(headers).items()}


def _statistics(layout: Layout) -> tuple[float | None, float | None]:
    """Mean and standard deviation of the training pixels over 255, as pinned or else counted."""
    manifest, file = layout.manifest, layout.manifest.file("train", "images")
    if manifest.mean is not None or file is None:
        return manifest.mean, manifest.std
    path = layout.payload(file)
    header = idx_header(path, file)
    if header.dtype != "u1":
        return None, None
    with disk(path), open_regular(path) as payload:
        payload.seek(header.offset)
        return statistics(iter(lambda: payload.read(_STEP_BYTES), b""))
