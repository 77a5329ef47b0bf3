"""One IDX file in its author's folder, packed or not: hashed, divided into pieces, its header read."""

import hashlib
import shlex
import sys
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import NamedTuple, Self

from fmnist_fetch.commands.manifest.naming import FileRole, payload_name
from fmnist_fetch.errors import DiskError, FetchError, FormatError, IntegrityError, disk
from fmnist_fetch.manifest.idx import LONGEST_HEADER, TYPES, IdxHeader
from fmnist_fetch.manifest.model import DataFile, Payload
from fmnist_fetch.manifest.pieces import Piece, Span
from fmnist_fetch.storage.files import verifies
from fmnist_fetch.tensors.decompress import MAGIC, stream, with_each_decoder

# What arrays can have in every version of numpy that this package runs with.
MAX_DIMENSIONS = 32
# The types of whole numbers, with their names in Python's arrays.
_WHOLE = {"u1": "B", "i1": "b", ">i2": "h", ">i4": "i"}
LEAVE_OUT = "or leave it out: --only takes a pattern of the names that belong to the dataset."


class IdxFile(NamedTuple):
    """A file, its entry in the manifest, and the header of the IDX array in it."""

    path: Path
    file: DataFile
    header: IdxHeader

    @classmethod
    def examine(cls, path: Path, role: FileRole, piece_length: int) -> Self:
        """Read a file and make its entry.

        Raises:
            FormatError: It is not an IDX file, or a damaged one.
            IntegrityError: Another IDX file is beside it unpacked.
            DiskError: It can't be read.
        """
        with (
            hint_for(FormatError, f"Write {path.name} again, {LEAVE_OUT}"),
            hint_for(DiskError, f"Make {path.name} readable to you, {LEAVE_OUT}"),
        ):
            pieces, sha256 = _pieces(path, piece_length)
            payload, start = _payload(path)
            header = IdxHeader.parse(start, payload.size, str(path))
        if len(header.shape) > MAX_DIMENSIONS:
            raise FormatError(
                f"{path} has {len(header.shape)} dimensions, numpy arrays have at most {MAX_DIMENSIONS}",
                hint=f"Write it with fewer dimensions, {LEAVE_OUT}",
            )
        _check_beside(path, payload)
        size = pieces[-1].span.stop  # an empty file has no header
        return cls(path, DataFile(path.name, size, sha256, pieces, *role, payload._replace(header=header)), header)

    def values(self) -> Iterator[bytes]:
        """Yield the values of the array as the file has them, in parts of any size."""
        skip = self.header.offset
        for part in stream(self.path):
            yield part[skip:]
            skip = max(0, skip - len(part))

    def extent(self) -> tuple[int, int] | None:
        """Return the least and the greatest value of the array; None if there are none or some are not whole."""
        code = _WHOLE.get(self.header.dtype)
        if code is None:
            return None
        ends: list[int] = []
        rest = b""
        for part in self.values():
            data = rest + part
            stop = len(data) - len(data) % self.header.itemsize
            rest = data[stop:]
            if values := array(code, data[:stop]):
                if sys.byteorder == "little":
                    values.byteswap()
                ends += (min(values), max(values))
        return (min(ends), max(ends)) if ends else None


def begins_as_idx(path: Path) -> bool:
    """Return whether a file or what is packed in it begins like an IDX file; one that can't be read does not."""
    try:
        start = next(stream(path), b"")
    except (DiskError, FormatError):
        return False
    return len(start) >= 4 and start[:2] == b"\0\0" and start[2] in TYPES


def _pieces(path: Path, length: int) -> tuple[tuple[Piece, ...], str]:
    pieces, whole, start = [], hashlib.sha256(), 0
    with disk(path), open(path, "rb") as file:
        while data := file.read(length):
            whole.update(data)
            pieces.append(Piece(Span(start, start + len(data)), hashlib.sha256(data).hexdigest()))
            start += len(data)
    return tuple(pieces), whole.hexdigest()


def _payload(path: Path) -> tuple[Payload, bytes]:
    """Return the payload of a file, and the bytes that have its header."""

    def attempt(decoder: ModuleType) -> tuple[Payload, bytes]:
        digest, size, start = hashlib.sha256(), 0, b""
        for part in stream(path, decoder=decoder):
            digest.update(part)
            size += len(part)
            start += part[: LONGEST_HEADER - len(start)]
        return Payload(payload_name(path.name), size, digest.hexdigest()), start

    return with_each_decoder(attempt)


def _check_beside(path: Path, payload: Payload) -> None:
    """Raise an error unless a packed file matches the unpacked one beside it, if there is one."""
    if payload.name == path.name:
        with disk(path), open(path, "rb") as file:
            if file.read(2) == MAGIC:
                hint = f"Rename it: {shlex.join(['mv', str(path), f'{path}.gz'])}"
                raise FormatError(f"{path} is packed with gzip", hint=hint)
        return
    beside = path.with_name(payload.name)
    if beside.exists() and not verifies(beside, payload.size, payload.sha256 or ""):
        hint = "Delete the outdated one. The manifest would pin the packed one."
        raise IntegrityError(f"{path} does not unpack to {payload.name}, which is beside it", hint=hint)


@contextmanager
def hint_for(error: type[FetchError], hint: str) -> Iterator[None]:
    """Replace the hints of an error, which are for users, by one for the author, whose file is the original."""
    try:
        yield
    except error as exc:
        exc.hint = hint
        raise
