"""Which pieces of one receive are kept."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from faults import payload
from fmnist_fetch.download.segments import FileDownload
from fmnist_fetch.download.source_stats import Attempt
from fmnist_fetch.download.transfer import Transfer
from fmnist_fetch.errors import DiskError, WrongBytesError
from fmnist_fetch.events import Event, Verified
from fmnist_fetch.manifest.model import Payload
from fmnist_fetch.sources.base import FetchOptions
from fmnist_fetch.storage.part_file import PartFile
from samples import PIECE, file_of, flipped, sha256
from simulation import Mood, SimSource

DATA = payload(4 * PIECE, seed=21)
FILE = file_of("data", DATA, Payload("data", len(DATA), sha256(DATA)), "train", "images")


class Desk:
    """A transfer of one file, an attempt for all of it, and the events."""

    def __init__(self, part: PartFile) -> None:
        self.events: list[Event] = []
        self.file = FileDownload(part)
        options = FetchOptions(jobs=1)
        self.transfer = Transfer([self.file], [SimSource("one", [Mood()])], options, self.events.append, lambda: 0.0)
        attempt = self.transfer.next_attempt(0, 0.0)
        assert attempt is not None
        self.attempt: Attempt = attempt


@pytest.fixture
def part(tmp_path: Path) -> Iterator[PartFile]:
    part = PartFile(tmp_path / "raw" / "data", FILE)
    yield part
    part.close()


def test_all_pieces_of_a_receive_are_kept_and_reported(part: PartFile) -> None:
    desk = Desk(part)
    desk.transfer.receive(desk.attempt, 0, DATA[: 3 * PIECE + 10])
    assert part.scan() == desk.file.good == {0, 1, 2}
    assert desk.events == [Verified("data", PIECE)] * 3


def test_what_was_written_counts_where_the_next_piece_of_the_same_receive_can_not_be(
    part: PartFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk, put = Desk(part), part.put

    def full(index: int, data: bytes | bytearray | memoryview, source: str) -> bool:
        assert source == "one"
        if index == 2:
            raise DiskError("the disk is full", hint="Free some space.")
        return put(index, data)

    monkeypatch.setattr(part, "put", full)
    with pytest.raises(DiskError, match="the disk is full"):
        desk.transfer.receive(desk.attempt, 0, DATA)
    assert part.scan() == desk.file.good == {0, 1}
    assert desk.events == [Verified("data", PIECE)] * 2


def test_a_wrong_piece_takes_none_of_the_right_ones_of_its_receive_with_it(part: PartFile) -> None:
    desk = Desk(part)
    with pytest.raises(WrongBytesError, match=r"one: data: wrong bytes from 1,000 to 2,000"):
        desk.transfer.receive(desk.attempt, 0, flipped(DATA, PIECE + 1))
    assert part.scan() == desk.file.good == {0, 2, 3}
    assert desk.transfer.scheduler.queue.bytes_missing == PIECE
