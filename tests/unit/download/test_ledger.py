"""What is taken in: pieces that came in one receive."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from faults import payload
from fmnist_fetch.download.backoff import Patience
from fmnist_fetch.download.ledger import Transfer
from fmnist_fetch.download.order import Attempt
from fmnist_fetch.download.scheduler import Scheduler
from fmnist_fetch.download.segments import SegmentQueue
from fmnist_fetch.errors import DiskError, WrongBytesError
from fmnist_fetch.events import Event, Verified
from fmnist_fetch.manifest.model import Payload
from fmnist_fetch.storage.part_file import PartFile
from samples import PIECE, file_of, flipped, sha256
from simulation import Mood, SimOrigin

DATA = payload(4 * PIECE, seed=21)
FILE = file_of("data", DATA, Payload("data", len(DATA), sha256(DATA)), "train", "images")


class Desk:
    """A ledger, an order for all of the file, and what listeners were told."""

    def __init__(self, part: PartFile) -> None:
        self.told: list[Event] = []
        self.policy = Scheduler(
            SegmentQueue([FILE], [set()]), [SimOrigin("one", [Mood()])], 1, Patience(60.0, 0.0), lambda: 0.5
        )
        self.ledger = Transfer(self.policy, [part], self.told.append, lambda: 0.0)
        order = self.ledger.next_order(0, 0.0)
        assert order is not None
        self.order: Attempt = order


@pytest.fixture
def part(tmp_path: Path) -> Iterator[PartFile]:
    part = PartFile(tmp_path / "raw" / "data", FILE)
    yield part
    part.close()


def test_all_pieces_of_a_receive_are_kept_and_told_of(part: PartFile) -> None:
    desk = Desk(part)
    desk.ledger.take_in(desk.order, 0, DATA[: 3 * PIECE + 10])
    assert part.scan() == desk.policy.plan.good[0] == {0, 1, 2}
    assert desk.told == [Verified("data", PIECE)] * 3


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
        desk.ledger.take_in(desk.order, 0, DATA)
    assert part.scan() == desk.policy.plan.good[0] == {0, 1}
    assert desk.told == [Verified("data", PIECE)] * 2


def test_a_wrong_piece_takes_none_of_the_right_ones_of_its_receive_with_it(part: PartFile) -> None:
    desk = Desk(part)
    with pytest.raises(WrongBytesError, match=r"one: data: wrong bytes from 1,000 to 2,000"):
        desk.ledger.take_in(desk.order, 0, flipped(DATA, PIECE + 1))
    assert part.scan() == desk.policy.plan.good[0] == {0, 2, 3}
    assert desk.policy.plan.bytes_missing == PIECE
