"""Gunzip: streaming, bounded, checked, atomic; with isal and with zlib."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faults import payload
from fmnist_fetch.errors import DiskError, FormatError, IntegrityError
from fmnist_fetch.manifest.model import Payload
from fmnist_fetch.tensors.decompress import Sink, digest_of, stream, unpack
from processes import python
from samples import disk_of, flipped, gz, sha256

DATA = payload(300_000, seed=4)
PINNED = Payload("data", len(DATA), sha256(DATA))
PACKED = gz(DATA, "data")


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    path = tmp_path / "raw" / "data.gz"
    path.parent.mkdir()
    path.write_bytes(PACKED)
    return path


@pytest.mark.parametrize("pin", [PINNED.sha256, None])
@pytest.mark.parametrize("content", [PACKED, DATA], ids=["gzip", "plain"])
def test_what_was_packed_or_is_plain_comes_out_with_its_digest(content: bytes, pin: str | None, packed: Path) -> None:
    packed.write_bytes(content)
    target, payload = packed.with_name("data"), PINNED._replace(sha256=pin)
    assert unpack(packed, target, payload) == digest_of(packed, payload) == sha256(DATA)
    assert target.read_bytes() == DATA
    assert {path.name for path in packed.parent.iterdir()} == {"data", "data.gz"}


@given(cuts=st.lists(st.integers(0, len(DATA)), max_size=4), zeros=st.integers(0, 3))
def test_several_members_and_zero_padding_are_one_payload(
    cuts: list[int], zeros: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    edges = [0, *sorted(cuts), len(DATA)]
    members = [gzip.compress(DATA[one:other], 1) for one, other in pairwise(edges)]
    path = tmp_path_factory.mktemp("members") / "data.gz"
    path.write_bytes(b"".join(members) + bytes(zeros * 70_000))
    assert b"".join(stream(path, len(DATA))) == DATA


WRONG = {
    "ends within its header": PACKED[:7],
    "ends within its data": PACKED[:150_000],
    "ends within its check sum": PACKED[:-3],
    "has another check sum": flipped(PACKED, -6),
    "has another length": flipped(PACKED, -2),
    "has a wrong bit in its data": flipped(PACKED, 100_000),
    "is followed by something": PACKED + b"trailing garbage",
    "is followed by something after zeros": PACKED + bytes(100) + b"garbage",
    "is followed by another payload": PACKED + gzip.compress(b"more"),
    "holds less": gz(DATA[:-1]),
    "holds more": gz(DATA + b"x"),
    "holds nothing": gz(b""),
    "is nothing": b"",
    "is another plain file": DATA[:-1],
}


@pytest.mark.parametrize("what", WRONG)
def test_a_gzip_that_is_not_right_is_a_format_error_and_the_old_target_stands(what: str, packed: Path) -> None:
    packed.write_bytes(WRONG[what])
    packed.with_name("data").write_bytes(b"old")
    before = disk_of(packed.parent)
    with pytest.raises(FormatError) as caught:
        unpack(packed, packed.with_name("data"), PINNED)
    assert str(packed) in caught.value.message
    assert caught.value.hint == "Delete data.gz and run the command again to fetch it anew."
    with pytest.raises(FormatError):
        digest_of(packed, PINNED)
    assert disk_of(packed.parent) == before


def test_another_payload_of_the_same_size_is_an_integrity_error_and_the_old_target_stands(packed: Path) -> None:
    packed.write_bytes(gz(flipped(DATA, 77)))
    packed.with_name("data").write_bytes(b"old")
    before = disk_of(packed.parent)
    with pytest.raises(IntegrityError, match=f"wanted {sha256(DATA)}"):
        unpack(packed, packed.with_name("data"), PINNED)
    assert disk_of(packed.parent) == before


def test_a_packed_file_that_is_not_there_is_a_disk_error_and_makes_no_target(tmp_path: Path) -> None:
    with pytest.raises(DiskError, match="gone"):
        unpack(tmp_path / "gone", tmp_path / "data", PINNED)
    assert not (tmp_path / "data").exists()


def test_a_bomb_is_given_up_as_soon_as_it_exceeds_its_size(packed: Path) -> None:
    packed.write_bytes(gzip.compress(bytes(200_000_000), 1))
    got: list[int] = []
    with pytest.raises(FormatError, match="gives more than the 3,000,000 bytes"):
        got.extend(map(len, stream(packed, 3_000_000)))
    assert sum(got) <= 3_000_000


ZEROS = """
import sys
from pathlib import Path
from processes import peak_memory
from fmnist_fetch.manifest.model import Payload
from fmnist_fetch.tensors.decompress import decoders, unpack
limit = peak_memory() + 20_000_000
print(decoders()[0].__name__.split(".")[0])
print(unpack(Path(sys.argv[1]), Path(sys.argv[2]), Payload("data", 100_000_000, None)))
assert peak_memory() < limit, "it took over 20 MB"
"""
BLOCKED = "import sys; sys.modules['isal'] = None\n"


@pytest.mark.parametrize("library", ["isal", "zlib"])
def test_a_hundred_megabytes_of_zeros_unpack_in_a_memory_of_a_few(library: str, packed: Path) -> None:
    if library == "isal":
        pytest.importorskip("isal")
    packed.write_bytes(gzip.compress(bytes(100_000_000), 1))
    code = (BLOCKED if library == "zlib" else "") + ZEROS
    done = python(code, str(packed), str(packed.with_name("data")))
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [library, sha256(bytes(100_000_000))]
    assert packed.with_name("data").stat().st_size == 100_000_000


class Broken:
    """A decoder that is wrong about sound files: in its first or its second part, by an error or by wrong bytes."""

    error = zlib.error

    def __init__(self, parts: int, fault: str) -> None:
        self._parts, self._fault = parts, fault

    def decompressobj(self, wbits: int) -> Broken:
        self._left, self._inflater = self._parts, zlib.decompressobj(wbits)
        return self

    def decompress(self, data: bytes, most: int) -> bytes:
        found = self._inflater.decompress(data, most)
        self._left -= 1
        if self._left:
            return found
        if self._fault == "an error":
            raise self.error("invalid code")
        return flipped(found, 0)

    def __getattr__(self, name: str) -> object:
        return getattr(self._inflater, name)


@pytest.mark.parametrize("fault", ["an error", "wrong bytes"])
@pytest.mark.parametrize("parts", [1, 2])
def test_a_second_decoder_is_tried_before_a_sound_file_is_called_damaged(
    parts: int, fault: str, packed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fmnist_fetch.tensors.decompress.decoders", lambda: (Broken(parts, fault), zlib))
    seen: list[list[bytes]] = []

    @contextmanager
    def sink() -> Iterator[Sink]:
        seen.append([])
        yield seen[-1].append

    target = packed.with_name("data")
    assert unpack(packed, target, PINNED, open_sink=sink) == sha256(DATA)
    assert target.read_bytes() == b"".join(seen[-1]) == DATA
    assert len(seen) == 2
    assert {path.name for path in packed.parent.iterdir()} == {"data", "data.gz"}
    if fault == "an error":
        assert digest_of(packed, PINNED) == sha256(DATA)


def test_without_isal_all_of_this_module_works_with_zlib() -> None:
    # A run of this file in a Python that cannot import isal, without the tests that start a Python themselves.
    pytest.importorskip("isal", reason="isal is not installed: this run is the one with zlib")
    code = BLOCKED + "import pytest; sys.exit(pytest.main(sys.argv[1:]))"
    here = Path(__file__)
    words = ["-q", "-p", "no:cacheprovider", "-k", "not megabytes and not without_isal"]
    done = python(code, *words, "--rootdir", str(here.parents[3]), str(here))
    assert done.returncode == 0, done.stdout
