"""A folder as a source: a USB stick, the cache of another tool, the root itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from fmnist_fetch.errors import SourceError
from fmnist_fetch.manifest.pieces import Span
from fmnist_fetch.sources.base import Tier
from fmnist_fetch.sources.folder import Folder
from samples import Sample, all_of, disk_of, fill, gz, make


@pytest.fixture
def folder(sample: Sample, tmp_path: Path) -> Folder:
    return Folder(fill(tmp_path / "stick", sample.files), Tier.USER)


@pytest.mark.parametrize("span", [Span(0, 1), Span(0, 15000), Span(4321, 4322), Span(7000, 15416)])
def test_bytes_come_from_the_file_of_the_same_name(span: Span, folder: Folder, sample: Sample) -> None:
    file = sample.file()
    assert all_of(folder.open(), file, span) == sample.files[file.name][slice(*span)]
    folder.close()


def test_files_are_read_in_turns(folder: Folder, sample: Sample) -> None:
    for file in sample.manifest.files * 2:
        assert all_of(folder, file, Span(0, file.size)) == sample.files[file.name]
    folder.close()
    folder.close()


def test_the_donor_of_a_splice_gives_upstreams_bytes(sample: Sample, tmp_path: Path) -> None:
    donors = Folder(fill(tmp_path / "package", sample.donors), Tier.PACKAGE, spliced=True)
    for file in sample.manifest.files:
        assert sample.donors[file.name] != sample.files[file.name]
        assert all_of(donors, file, Span(0, file.size)) == sample.files[file.name]
        assert all_of(donors, file, Span(5, 40)) == sample.files[file.name][5:40]
        assert donors.has_published(file)
    donors.close()


def test_a_file_without_a_splice_is_refused_for_good_where_one_is_needed(tmp_path: Path) -> None:
    unpacked = make(packed=False)
    donors = Folder(fill(tmp_path / "package", unpacked.files), Tier.PACKAGE, spliced=True)
    with pytest.raises(SourceError, match="has no copy of train-images-idx that could be spliced") as caught:
        donors.read(unpacked.file(), Span(0, 10))
    assert caught.value.permanent
    assert not donors.has_published(unpacked.file())


def test_a_file_that_is_not_there_is_refused_for_good(sample: Sample, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"stick has no train-images-idx\.gz") as caught:
        Folder(tmp_path / "stick", Tier.USER).read(sample.file(), Span(0, 10))
    assert caught.value.permanent


def test_a_file_that_ends_early_gives_what_it_has_and_is_then_refused_for_good(sample: Sample, tmp_path: Path) -> None:
    file = sample.file()
    folder = Folder(fill(tmp_path / "stick", {file.name: sample.files[file.name][:1500]}), Tier.USER)
    assert folder.read(file, Span(1000, 9000)) == sample.files[file.name][1000:1500]
    with pytest.raises(SourceError, match="ends before byte 1,500") as caught:
        folder.read(file, Span(1500, 9000))
    assert caught.value.permanent
    folder.close()


def test_the_files_may_be_in_a_subfolder(sample: Sample, tmp_path: Path) -> None:
    fill(tmp_path / "kit" / "mirror", sample.files)
    folder = Folder(tmp_path / "kit", Tier.USER, subfolders=("Sample/raw", "mirror"))
    assert folder.has_published(sample.file())
    assert all_of(folder, sample.file(), Span(0, 100)) == sample.files[sample.file().name][:100]
    folder.close()


def test_what_may_hold_the_payload_is_the_file_unpacked_or_in_any_wrapper(sample: Sample, tmp_path: Path) -> None:
    file = sample.file()
    folder = Folder(tmp_path / "cache", Tier.LOCAL)
    assert folder.candidates(file) == []
    fill(tmp_path / "cache", {file.name: gz(b"anything")})
    assert folder.candidates(file) == [tmp_path / "cache" / file.name]
    # Its size differs from that of the published file, so it is not that file.
    assert not folder.has_published(file)
    fill(tmp_path / "cache", {file.payload.name: b""})
    assert folder.candidates(file) == [tmp_path / "cache" / file.payload.name, tmp_path / "cache" / file.name]


def test_a_folder_is_never_written_to(sample: Sample, root: Path, tmp_path: Path) -> None:
    stick = fill(tmp_path / "stick", sample.files)
    before = disk_of(stick)
    stick.chmod(0o555)
    sample.fetch(root, str(stick))
    assert disk_of(stick) == before
