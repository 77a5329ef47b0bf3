"""Part files: check in memory, then write."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from errno import EINVAL, ENOSPC
from pathlib import Path
from threading import Event, Thread
from typing import BinaryIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faults import payload
from fmnist_fetch.errors import DiskError, PartFileReplacedError
from fmnist_fetch.manifest.model import DataFile, Payload
from fmnist_fetch.manifest.pieces import Piece
from fmnist_fetch.storage.atomic import write_all
from fmnist_fetch.storage.files import _fill as fill_buffer
from fmnist_fetch.storage.files import find_good_pieces, stamp, verifies
from fmnist_fetch.storage.part_file import PartFile, remove_leftovers
from samples import disk_of, file_of, fill, flipped, sha256

DATA = payload(9500, seed=9)
FILE = file_of("data", DATA, Payload("data", len(DATA), sha256(DATA)), "train", "images")
ALL = set(range(10))


def piece(index: int, file: DataFile = FILE) -> bytes:
    return DATA[slice(*file.pieces[index].span)]


@pytest.fixture
def part(tmp_path: Path) -> Iterator[PartFile]:
    part = PartFile(tmp_path / "raw" / "data", FILE)
    yield part
    part.close()


def test_a_part_file_that_is_not_there_has_no_good_piece_and_is_not_made_by_looking(part: PartFile) -> None:
    assert part.scan() == set()
    assert not part.path.parent.exists()


def test_a_right_piece_is_written_at_its_place(part: PartFile) -> None:
    assert part.put(3, piece(3))
    assert part.part.read_bytes() == bytes(3000) + piece(3)
    assert part.scan() == {3}


@pytest.mark.parametrize(
    "data", [flipped(piece(3), 0), flipped(piece(3), -1), piece(3)[:-1], piece(3) + b"x", b"", piece(4)]
)
def test_a_wrong_piece_writes_nothing(data: bytes, part: PartFile) -> None:
    part.put(0, piece(0))
    before = disk_of(part.path.parent)
    assert not part.put(3, data)
    assert disk_of(part.path.parent) == before


def test_a_wrong_first_piece_makes_not_even_a_file(part: PartFile) -> None:
    assert not part.put(0, flipped(piece(0), 17))
    assert not part.path.parent.exists()


@given(order=st.permutations(range(10)))
def test_pieces_in_any_order_make_the_file(order: list[int], tmp_path_factory: pytest.TempPathFactory) -> None:
    part = PartFile(tmp_path_factory.mktemp("part") / "data", FILE)
    for count, index in enumerate(order, start=1):
        assert part.put(index, bytearray(piece(index)))
        assert part.scan() == set(order[:count])
    part.finish()
    assert part.path.read_bytes() == DATA
    assert not part.part.exists()


@given(at=st.integers(0, len(DATA) - 1), size=st.integers(0, len(DATA)))
def test_a_scan_finds_exactly_the_pieces_that_are_right(
    at: int, size: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("scan") / "data"
    path.write_bytes(flipped(DATA, at)[:size])
    right = {
        index for index, (span, _) in enumerate(FILE.pieces) if span.stop <= size and not span.start <= at < span.stop
    }
    assert find_good_pieces(path, FILE).indices == right


@given(wrong=st.sets(st.integers(0, 9)), had=st.sets(st.integers(0, 9)))
def test_the_good_pieces_of_a_damaged_file_under_the_final_name_are_taken_over(
    wrong: set[int], had: set[int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    part = PartFile(tmp_path_factory.mktemp("part") / "data", FILE)
    for index in had:
        part.put(index, piece(index))
    damaged = bytearray(DATA)
    for index in wrong:
        damaged[FILE.pieces[index].span.start] ^= 1
    part.path.write_bytes(damaged)
    assert part.scan() == had | (ALL - wrong)
    assert find_good_pieces(part.part, FILE).indices == had | (ALL - wrong)
    assert part.path.read_bytes() == damaged
    part.close()


@pytest.fixture
def damaged(part: PartFile) -> Path:
    """Return a file under the final name, changed an hour ago, in which pieces 2 and 7 are wrong."""
    part.path.parent.mkdir()
    part.path.write_bytes(flipped(flipped(DATA, 2000), 7000))
    hour_ago = time.time() - 3600
    os.utime(part.path, (hour_ago, hour_ago))
    return part.path


def test_the_good_pieces_of_a_damaged_file_are_not_hashed_again(
    part: PartFile, damaged: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = find_good_pieces(damaged, FILE)
    monkeypatch.setattr(Piece, "matches", lambda *_: pytest.fail("it is hashed again"))
    assert part.scan(known) == known.indices == ALL - {2, 7}
    monkeypatch.undo()
    assert find_good_pieces(part.part, FILE).indices == ALL - {2, 7}


@pytest.mark.parametrize("moment", ["before", "meanwhile"])
def test_a_damaged_file_that_changed_after_it_was_hashed_is_hashed_again(
    moment: str, part: PartFile, damaged: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = find_good_pieces(damaged, FILE)

    def change(file: BinaryIO, data: memoryview) -> bool:
        damaged.write_bytes(flipped(flipped(DATA, 2000), 8000))
        return fill_buffer(file, data)

    if moment == "before":
        damaged.write_bytes(flipped(flipped(DATA, 2000), 8000))
    else:
        monkeypatch.setattr("fmnist_fetch.storage.files._fill", change)
    assert 8 not in part.scan(known)
    monkeypatch.undo()
    assert part.scan() - {7} == find_good_pieces(part.part, FILE).indices - {7} == ALL - {2, 7, 8}


def test_of_a_file_that_was_changed_just_now_no_stamp_is_kept(damaged: Path) -> None:
    damaged.touch()
    found = find_good_pieces(damaged, FILE)
    assert found.indices == ALL - {2, 7}
    assert found.stamp is None


def test_bytes_beyond_the_size_are_cut_off(part: PartFile) -> None:
    part.part.parent.mkdir()
    part.part.write_bytes(DATA + b"more than there should be")
    assert part.scan() == ALL
    part.finish()
    assert part.path.read_bytes() == DATA


def test_two_part_files_on_the_same_path_complete_it_together(part: PartFile) -> None:
    other = PartFile(part.path, FILE)
    for index in ALL:
        assert (part if index % 2 else other).put(index, piece(index))
    assert part.scan() == other.scan() == ALL
    part.finish()
    # The other process was second: the file under the final name is as good as its own.
    other.finish()
    assert part.path.read_bytes() == DATA
    assert list(part.path.parent.iterdir()) == [part.path]


def complete(part: PartFile) -> PartFile:
    for index in ALL:
        assert part.put(index, piece(index))
    return part


def test_a_part_file_that_has_vanished_is_written_anew_from_the_open_one(part: PartFile) -> None:
    complete(part)
    part.part.unlink()
    part.finish()
    assert disk_of(part.path.parent).keys() == {"data"}
    assert part.path.read_bytes() == DATA


def test_who_finishes_second_leaves_a_right_file_alone(part: PartFile) -> None:
    other = complete(PartFile(part.path, FILE))
    complete(part).finish()
    with open(part.path, "rb") as file:
        first = stamp(file)
    assert other.finish() == first
    assert part.path.read_bytes() == DATA
    assert disk_of(part.path.parent).keys() == {"data"}


def test_a_wrong_file_under_the_final_name_gives_way(part: PartFile) -> None:
    complete(part)
    part.part.unlink()
    part.path.write_bytes(b"other bytes")
    part.finish()
    assert part.path.read_bytes() == DATA


def test_a_part_file_of_another_process_never_gets_the_final_name_with_holes(part: PartFile) -> None:
    """The second process renames the part file, and the first one, which still has pieces to write, makes a new one."""
    complete(part)
    part.part.rename(part.path)
    part.path.unlink()
    late = PartFile(part.path, FILE)
    late.put(9, piece(9))
    part.finish()
    assert part.path.read_bytes() == DATA
    late.close()


def test_pieces_are_not_written_to_another_file_than_those_that_were_counted(part: PartFile) -> None:
    for index in range(9):
        part.put(index, piece(index))
    part.close()
    part.part.rename(part.path.with_name("elsewhere"))
    before = disk_of(part.path.parent)
    with pytest.raises(PartFileReplacedError, match="another process has replaced it"):
        part.put(9, piece(9))
    assert disk_of(part.path.parent) == before
    part.part.write_bytes(bytes(9000))
    with pytest.raises(PartFileReplacedError):
        part.put(9, piece(9))
    assert part.part.read_bytes() == bytes(9000)


def test_a_new_part_file_that_has_all_that_was_counted_will_do(part: PartFile) -> None:
    for index in range(9):
        part.put(index, piece(index))
    part.close()
    part.part.unlink()
    part.part.write_bytes(DATA[:9000])
    assert part.put(9, piece(9))
    part.finish()
    assert part.path.read_bytes() == DATA


def test_threads_may_put_at_once(part: PartFile) -> None:
    threads = [Thread(target=part.put, args=(index, piece(index))) for index in ALL]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert part.scan() == ALL


def test_closing_keeps_the_pieces_and_putting_opens_it_again(part: PartFile) -> None:
    part.put(0, piece(0))
    part.close()
    part.close()
    part.put(1, piece(1))
    assert part.scan() == {0, 1}


def test_a_folder_that_is_a_file_is_a_disk_error(tmp_path: Path) -> None:
    (tmp_path / "raw").write_bytes(b"mine")
    part = PartFile(tmp_path / "raw" / "data", FILE)
    with pytest.raises(DiskError, match="a file is in the way"):
        part.put(0, piece(0))
    assert part.scan() == set()
    assert (tmp_path / "raw").read_bytes() == b"mine"


def test_a_folder_in_place_of_the_part_file_has_no_good_piece(part: PartFile) -> None:
    part.part.mkdir(parents=True)
    assert part.scan() == set()
    with pytest.raises(DiskError, match="this is a folder, not a file"):
        part.put(0, piece(0))


@pytest.mark.parametrize("stored", [flipped(DATA, 5), DATA[:-1], DATA + b"x", b""])
def test_what_is_not_the_very_file_does_not_verify(stored: bytes, tmp_path: Path) -> None:
    path = tmp_path / "data"
    assert not verifies(path, FILE.size, FILE.sha256)
    path.write_bytes(stored)
    assert not verifies(path, FILE.size, FILE.sha256)
    path.write_bytes(DATA)
    assert verifies(path, FILE.size, FILE.sha256)
    assert not verifies(tmp_path, FILE.size, FILE.sha256)


def test_the_beginning_of_a_piece_is_a_proposal_and_counts_for_nothing(part: PartFile) -> None:
    part.put(0, piece(0))
    part.save_partial(3, piece(3)[:400])
    part.save_partial(3, piece(3)[:700], saved=400)
    assert part.load_partials() == {3: piece(3)[:700]}
    assert part.scan() == {0}
    # Another run finds it too.
    assert PartFile(part.path, FILE).load_partials() == {3: piece(3)[:700]}


def test_a_beginning_that_is_let_go_is_gone(part: PartFile) -> None:
    part.save_partial(3, piece(3)[:400])
    part.discard_partial(4)
    assert part.load_partials().keys() == {3}
    part.discard_partial(3)
    assert part.load_partials() == {}
    assert list(part.path.parent.iterdir()) == []


@pytest.mark.parametrize("name", [".data.99.held", ".data.-1.held", ".data.x.held", ".data..held", ".data.1.2.held"])
def test_a_beginning_of_no_piece_is_passed_over(name: str, part: PartFile) -> None:
    part.path.parent.mkdir()
    (part.path.parent / name).write_bytes(b"x" * 10)
    assert set(part.load_partials()) <= ALL
    assert part.scan() == set()


def test_a_beginning_that_is_no_shorter_than_its_piece_or_empty_is_passed_over(part: PartFile) -> None:
    part.save_partial(1, piece(1))
    part.save_partial(2, b"")
    with open(part.path.parent / ".data.3.held", "wb") as file:
        file.truncate(2**40)
    assert part.load_partials() == {}


def test_a_beginning_that_cannot_be_kept_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "raw").write_bytes(b"mine")
    PartFile(tmp_path / "raw" / "data", FILE).save_partial(0, b"x")
    assert (tmp_path / "raw").read_bytes() == b"mine"


def test_finishing_leaves_no_beginnings_behind(part: PartFile) -> None:
    part.save_partial(1, piece(1)[:10])
    complete(part).finish()
    assert list(part.path.parent.iterdir()) == [part.path]


def test_good_pieces_are_read_back_before_the_file_is_finished(part: PartFile) -> None:
    for index in (4, 5):
        part.put(index, piece(index))
    assert part.read(4200, 1500) == DATA[4200:5700]


def test_who_reads_does_not_wait_for_who_writes(part: PartFile, monkeypatch: pytest.MonkeyPatch) -> None:
    part.put(0, piece(0))
    writing, read = Event(), Event()

    def slow(file: BinaryIO, data: bytes) -> None:
        writing.set()
        assert read.wait(20)
        write_all(file, data)

    monkeypatch.setattr(f"{PartFile.__module__}.write_all", slow)
    writer = Thread(target=part.put, args=(1, piece(1)))
    writer.start()
    assert writing.wait(20)
    assert part.read(0, 1000) == piece(0)
    read.set()
    writer.join()
    assert part.scan() == {0, 1}


def test_what_another_process_finished_first_is_read_under_its_final_name(part: PartFile) -> None:
    complete(part).part.rename(part.path)
    assert part.read(0, len(DATA)) == DATA
    part.close()


def test_a_part_file_that_became_shorter_is_an_error_of_the_disk(part: PartFile) -> None:
    part.put(0, piece(0))
    with pytest.raises(DiskError, match="it became shorter"):
        part.read(500, 1000)
    assert part.scan() == {0}


def test_a_finished_file_has_the_stamp_that_is_returned(part: PartFile) -> None:
    finished = complete(part).finish()
    with open(part.path, "rb") as file:
        assert stamp(file) == finished


@pytest.fixture
def few_open_files() -> Iterator[int]:
    """As many files as a process may have open by default."""
    resource = pytest.importorskip("resource", reason="this system has no such limit")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    yield 256
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_more_part_files_than_may_be_open_can_wait_to_be_finished(tmp_path: Path, few_open_files: int) -> None:
    parts = [PartFile(tmp_path / f"data-{number}", FILE) for number in range(few_open_files + 50)]
    for index in range(10):
        assert all(part.put(index, piece(index)) for part in parts)
    for part in parts:
        part.finish()
        assert part.path.read_bytes() == DATA
    assert len(disk_of(tmp_path)) == len(parts)


def test_what_the_disk_refuses_to_one_of_many_files_is_not_passed_over(
    part: PartFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(ENOSPC, "No space left on device")

    monkeypatch.setattr("fmnist_fetch.storage.part_file.MOST_DESCRIPTORS", 0)
    monkeypatch.setattr("fmnist_fetch.storage.writeback.STRETCH_BYTES", 1)
    monkeypatch.setattr(os, "fdatasync", full)
    with pytest.raises(DiskError, match="full"):
        part.put(0, piece(0))


def test_beside_a_complete_file_no_beginnings_and_no_old_part_file_stay(part: PartFile) -> None:
    fill(part.path.parent, {"data": DATA, ".data.3.held": b"x", ".other.3.held": b"x", "data.part": b"new"})
    remove_leftovers(part.path.parent, ["data"])
    assert disk_of(part.path.parent).keys() == {"data", ".other.3.held", "data.part"}
    os.utime(part.part, (0, 0))
    remove_leftovers(part.path.parent, ["data"])
    assert disk_of(part.path.parent).keys() == {"data", ".other.3.held"}


def test_where_the_system_reads_only_where_a_file_stands_it_is_read_so(
    part: PartFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> bytes:
        raise OSError(EINVAL, "Invalid argument")

    monkeypatch.setattr(os, "pread", refuse)
    part.put(0, piece(0))
    assert part.read(100, 800) == DATA[100:900]
