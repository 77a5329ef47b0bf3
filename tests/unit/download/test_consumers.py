"""Files as they arrive: read in order, each piece once it is verified, while the rest is still downloading."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Thread, Timer

import pytest

from faults import payload
from fmnist_fetch.download.consumers import FileConsumers, IncomingFile
from fmnist_fetch.download.segments import FileDownload
from fmnist_fetch.download.transfer import Transfer
from fmnist_fetch.errors import FormatError, SourceError
from fmnist_fetch.events import silent
from fmnist_fetch.manifest.model import Payload
from fmnist_fetch.sources.base import FetchOptions
from fmnist_fetch.storage.part_file import PartFile
from samples import file_of, sha256
from simulation import Mood, SimSource

CONTENTS = {f"file {number}": payload(3000, seed=number) for number in range(3)}


@dataclass
class Line:
    """A transfer, and a worker that receives on request."""

    transfer: Transfer

    def receive(self, count: int) -> None:
        """Receive COUNT more bytes, in the order of the requests."""
        while count:
            attempt = self.transfer.next_attempt(0, 0.0)
            assert attempt is not None
            span = attempt.asked
            stop = min(span.stop, span.start + count)
            count -= stop - span.start
            self.transfer.receive(attempt, span.start, CONTENTS[attempt.segment.file.name][span.start : stop])
            self.transfer.end(attempt, None, None)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "raw"


@pytest.fixture
def line(folder: Path) -> Iterator[Line]:
    files = [
        file_of(name, data, Payload(name, len(data), sha256(data)), "train", "images")
        for name, data in CONTENTS.items()
    ]
    downloads = [FileDownload(PartFile(folder / file.name, file)) for file in files]
    line = Line(Transfer(downloads, [SimSource("one", [Mood()])], FetchOptions(jobs=1), silent, lambda: 0.0))
    yield line
    line.transfer.save_partials()


def consumed(line: Line, consume: Callable[[IncomingFile], None]) -> FileConsumers:
    """Return FileConsumers that have processed all files to their ends."""
    consumers = FileConsumers(line.transfer, consume)
    consumers.start()
    consumers.join()
    return consumers


def test_a_file_is_read_in_order_while_the_rest_is_still_to_come(line: Line, folder: Path) -> None:
    read: list[bytes] = []
    reader = Thread(target=lambda: read.extend(IncomingFile(line.transfer, line.transfer.files[0]).read()))
    reader.start()
    line.receive(1500)
    assert not (folder / "file 0").exists()
    line.receive(1500)
    reader.join()
    assert b"".join(read) == CONTENTS["file 0"]
    assert (folder / "file 0").read_bytes() == CONTENTS["file 0"]


def test_nothing_is_read_of_a_piece_that_is_not_verified(line: Line) -> None:
    line.receive(1999)
    line.transfer.close()
    reading = IncomingFile(line.transfer, line.transfer.files[0]).read()
    assert next(reading) == CONTENTS["file 0"][:1000]
    with pytest.raises(SourceError, match="the transfer is over"):
        next(reading)


def test_who_waits_for_a_piece_is_woken_when_the_transfer_is_over(line: Line, folder: Path) -> None:
    line.receive(1000)
    Timer(0.1, line.transfer.close).start()
    with pytest.raises(SourceError, match="the transfer is over"):
        IncomingFile(line.transfer, line.transfer.files[0]).finish()
    assert not (folder / "file 0").exists()


def test_closed_part_files_are_not_read(line: Line, folder: Path) -> None:
    line.receive(3000)
    reading = IncomingFile(line.transfer, line.transfer.files[0]).read()
    next(reading)
    line.transfer.close()
    line.transfer.save_partials()
    with pytest.raises(SourceError, match="the transfer has ended"):
        next(reading)
    assert (folder / "file 0.part").read_bytes() == CONTENTS["file 0"]


def test_every_file_gets_its_name_without_a_consumer_too(line: Line, folder: Path) -> None:
    line.receive(9000)
    assert consumed(line, lambda _incoming: None).done
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == CONTENTS


def test_after_the_end_only_what_is_complete_is_consumed(line: Line, folder: Path) -> None:
    line.receive(7000)
    line.transfer.close()
    seen: list[str] = []
    assert not consumed(line, lambda incoming: seen.append(incoming.file.name)).done
    assert sorted(seen) == sorted(CONTENTS)
    assert {path.name for path in folder.iterdir()} == {"file 0", "file 1", "file 2.part"}
    line.transfer.wait(0)


def test_a_file_that_is_not_what_it_should_be_inside_is_complete_all_the_same(line: Line, folder: Path) -> None:
    wrong = FormatError("no gzip", hint="Delete it.")

    def consume(incoming: IncomingFile) -> None:
        if incoming.file.name == "file 1":
            raise wrong

    line.receive(9000)
    assert not consumed(line, consume).done
    with pytest.raises(FormatError) as raised:
        line.transfer.wait(0)
    assert raised.value is wrong
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == CONTENTS
