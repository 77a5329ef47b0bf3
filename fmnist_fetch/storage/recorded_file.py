"""Part files of which only the whole has a digest: received pieces are recorded, and the whole is hashed at the end."""

import hashlib
import os
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from fmnist_fetch.errors import IntegrityError, disk
from fmnist_fetch.manifest.model import DataFile
from fmnist_fetch.storage.files import NO_PIECES, GoodPieces, Stamp
from fmnist_fetch.storage.part_file import PartFile


class WrongFileError(IntegrityError):
    """All pieces of FILE have come, and their whole has another digest; `givers` are the sources they came from."""

    def __init__(self, file: DataFile, givers: set[str]) -> None:
        super().__init__(
            f"{file.name} from {' and '.join(sorted(givers))} does not match its SHA-256",
            hint="Run the same command again; it will ask other sources.",
        )
        self.file = file
        self.givers = givers


class RecordedPartFile(PartFile):
    """A file under completion whose pieces have no digests.

    NAME.part.received has a line for each piece that is in NAME.part: its index and the sources it came from. Its first
    line is the digest of the whole, so that a record of another file of this name does not count.
    """

    def __init__(self, path: Path, file: DataFile) -> None:
        super().__init__(path, file)
        self._record = self.part.with_name(self.part.name + ".received")

    def scan(self, known: GoodPieces = NO_PIECES) -> set[int]:  # noqa: ARG002
        """Return the indices of the recorded pieces; a file under the final name is another one, whatever it is."""
        self._look()
        self._close_if_many()
        return set(self._good)

    def put(self, index: int, data: bytes | bytearray | memoryview, source: str = "") -> bool:
        """Keep DATA, which came from SOURCE, as piece INDEX; the whole decides later whether it is right."""
        self._write(index, data)
        with disk(self._record), open(self._record, "a", encoding="utf-8") as record:
            begun = record.tell() > 0
            record.write(f"{index} {source}\n" if begun else f"{self.file.sha256}\n{index} {source}\n")
        return True

    def finish(self) -> Stamp:
        """Hash the whole and give it its final name; raise WrongFileError and forget it where it is another."""
        with self._reading, self._lock, disk(self.part):
            # The very file that gets the final name, even if another process has renamed or replaced it since.
            stored = self._opened().file
            stored.seek(0)
            found = hashlib.file_digest(stored, "sha256").hexdigest()  # type: ignore[arg-type]
        givers = {source for source in self._received().values() if source}
        if found != self.file.sha256:
            self.close()
            self._good = set()
            for path in (self._record, self.part):
                with suppress(OSError):
                    path.unlink()
            raise WrongFileError(self.file, givers)
        finished = super().finish()
        with suppress(OSError):
            self._record.unlink()
        return finished

    def _good_in(self, stored: BinaryIO) -> set[int]:
        size = os.fstat(stored.fileno()).st_size
        return {index for index in self._received() if self.file.pieces[index].span.stop <= size}

    def _received(self) -> dict[int, str]:
        """Return the recorded pieces, each with its sources; a torn last line is none."""
        try:
            digest, *lines = self._record.read_text(encoding="utf-8").split("\n")[:-1]
        except (OSError, ValueError):
            return {}
        found = {}
        for line in lines if digest == self.file.sha256 else ():
            index, _, source = line.partition(" ")
            if index.isdecimal() and int(index) < len(self.file.pieces):
                found[int(index)] = source
        return found


def part_file(path: Path, file: DataFile) -> PartFile:
    """Return the part file for FILE at PATH: one that checks pieces, or one that records them."""
    return PartFile(path, file) if all(piece.sha256 for piece in file.pieces) else RecordedPartFile(path, file)
