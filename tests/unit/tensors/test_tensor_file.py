"""The format of the tensor file: safetensors, the same bytes for the same input, and nothing else is accepted."""

from __future__ import annotations

import json
import math
import struct
from contextlib import suppress
from errno import ENODEV
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faults import payload
from fmnist_fetch.errors import FormatError
from fmnist_fetch.manifest.idx import IdxHeader
from fmnist_fetch.tensors.tensor_file import TensorFile, native, offsets, preamble
from samples import flipped, idx, sha256

HEADERS = {
    "bytes": IdxHeader("u1", (3, 5)),
    "doubles": IdxHeader(">f8", (7,)),
    "words": IdxHeader(">i2", (2, 2)),
    "none": IdxHeader(">i4", (0, 9)),
    "one": IdxHeader("u1", ()),
}
CODES = {"u1": 8, "i1": 9, ">i2": 11, ">i4": 12, ">f4": 13, ">f8": 14}


def values(name: str) -> bytes:
    """Return the big-endian values of a tensor, as in its IDX file."""
    header = HEADERS[name]
    return payload(header.file_size - header.offset, seed=len(name))


def written(path: Path, metadata: dict[str, str] | None = None) -> Path:
    body = b"".join(native(values(name), HEADERS[name].itemsize) for name in offsets(HEADERS))
    path.write_bytes(preamble(HEADERS, metadata or {"a": "1"}) + body)
    return path


@given(numbers=st.lists(st.integers(-(2**15), 2**15 - 1), max_size=20), kind=st.sampled_from(["h", "i", "f", "d"]))
def test_swapping_makes_little_endian_numbers_of_big_endian_ones(numbers: list[int], kind: str) -> None:
    big, little = (struct.pack(f"{order}{len(numbers)}{kind}", *numbers) for order in "><")
    assert native(big, struct.calcsize(kind)) == little


def test_the_same_input_gives_the_same_bytes_in_whatever_order_the_metadata_came() -> None:
    assert preamble(HEADERS, {"a": "1", "b": "2"}) == preamble(HEADERS, {"b": "2", "a": "1"})


def test_every_tensor_is_aligned_and_the_widest_come_first(tmp_path: Path) -> None:
    with TensorFile(written(tmp_path / "x")) as stored:
        assert len(stored.preamble) % 8 == 0
        assert all(tensor.start % tensor.header.itemsize == 0 for tensor in stored.tensors.values())
        assert next(iter(stored.tensors)) == "doubles"


def test_it_opens_with_the_safetensors_library_and_is_equal(tmp_path: Path) -> None:
    from safetensors import safe_open

    path = written(tmp_path / "x", {"dataset": "ö", "a": "1"})
    with TensorFile(path) as stored, safe_open(str(path), framework="numpy") as library:
        assert set(library.keys()) == set(HEADERS)
        assert library.metadata() == stored.metadata == {"dataset": "ö", "a": "1"}
        for name, header in HEADERS.items():
            ours, theirs = stored.array(name), library.get_tensor(name)
            assert ours.shape == theirs.shape == header.shape
            assert ours.dtype == theirs.dtype
            assert ours.tobytes() == theirs.tobytes() == native(values(name), header.itemsize)


def twin_of(name: str, stored: TensorFile, data: bytes) -> str | None:
    return stored.digest_if_equal(name, BytesIO(data))


@pytest.mark.parametrize("name", HEADERS)
def test_the_idx_file_that_a_tensor_came_from_is_its_twin_and_no_other_is(name: str, tmp_path: Path) -> None:
    header = HEADERS[name]
    good = idx(CODES[header.dtype], header.shape, values(name))
    with TensorFile(written(tmp_path / "x")) as stored:
        assert twin_of(name, stored, good) == sha256(good) == stored.digest(name)
        others = [flipped(good, at) for at in range(len(good))] + [good[:length] for length in range(len(good))]
        assert {twin_of(name, stored, other) for other in (*others, good + b"\0")} == {None}


def table(entry: dict[str, Any], **more: Any) -> bytes:
    text = json.dumps({"__metadata__": {}, "x": entry, **more}).encode()
    return struct.pack("<Q", len(text)) + text + bytes(24)


ENTRY: dict[str, Any] = {"dtype": "U8", "shape": [2, 12], "data_offsets": [0, 24]}
NO_TENSOR_FILES = {
    "nothing": b"",
    "too short for a length": b"\0\0\0",
    "a header longer than the file": struct.pack("<Q", 10**6) + b"{}",
    "an absurd header": b"\xff" * 100,
    "no JSON": struct.pack("<Q", 5) + b"{{{{{" + bytes(20),
    "no text": struct.pack("<Q", 5) + b"\xff" * 30,
    "a list": struct.pack("<Q", 2) + b"[]",
    "a number": struct.pack("<Q", 1) + b"5",
    "no metadata": struct.pack("<Q", 2) + b"{}",
    "nested too deeply": struct.pack("<Q", 10**6) + b"[" * 10**6,
    "another type": table({**ENTRY, "dtype": "BF16"}),
    "a type that is a list": table({**ENTRY, "dtype": ["U8"]}),
    "a negative shape": table({**ENTRY, "shape": [-2, -12]}),
    "a shape of text": table({**ENTRY, "shape": ["2", "12"]}),
    "a shape of fractions": table({**ENTRY, "shape": [2.0, 12.0]}),
    "too large a shape": table({**ENTRY, "shape": [2**32, 1]}),
    "no shape": table({"dtype": "U8", "data_offsets": [0, 24]}),
    "more bytes than its shape": table({**ENTRY, "shape": [2, 11]}),
    "fewer bytes than its shape": table({**ENTRY, "shape": [2, 13]}),
    "an end beyond the file": table({**ENTRY, "data_offsets": [1, 25]}),
    "a start within the header": table({**ENTRY, "data_offsets": [-24, 0]}),
    "an end before its start": table({**ENTRY, "data_offsets": [24, 0]}),
    "one offset": table({**ENTRY, "data_offsets": [24]}),
    "offsets of text": table({**ENTRY, "data_offsets": ["0", "24"]}),
    "an entry that is none": table(ENTRY, y=5),
    "offsets that are fractions": table({**ENTRY, "data_offsets": [0.0, 24.0]}),
    "offsets of thousands of digits": table(ENTRY).replace(b"24]}", b"2" * 5000 + b"]}"),
    "infinite offsets": table({**ENTRY, "data_offsets": [0, math.inf]}),
    "no offsets": table({"dtype": "U8", "shape": [2, 12]}),
    "more dimensions than IDX has": table({**ENTRY, "shape": [1] * 259 + [24]}),
    "true dimensions": table({**ENTRY, "shape": [True, 24]}),
    "metadata that are a list": table(ENTRY, __metadata__=["format"]),
    "metadata that are a number": table(ENTRY, __metadata__=7),
    "metadata that are no text": table(ENTRY, __metadata__={"mean": 0.5}),
    "three hundred thousand tensors": table(ENTRY, **{f"t{number}": 1 for number in range(300_000)}),
}


def test_the_entry_that_the_others_are_bent_from_is_good(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(table(ENTRY))
    with TensorFile(tmp_path / "x") as stored:
        assert stored.array("x").shape == (2, 12)


@pytest.mark.parametrize("what", NO_TENSOR_FILES)
def test_what_is_no_tensor_file_is_a_format_error_that_names_it(what: str, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(NO_TENSOR_FILES[what])
    with pytest.raises(FormatError, match=f"{tmp_path / 'x'} is not a tensor file"):
        TensorFile(tmp_path / "x")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from([*ENTRY, "mean", "x"]), inner),
)


@given(metadata=JSON, entry=JSON | st.fixed_dictionaries({key: JSON | st.just(value) for key, value in ENTRY.items()}))
def test_a_header_of_any_values_is_one_or_a_format_error(
    metadata: object, entry: dict[str, object], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("values") / "x"
    path.write_bytes(table(entry, __metadata__=metadata))
    try:
        with TensorFile(path) as stored:
            with suppress(ValueError):
                assert len(stored.statistics) == 2
            assert stored.digest("x")
            assert stored.array("x").nbytes == sum(tensor.stop - tensor.start for tensor in stored.tensors.values())
    except FormatError:
        pass


def test_where_a_file_can_not_be_mapped_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(ENODEV, "No such device")

    with TensorFile(written(tmp_path / "x")) as stored:
        mapped = {name: stored.array(name) for name in stored.tensors}
        monkeypatch.setattr("numpy.memmap", refuse)
        for name, array in mapped.items():
            read = stored.array(name)
            assert read.dtype == array.dtype
            assert (read == array).all()
            read[...] = 0


@given(data=st.binary(max_size=120))
def test_any_bytes_are_a_tensor_file_or_a_format_error(data: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("any") / "x"
    path.write_bytes(struct.pack("<Q", max(0, len(data) - 8)) + data)
    try:
        with TensorFile(path):
            pass
    except FormatError:
        pass
