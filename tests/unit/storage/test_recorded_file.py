"""Files with a digest of the whole only: received pieces are recorded, and the whole decides."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from faults import payload
from fmnist_fetch.manifest.model import DataFile, Payload
from fmnist_fetch.manifest.pieces import Piece, cut
from fmnist_fetch.storage.part_file import PartFile
from fmnist_fetch.storage.recorded_file import RecordedPartFile, WrongFileError, part_file
from samples import disk_of, sha256

DATA = payload(9500, seed=9)
PIECES = tuple(Piece(span, "") for span in cut(len(DATA), 1000))
FILE = DataFile("data", len(DATA), sha256(DATA), PIECES, "", "", Payload("data", len(DATA), sha256(DATA)))


def fill(part: PartFile, indices: range, data: bytes = DATA, source: str = "one") -> None:
    for index in indices:
        assert part.put(index, data[slice(*FILE.pieces[index].span)], source)


@pytest.fixture
def part(tmp_path: Path) -> Iterator[RecordedPartFile]:
    part = RecordedPartFile(tmp_path / "raw" / "data", FILE)
    yield part
    part.close()


def test_a_file_with_a_digest_for_each_piece_is_checked_piece_by_piece(tmp_path: Path) -> None:
    checked = FILE._replace(pieces=tuple(Piece(span, sha256(DATA[slice(*span)])) for span, _ in PIECES))
    assert type(part_file(tmp_path / "data", checked)) is PartFile
    assert type(part_file(tmp_path / "data", FILE)) is RecordedPartFile


def test_a_file_begun_by_one_run_is_finished_by_the_next(part: RecordedPartFile) -> None:
    fill(part, range(4))
    part.close()
    later = RecordedPartFile(part.path, FILE)
    assert later.scan() == {0, 1, 2, 3}
    fill(later, range(4, 10), source="two")
    later.finish()
    assert [(path.name, path.read_bytes()) for path in part.path.parent.iterdir()] == [("data", DATA)]


def test_a_wrong_file_under_the_final_name_gives_no_pieces_and_gives_way(part: RecordedPartFile) -> None:
    part.path.parent.mkdir()
    part.path.write_bytes(bytes(len(DATA)))
    assert part.scan() == set()
    fill(part, range(10))
    part.finish()
    assert part.path.read_bytes() == DATA


def test_a_record_of_another_file_of_this_name_does_not_count(part: RecordedPartFile) -> None:
    fill(part, range(5))
    other = RecordedPartFile(part.path, FILE._replace(sha256=sha256(b"other")))
    assert other.scan() == set()
    other.close()


def test_a_part_file_that_became_shorter_has_only_the_pieces_that_it_still_contains(part: RecordedPartFile) -> None:
    fill(part, range(10))
    with open(part.part, "r+b") as file:
        file.truncate(3500)
    assert part.scan() == {0, 1, 2}


def test_a_torn_record_is_read_as_far_as_it_goes(part: RecordedPartFile) -> None:
    fill(part, range(3))
    record = part.part.with_name("data.part.received")
    record.write_bytes(record.read_bytes()[:-3] + b"\xff")
    assert part.scan() in (set(), {0, 1})


def test_a_whole_that_is_wrong_is_forgotten_and_its_sources_are_named(part: RecordedPartFile) -> None:
    fill(part, range(9))
    fill(part, range(9, 10), bytes(len(DATA)), source="another")
    with pytest.raises(WrongFileError, match="data from another and one does not match") as failure:
        part.finish()
    assert failure.value.givers == {"one", "another"}
    assert disk_of(part.path.parent) == {}
