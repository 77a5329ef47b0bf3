"""Files as they arrive: each is taken in order, verified piece after verified piece, while the rest is still to come.

So hashing and unpacking hide behind the network. A taker is a thread that sees one file after the other to its end.
"""

import threading
import time
from collections.abc import Callable, Iterator

from fmnist_fetch.download.ledger import Transfer
from fmnist_fetch.errors import FormatError, IntegrityError, SourceError
from fmnist_fetch.manifest.model import DataFile
from fmnist_fetch.storage.files import Stamp

TAKERS = 4
STEP = 256 * 1024


class IncomingFile:
    """A file under completion, for whoever wants its bytes before it is complete."""

    def __init__(self, ledger: Transfer, number: int) -> None:
        self.file: DataFile = ledger.parts[number].file
        self._ledger = ledger
        self._number = number
        self._stamp: Stamp | None = None

    def read(self) -> Iterator[bytes]:
        """Yield the file's bytes in order, each once its piece is verified; at the end the file has its final name.

        Raises SourceError when the transfer is over before that, DiskError.
        """
        for index, (span, _) in enumerate(self.file.pieces):
            self._ledger.wait_for(self._number, index)
            for start in range(span.start, span.stop, STEP):
                if self._ledger.dropped:
                    raise SourceError("the transfer was broken off")
                yield self._ledger.parts[self._number].read(start, min(STEP, span.stop - start))
        self.finish()

    def finish(self) -> Stamp:
        """Wait until every piece is verified, and give the file its final name. Raises as `read` does."""
        if self._stamp is None:
            for index in range(len(self.file.pieces)):
                self._ledger.wait_for(self._number, index)
            self._stamp = self._ledger.parts[self._number].finish()
        return self._stamp


class FileConsumers:
    """Threads that hand every file of LEDGER to TAKE, in order, and see that it gets its final name."""

    def __init__(self, ledger: Transfer, take: Callable[[IncomingFile], None]) -> None:
        self._ledger = ledger
        self._take = take
        self._numbers = iter(range(len(ledger.parts)))
        self._left = len(ledger.parts)
        self._threads = [
            threading.Thread(target=self._work, name=f"fmnist-take {number}", daemon=True)
            for number in range(min(TAKERS, self._left))
        ]

    @property
    def done(self) -> bool:
        """Whether every file has been taken and has its final name."""
        return self._left == 0

    def start(self) -> None:
        """Begin with the first files."""
        for thread in self._threads:
            thread.start()

    def join(self, seconds: float | None = None) -> None:
        """Wait for the takers, SECONDS at the most. Once the ledger is closed, they take only what is complete."""
        end = None if seconds is None else time.monotonic() + seconds
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(None if end is None else max(0.0, end - time.monotonic()))

    def _work(self) -> None:
        for number in self._numbers:
            arrival = IncomingFile(self._ledger, number)
            try:
                try:
                    self._take(arrival)
                except (FormatError, IntegrityError):
                    # Not what it should be inside, but what the manifest pins: as a file it is complete all the same.
                    arrival.finish()
                    raise
                arrival.finish()
            except BaseException as exc:
                if not (self._ledger.closed and isinstance(exc, SourceError)):
                    # Whatever it is, the caller's thread must hear of it.
                    self._ledger.fail(exc)
                continue
            with self._ledger.changed:
                self._left -= 1
                if self.done:
                    self._ledger.settled.notify_all()
