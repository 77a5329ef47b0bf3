"""A final name appears complete or not at all: written beside, brought to the disk, then renamed."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from fmnist_fetch.errors import disk

_SUFFIX = ".tmp"


@contextmanager
def write_atomically(path: Path, needed: int | None = None) -> Iterator[BinaryIO]:
    """Open a file beside PATH; at the end of the block it becomes PATH, after an error it is gone.

    NEEDED is the size in bytes that will be written, for the message when the disk is full. Raises DiskError.
    """
    # A name of its own for each writer: two processes that write the same file must not truncate each other's.
    beside = path.with_name(f".{path.name}.{os.urandom(6).hex()}{_SUFFIX}")
    try:
        with disk(path, needed):
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(beside, "xb", buffering=0) as file:
                yield file
                settle(file, beside, path)
    except BaseException:
        with suppress(OSError):
            beside.unlink()
        raise


def write_all(file: BinaryIO, data: bytes | bytearray | memoryview) -> None:
    """Write the whole of DATA: an unbuffered file may take less at a time."""
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]


def settle(file: BinaryIO, source: Path, path: Path) -> None:
    """Bring FILE, open under the name SOURCE, to the disk and give it its final name PATH."""
    os.fsync(file.fileno())
    source.replace(path)


def sweep(folder: Path) -> None:
    """Remove what killed writers left in FOLDER. Call it only while no other writer can be at work there."""
    for leftover in folder.glob(f".*{_SUFFIX}"):
        with suppress(OSError):
            leftover.unlink()
