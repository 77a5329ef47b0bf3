"""Calls that a file system does not support are skipped; failures are raised."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fmnist_fetch.storage.atomic import write_all, write_atomically
from fmnist_fetch.storage.durability import sync_data, sync_file, sync_folder, take_refusals


@pytest.fixture(autouse=True)
def forget() -> Iterator[None]:
    take_refusals()
    yield
    take_refusals()


def refusing(number: int) -> Callable[[int], None]:
    def refuse(_descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    return refuse


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP, errno.ENOSYS])
def test_a_call_that_the_file_system_does_not_know_is_passed_over_and_remembered_once(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", refusing(number))
    monkeypatch.setattr(os, "fdatasync", refusing(number))
    for name in ("one", "other"):
        with write_atomically(tmp_path / name) as file:
            write_all(file, b"data")
            sync_data(file)
        assert (tmp_path / name).read_bytes() == b"data"
    sync_folder(tmp_path)
    sentences = take_refusals()
    assert len(sentences) == 3
    assert f"this file system has no fsync ({os.strerror(number)})" in sentences[1]
    assert take_refusals() == []


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EDQUOT])
def test_a_disk_that_fails_is_not_passed_over(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", refusing(number))
    with open(tmp_path / "file", "wb") as file, pytest.raises(OSError, match=os.strerror(number)):
        sync_file(file)
    with pytest.raises(OSError, match=os.strerror(number)):
        sync_folder(tmp_path)
    assert take_refusals() == []


def test_a_folder_that_can_not_be_opened_is_passed_over(tmp_path: Path) -> None:
    sync_folder(tmp_path / "absent")
    assert len(take_refusals()) == 1
