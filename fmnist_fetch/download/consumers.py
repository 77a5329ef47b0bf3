"""Files are consumed in order while they arrive, verified piece after verified piece.

So hashing and unpacking happen during the download. A consumer is a thread that processes one file after
the other.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterator

from fmnist_fetch.concurrency import join_all
from fmnist_fetch.download.segments import FileDownload
from fmnist_fetch.download.transfer import Transfer
from fmnist_fetch.errors import FormatError, IntegrityError, disk
from fmnist_fetch.storage.files import Stamp
from fmnist_fetch.storage.recorded_file import WrongFileError

CONSUMERS = 4
READ_BYTES = 256 * 1024


class IncomingFile:
    """A file under completion, for those who want its bytes before it is complete."""

    def __init__(self, transfer: Transfer, file: FileDownload) -> None:
        self.file = file.data_file
        self._download = file
        self._transfer = transfer
        self._stamp: Stamp | None = None

    def read(self) -> Iterator[bytes]:
        """Yield the file's bytes in order, each once its piece is verified; at the end the file has its final name.

        A file without piece digests is verified as a whole first.

        Raises:
            SourceError: The transfer ended before that.
            DiskError: The part file cannot be read.
        """
        part = self._download.part
        if not self._download.has_piece_digests:
            self.finish()
            with disk(part.path), part.path.open("rb") as finished:
                while data := finished.read(READ_BYTES):
                    yield data
            return
        for index, (span, _) in enumerate(self._download.pieces):
            self._transfer.wait_for_piece(self._download, index)
            for start in range(span.start, span.stop, READ_BYTES):
                self._transfer.check_open()
                yield part.read(start, min(READ_BYTES, span.stop - start))
        self.finish()

    def finish(self) -> Stamp:
        """Wait until every piece is verified, give the file its final name, and return its stamp.

        Raises as `read` does.
        """
        while self._stamp is None:
            for index in range(len(self._download.pieces)):
                self._transfer.wait_for_piece(self._download, index)
            try:
                self._stamp = self._download.part.finish()
                self._transfer.settle(self._download)
            except WrongFileError as exc:
                self._transfer.reject(self._download, exc)
        return self._stamp


class FileConsumers:
    """Threads that give every file of TRANSFER to CONSUME, in order, and then its final name."""

    def __init__(self, transfer: Transfer, consume: Callable[[IncomingFile], None]) -> None:
        self._transfer = transfer
        self._consume = consume
        self._lock = threading.Lock()
        self._waiting = deque(transfer.files)
        self._unfinished = len(transfer.files)
        self._threads = [
            threading.Thread(target=self._work, name=f"fmnist-consume {number}", daemon=True)
            for number in range(min(CONSUMERS, self._unfinished))
        ]

    @property
    def done(self) -> bool:
        """Whether every file has been consumed and has its final name."""
        with self._lock:
            return self._unfinished == 0

    def start(self) -> None:
        """Start with the first files."""
        for thread in self._threads:
            thread.start()

    def join(self, seconds: float | None = None) -> None:
        """Wait for the threads, SECONDS at most. Once the transfer is closed, they consume only complete files."""
        join_all(self._threads, seconds)

    def _work(self) -> None:
        while (file := self._next()) is not None:
            try:
                self._consume_one(IncomingFile(self._transfer, file))
            except BaseException as exc:
                # Whatever it is, the caller's thread must raise it.
                self._transfer.fail(exc)
                continue
            with self._lock:
                self._unfinished -= 1
                done = self._unfinished == 0
            if done:
                self._transfer.wake()

    def _next(self) -> FileDownload | None:
        with self._lock:
            return self._waiting.popleft() if self._waiting else None

    def _consume_one(self, incoming: IncomingFile) -> None:
        try:
            self._consume(incoming)
        except (FormatError, IntegrityError):
            # Its content is not what it should be, but the file is what the manifest pins: it is complete all the same.
            incoming.finish()
            raise
        incoming.finish()
