"""The IDX header: parsed, compared with the size of the file, and written back unchanged."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fmnist_fetch.errors import FormatError
from fmnist_fetch.manifest.idx import LONGEST_HEADER, TYPES, IdxHeader

HEADERS = st.builds(
    IdxHeader,
    st.sampled_from(sorted(TYPES.values())),
    st.lists(st.integers(0, 2**32 - 1), max_size=255).map(tuple),
)


@given(header=HEADERS)
def test_a_header_that_is_written_and_read_again_is_the_same(header: IdxHeader) -> None:
    data = header.dumps()
    assert IdxHeader.parse(data, header.file_size, "x") == header
    assert len(data) == header.offset <= LONGEST_HEADER


@given(header=HEADERS, more=st.integers(-(10**6), 10**6).filter(bool))
def test_a_file_of_another_size_than_its_header_demands_is_refused(header: IdxHeader, more: int) -> None:
    with pytest.raises(FormatError, match="in all, not"):
        IdxHeader.parse(header.dumps(), header.file_size + more, "x")


@given(data=st.binary(max_size=40), size=st.integers(0, 100))
def test_any_bytes_are_a_header_or_a_format_error(data: bytes, size: int) -> None:
    try:
        header = IdxHeader.parse(data, size, "x")
    except FormatError:
        return
    assert header.dumps() == data[: header.offset]


@pytest.mark.parametrize(
    ("code", "dtype", "itemsize"),
    [(0x08, "u1", 1), (0x09, "i1", 1), (0x0B, ">i2", 2), (0x0C, ">i4", 4), (0x0D, ">f4", 4), (0x0E, ">f8", 8)],
)
def test_each_type_of_the_format_is_known(code: int, dtype: str, itemsize: int) -> None:
    data = struct.pack(">2xBBII", code, 2, 3, 5)
    header = IdxHeader.parse(data, 12 + 15 * itemsize, "x")
    assert (header.dtype, header.shape) == (dtype, (3, 5))
    assert (header.itemsize, header.offset, header.file_size) == (itemsize, 12, 12 + 15 * itemsize)


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (b"", "it starts with nothing, an IDX file with 00 00"),
        (b"\0\0\x08", "it starts with 00 00 08, an IDX file with 00 00"),
        (b"\x1f\x8b\x08\x00", "it starts with 1f 8b 08 00, an IDX file with 00 00"),
        (b"\0\0\x0a\x01\0\0\0\0", "its type byte is 0a, which IDX does not have"),
        (b"\0\0\x08\x03" + bytes(11), "it ends within the sizes of its 3 dimensions"),
        (b"\0\0\x08\x03" + struct.pack(">3I", 60000, 28, 28), "says 60000 x 28 x 28, which is 47040016 bytes"),
    ],
)
def test_a_wrong_header_is_reported_with_the_file_and_the_contradiction(data: bytes, fault: str) -> None:
    with pytest.raises(FormatError) as caught:
        IdxHeader.parse(data, 1234, "raw/train-images-idx3-ubyte")
    assert caught.value.message.startswith("raw/train-images-idx3-ubyte is not the IDX file it should be: ")
    assert fault in caught.value.message
    assert "Delete that file and fetch it again" in caught.value.hint


def test_an_absurd_shape_takes_no_memory_and_no_time() -> None:
    data = b"\0\0\x0e\xff" + b"\xff" * (4 * 255)
    with pytest.raises(FormatError, match="in all, not 2000"):
        IdxHeader.parse(data, 2000, "x")
