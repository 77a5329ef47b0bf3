"""Sources that raise what no source should: beside a right one, and alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from fmnist_fetch.download.engine import download
from fmnist_fetch.errors import SourceError
from fmnist_fetch.events import Attempted, Event, silent
from fmnist_fetch.manifest.model import DataFile
from fmnist_fetch.manifest.pieces import Span
from fmnist_fetch.sources.base import FetchOptions, Tier
from fmnist_fetch.sources.folder import Folder
from samples import Sample, fill


class Broken(Folder):
    """A folder that raises an exception of no library where it is opened, or else where it is read."""

    def __init__(self, folder: Path, *, when_opened: bool) -> None:
        super().__init__(folder, Tier.USER)
        self._when_opened = when_opened

    def open(self) -> Broken:
        if self._when_opened:
            raise KeyError("x")
        return self

    def read(self, file: DataFile, span: Span) -> bytes:
        raise ZeroDivisionError


@pytest.mark.parametrize("when_opened", [False, True])
def test_a_source_that_raises_anything_ends_nothing_beside_a_right_one(
    when_opened: bool, sample: Sample, tmp_path: Path
) -> None:
    right = Folder(fill(tmp_path / "right", sample.files), Tier.LOCAL)
    events: list[Event] = []
    sources = [Broken(tmp_path / "broken", when_opened=when_opened), right]
    download(sample.manifest.files, tmp_path / "raw", sources, FetchOptions(patience=20.0), events.append)
    assert {path.name: path.read_bytes() for path in (tmp_path / "raw").iterdir()} == sample.files
    raised = "KeyError: 'x'" if when_opened else "ZeroDivisionError"
    assert f"{tmp_path / 'broken'}: {raised}" in {event.error for event in events if isinstance(event, Attempted)}


@pytest.mark.parametrize("when_opened", [False, True])
def test_a_single_source_that_raises_anything_is_named(when_opened: bool, sample: Sample, tmp_path: Path) -> None:
    source = Broken(tmp_path / "broken", when_opened=when_opened)
    with pytest.raises(SourceError, match="KeyError: 'x'" if when_opened else "ZeroDivisionError"):
        download(sample.manifest.files, tmp_path / "raw", [source], FetchOptions(patience=1.0), silent)
