"""The tensor file's format: safetensors, with the IDX payloads' values as they are, last in each pinned by a digest.

    8 bytes   N, the length of the header, little-endian
    N bytes   a JSON header: dtype, shape and place of each tensor, and "__metadata__", strings by name
    the rest  the tensors' bytes, little-endian, without gaps

Source: the safetensors README, section "Format". It is written here because the library's writer puts the metadata in
a random order, so that the same input would not give the same bytes, and wants all tensors in memory.
"""

import hashlib
import json
import math
import struct
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, TypeGuard

from fmnist_fetch.errors import FormatError
from fmnist_fetch.manifest.idx import MOST_DIMENSIONS, IdxHeader
from fmnist_fetch.manifest.model import Manifest
from fmnist_fetch.storage.files import open_regular, stamp

if TYPE_CHECKING:
    from numpy.typing import NDArray

NAMES = {"u1": "U8", "i1": "I8", ">i2": "I16", ">i4": "I32", ">f4": "F32", ">f8": "F64"}
VERSION = "1"
_IDX = {name: dtype for dtype, name in NAMES.items()}
MOST_TENSORS = 100_000
_LARGEST_HEADER_BYTES = 16 * 1024 * 1024
_STEP_BYTES = 256 * 1024


def _are_sizes(values: object, most: int, largest: int) -> TypeGuard[list[int]]:
    """Return whether VALUES is a list of at most MOST whole numbers, none of them negative or above LARGEST."""
    return (
        isinstance(values, list)
        and len(values) <= most
        # A truth value is a whole number too, for Python.
        and all(type(value) is int and 0 <= value <= largest for value in values)
    )


class Tensor(NamedTuple):
    """A tensor: the header of the IDX file it came from, and the span of its bytes in the tensor file."""

    header: IdxHeader
    start: int
    stop: int


def offsets(headers: Mapping[str, IdxHeader]) -> dict[str, int]:
    """Return where the tensors begin behind the preamble, in order: the widest type first, so that each is aligned."""
    names = sorted(headers, key=lambda name: -headers[name].itemsize)
    return dict(zip(names, accumulate((headers[name].values_size for name in names), initial=0), strict=False))


def preamble(headers: Mapping[str, IdxHeader], metadata: Mapping[str, str]) -> bytes:
    """Return all that stands before the tensors' bytes; the same arguments give the same bytes."""
    table: dict[str, Any] = {"__metadata__": dict(sorted(metadata.items()))}
    for name, start in offsets(headers).items():
        header = headers[name]
        span = [start, start + header.values_size]
        table[name] = {"dtype": NAMES[header.dtype], "shape": header.shape, "data_offsets": span}
    text = json.dumps(table, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text


def metadata(manifest: Manifest, digests: Mapping[str, str], mean: float | None, std: float | None) -> dict[str, str]:
    """Return the metadata: the DIGESTS of the payloads by the names of their tensors, and the statistics."""
    statistics = {} if mean is None else {"mean": repr(mean), "std": repr(std)}
    return {
        "format": VERSION,
        "dataset": manifest.name,
        "classes": json.dumps(manifest.classes),
        **{f"sha256.{name}": digest for name, digest in digests.items()},
        **statistics,
    }


def native(data: bytes, itemsize: int) -> bytes:
    """Return big-endian values as little-endian ones, or the other way round."""
    if itemsize == 1:
        return data
    swapped = bytearray(len(data))
    for place in range(itemsize):
        swapped[place::itemsize] = data[itemsize - 1 - place :: itemsize]
    return bytes(swapped)


class TensorFile(ExitStack):
    """A tensor file opened for reading; raises OSError, and FormatError where it is none."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._file = self.enter_context(open_regular(path))
        try:
            self.stamp = stamp(self._file)
            self.size = self.stamp.size
            self.preamble = self._read_preamble()
            self.tensors, self.metadata = self._parse()
        except BaseException as exc:
            self.close()
            if isinstance(exc, (ValueError, RecursionError)):
                raise FormatError(f"{path} is not a tensor file: {exc}", hint="Fetch the dataset again.") from exc
            raise

    def _read_preamble(self) -> bytes:
        """Return all that stands before the tensors' bytes; raises ValueError where that is too long."""
        length = self._file.read(8)
        (count,) = struct.unpack("<Q", length.ljust(8, b"\xff"))
        if count > min(_LARGEST_HEADER_BYTES, self.size):
            raise ValueError("its header would be longer than the file")
        return length + self._file.read(count)

    def _parse(self) -> tuple[dict[str, Tensor], dict[str, str]]:
        """Return the tensors and the metadata; raises ValueError where the header is not what the format says."""
        table = json.loads(self.preamble[8:])
        if not isinstance(table, dict) or len(table) > MOST_TENSORS:
            raise ValueError("its header is no table, or an absurd one")
        metadata = table.pop("__metadata__", None)
        if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
            raise ValueError("its metadata is not text by name")
        return {name: self._tensor(name, entry) for name, entry in table.items()}, metadata

    def _tensor(self, name: str, entry: object) -> Tensor:
        if not isinstance(entry, dict):
            raise ValueError(f"{name:.80} is described by no table")
        dtype, shape, offsets = (entry.get(key) for key in ("dtype", "shape", "data_offsets"))
        if not isinstance(dtype, str) or dtype not in _IDX:
            raise ValueError(f"{name:.80} has an unknown type")
        if not _are_sizes(shape, MOST_DIMENSIONS, 2**32 - 1):
            raise ValueError(f"{name:.80} has an impossible shape")
        if not _are_sizes(offsets, 2, self.size) or len(offsets) < 2:
            raise ValueError(f"{name:.80} has impossible offsets")
        header = IdxHeader(_IDX[dtype], tuple(shape))
        start, stop = (len(self.preamble) + offset for offset in offsets)
        if not start <= stop <= self.size:
            raise ValueError(f"{name:.80} lies outside of it")
        if stop - start != header.values_size:
            raise ValueError(f"{name:.80} has other bytes than its shape")
        return Tensor(header, start, stop)

    @property
    def statistics(self) -> tuple[float | None, float | None]:
        """Mean and standard deviation of the training pixels over 255, where they are given; raises ValueError."""
        mean, std = (float(self.metadata[key]) if key in self.metadata else None for key in ("mean", "std"))
        if any(number is not None and not math.isfinite(number) for number in (mean, std)):
            raise ValueError("its statistics are not finite")
        return mean, std

    def digest(self, name: str) -> str:
        """Return the SHA-256 of the IDX file that the tensor NAME came from."""
        digest = hashlib.sha256()
        for data in self._idx_file(name):
            digest.update(data)
        return digest.hexdigest()

    def digest_if_equal(self, name: str, payload: BinaryIO) -> str | None:
        """Return the SHA-256 of the IDX file PAYLOAD if the tensor NAME has its header and its values, else None.

        Both are read side by side, so that one digest verifies two files. Raises OSError.
        """
        digest = hashlib.sha256()
        for data in self._idx_file(name):
            if payload.read(len(data)) != data:
                return None
            digest.update(data)
        return None if payload.read(1) else digest.hexdigest()

    def _idx_file(self, name: str) -> Iterator[bytes]:
        """Yield the IDX file that the tensor NAME came from."""
        header = self.tensors[name].header
        yield header.dumps()
        for values in self._read(self.tensors[name]):
            yield native(values, header.itemsize)

    def array(self, name: str) -> "NDArray[Any]":
        """Return the tensor NAME as a numpy array, mapped copy-on-write: writing to it leaves the file as it is."""
        import numpy as np

        header, start, stop = self.tensors[name]
        dtype = np.dtype(header.dtype).newbyteorder("<")
        if start == stop:
            return np.zeros(header.shape, dtype)
        try:
            return np.asarray(np.memmap(self._file, dtype, "c", start, header.shape))
        except OSError:
            # Not every file system maps files.
            data = bytearray().join(self._read(self.tensors[name]))
            return np.frombuffer(data, dtype).reshape(header.shape)

    def _read(self, tensor: Tensor) -> Iterator[bytes]:
        self._file.seek(tensor.start)
        left = tensor.stop - tensor.start
        while left and (data := self._file.read(min(_STEP_BYTES, left))):
            left -= len(data)
            yield data
