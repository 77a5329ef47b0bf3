"""The IDX format: a header of big-endian numbers, then the values, last dimension fastest. Pure.

    00 00 TT NN   two zero bytes, the type, the number of dimensions
    SS SS SS SS   the size of each dimension, NN times

Source: Y. LeCun, "The MNIST database", section "THE IDX FILE FORMAT".
"""

import math
import struct
from typing import NamedTuple, Self

from fmnist_fetch.errors import FormatError

NAMES = {"u1": "uint8", "i1": "int8", ">i2": "int16", ">i4": "int32", ">f4": "float32", ">f8": "float64"}
TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_CODES = {dtype: code for code, dtype in TYPES.items()}
MOST_DIMENSIONS = 255
LONGEST_HEADER = 4 + 4 * MOST_DIMENSIONS


class IdxHeader(NamedTuple):
    """The element type (numpy's notation, big-endian as on disk) and the shape of an IDX array."""

    dtype: str
    shape: tuple[int, ...]

    @classmethod
    def parse(cls, data: bytes, size: int, origin: str) -> Self:
        """Read the header at the start of DATA, the first bytes of the file ORIGIN of SIZE bytes.

        Raises FormatError where the magic number, the type or the size of the file contradict the header.
        """
        if len(data) < 4 or data[:2] != b"\0\0":
            raise _wrong(origin, f"it starts with {data[:4].hex(' ') or 'nothing'}, an IDX file with 00 00")
        if data[2] not in TYPES:
            raise _wrong(origin, f"its type byte is {data[2]:02x}, which IDX does not have")
        dimensions = data[3]
        if len(data) < 4 + 4 * dimensions:
            raise _wrong(origin, f"it ends within the sizes of its {dimensions} dimensions")
        header = cls(TYPES[data[2]], struct.unpack_from(f">{dimensions}I", data, 4))
        if header.file_size != size:
            shape = " x ".join(map(str, header.shape)) or "scalar"
            raise _wrong(origin, f"its header says {shape:.80}, which is {header.file_size} bytes in all, not {size}")
        return header

    def dumps(self) -> bytes:
        """Return the header as bytes."""
        return struct.pack(f">2xBB{len(self.shape)}I", _CODES[self.dtype], len(self.shape), *self.shape)

    @property
    def type_name(self) -> str:
        """The element type as numpy calls it: "uint8"."""
        return NAMES[self.dtype]

    @property
    def words(self) -> str:
        """The shape and the type for people: "60,000 x 28 x 28 uint8"."""
        return f"{' x '.join(f'{size:,}' for size in self.shape) or 'one'} {self.type_name}"

    @property
    def itemsize(self) -> int:
        """Bytes of one value."""
        return int(self.dtype[-1])

    @property
    def offset(self) -> int:
        """Where the values begin: the length of the header in bytes."""
        return 4 + 4 * len(self.shape)

    @property
    def values_size(self) -> int:
        """The size in bytes of the values."""
        return math.prod(self.shape) * self.itemsize

    @property
    def file_size(self) -> int:
        """The size in bytes of the whole IDX file that has this header."""
        return self.offset + self.values_size


def _wrong(origin: str, fault: str) -> FormatError:
    return FormatError(
        f"{origin} is not the IDX file it should be: {fault}",
        hint="Delete that file and fetch it again; if this is your own dataset, write its manifest anew.",
    )
