"""Written data goes to the disk while more is being written."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from fmnist_fetch.storage.writeback import STRETCH_BYTES, Writeback


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return the file descriptors that were flushed."""
    calls: list[int] = []
    monkeypatch.setattr(os, "fdatasync", calls.append)
    return calls


def test_nothing_is_flushed_before_a_stretch_is_written(tmp_path: Path, synced: list[int]) -> None:
    with open(tmp_path / "file", "wb") as file, Writeback(file) as writeback:
        writeback.wrote(STRETCH_BYTES - 1)
    assert synced == []


def test_each_stretch_is_flushed(tmp_path: Path, synced: list[int]) -> None:
    with open(tmp_path / "file", "wb") as file:
        for _ in range(3):
            with Writeback(file) as writeback:
                writeback.wrote(STRETCH_BYTES)
        assert synced == [file.fileno()] * 3


def test_what_the_disk_refuses_is_raised_at_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fdatasync", full)
    with open(tmp_path / "file", "wb") as file:
        writeback = Writeback(file)
        writeback.wrote(STRETCH_BYTES)
        with pytest.raises(OSError, match="No space left"):
            writeback.close()


@pytest.fixture
def dropped(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Return the spans, start and length, that were removed from memory."""
    calls: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "posix_fadvise", lambda _file, start, length, _advice: calls.append((start, length)))
    monkeypatch.setattr("fmnist_fetch.storage.writeback.LARGE_BYTES", 3 * STRETCH_BYTES)
    return calls


@pytest.mark.skipif(not hasattr(os, "posix_fadvise"), reason="this system takes no advice about files")
def test_pages_of_a_large_file_that_are_not_read_again_leave_the_memory(
    tmp_path: Path, synced: list[int], dropped: list[tuple[int, int]]
) -> None:
    with open(tmp_path / "file", "wb") as file:
        writeback = Writeback(file)
        for stretch in range(1, 7):
            writeback.spent(STRETCH_BYTES)
            writeback.wrote(STRETCH_BYTES)
            writeback.close()
            assert len(synced) == stretch
    assert dropped == [(0, stretch * STRETCH_BYTES) for stretch in (4, 5, 6)]


def test_pages_that_may_be_read_again_stay_in_memory(
    tmp_path: Path, synced: list[int], dropped: list[tuple[int, int]]
) -> None:
    with open(tmp_path / "file", "wb") as file:
        writeback = Writeback(file)
        for _ in range(6):
            writeback.wrote(STRETCH_BYTES)
            writeback.close()
    assert (len(synced), dropped) == (6, [])
