"""Files as they arrive: read in order, piece after verified piece, while the rest is still to come."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Thread, Timer

import pytest

from faults import payload
from fmnist_fetch.download.arrivals import FileConsumers, IncomingFile
from fmnist_fetch.download.backoff import Patience
from fmnist_fetch.download.ledger import Transfer
from fmnist_fetch.download.scheduler import Scheduler
from fmnist_fetch.download.segments import SegmentQueue
from fmnist_fetch.errors import FormatError, SourceError
from fmnist_fetch.events import silent
from fmnist_fetch.manifest.model import Payload
from fmnist_fetch.storage.part_file import PartFile
from samples import file_of, sha256
from simulation import Mood, SimOrigin

CONTENTS = {f"file {number}": payload(3000, seed=number) for number in range(3)}


@dataclass
class Line:
    """A ledger, and a hand that brings what is asked for."""

    ledger: Transfer

    def bring(self, count: int) -> None:
        """Bring COUNT bytes more, in the order in which they are asked for."""
        while count:
            order = self.ledger.policy.next(0.0, 0)
            assert order is not None
            name = self.ledger.parts[order.task.file].file.name
            span = order.task.span
            stop = min(span.stop, span.start + count)
            count -= stop - span.start
            self.ledger.take_in(order, span.start, CONTENTS[name][span.start : stop])
            self.ledger.end(order, None, span, None)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "raw"


@pytest.fixture
def line(folder: Path) -> Iterator[Line]:
    files = [
        file_of(name, data, Payload(name, len(data), sha256(data)), "train", "images")
        for name, data in CONTENTS.items()
    ]
    parts = [PartFile(folder / file.name, file) for file in files]
    plan = SegmentQueue(files, [set() for _ in files])
    policy = Scheduler(plan, [SimOrigin("one", [Mood()])], 1, Patience(60.0, 0.0), lambda: 0.5)
    line = Line(Transfer(policy, parts, silent, lambda: 0.0))
    yield line
    line.ledger.put_away()


def taken(line: Line, take: Callable[[IncomingFile], None]) -> FileConsumers:
    """FileConsumers that have seen all files to their ends."""
    takers = FileConsumers(line.ledger, take)
    takers.start()
    takers.join()
    return takers


def test_a_file_is_read_in_order_while_the_rest_is_still_to_come(line: Line, folder: Path) -> None:
    read: list[bytes] = []
    reader = Thread(target=lambda: read.extend(IncomingFile(line.ledger, 0).read()))
    reader.start()
    line.bring(1500)
    assert not (folder / "file 0").exists()
    line.bring(1500)
    reader.join()
    assert b"".join(read) == CONTENTS["file 0"]
    assert (folder / "file 0").read_bytes() == CONTENTS["file 0"]


def test_nothing_is_read_of_a_piece_that_is_not_verified(line: Line) -> None:
    line.bring(1999)
    line.ledger.close()
    reading = IncomingFile(line.ledger, 0).read()
    assert next(reading) == CONTENTS["file 0"][:1000]
    with pytest.raises(SourceError, match="the transfer is over"):
        next(reading)


def test_who_waits_for_a_piece_is_woken_when_the_transfer_is_over(line: Line, folder: Path) -> None:
    line.bring(1000)
    Timer(0.1, line.ledger.close).start()
    with pytest.raises(SourceError, match="the transfer is over"):
        IncomingFile(line.ledger, 0).finish()
    assert not (folder / "file 0").exists()


def test_once_the_part_files_are_closed_nobody_reads_them(line: Line, folder: Path) -> None:
    line.bring(3000)
    reading = IncomingFile(line.ledger, 0).read()
    next(reading)
    line.ledger.close()
    line.ledger.put_away()
    with pytest.raises(SourceError, match="the transfer was broken off"):
        next(reading)
    assert (folder / "file 0.part").read_bytes() == CONTENTS["file 0"]


def test_every_file_gets_its_name_also_where_nobody_wants_its_bytes(line: Line, folder: Path) -> None:
    line.bring(9000)
    assert taken(line, lambda _arrival: None).done
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == CONTENTS


def test_after_the_end_only_what_is_complete_is_taken(line: Line, folder: Path) -> None:
    line.bring(7000)
    line.ledger.close()
    seen: list[str] = []
    assert not taken(line, lambda arrival: seen.append(arrival.file.name)).done
    assert sorted(seen) == sorted(CONTENTS)
    assert {path.name for path in folder.iterdir()} == {"file 0", "file 1", "file 2.part"}
    assert line.ledger.fatal is None


def test_a_file_that_is_not_what_it_should_be_inside_is_complete_all_the_same(line: Line, folder: Path) -> None:
    wrong = FormatError("no gzip", hint="Delete it.")

    def take(arrival: IncomingFile) -> None:
        if arrival.file.name == "file 1":
            raise wrong

    line.bring(9000)
    assert not taken(line, take).done
    assert line.ledger.fatal is wrong
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == CONTENTS
