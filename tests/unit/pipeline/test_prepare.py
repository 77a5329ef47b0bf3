"""One dataset from nothing to tensors, with every disk and every bad file in the way."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from errno import EINVAL
from pathlib import Path

import pytest

from faults import Mirror
from fmnist_fetch.errors import (
    DiskError,
    FetchError,
    FormatError,
    IntegrityError,
    ManifestError,
    SourceError,
    UsageError,
)
from fmnist_fetch.events import DownloadStarted, Event, Message, Note, Unpacked
from fmnist_fetch.manifest.model import DataFile, Payload
from fmnist_fetch.manifest.pieces import Piece
from fmnist_fetch.pipeline.prepare import prepare
from fmnist_fetch.pipeline.status import DatasetStatus, inspect
from fmnist_fetch.sources.base import FetchOptions
from fmnist_fetch.storage.layout import Layout
from fmnist_fetch.tensors.arrays import load
from samples import Sample, disk_of, file_of, fill, flipped, gz, idx, images, parts, sha256


def with_file(sample: Sample, file: DataFile, published: bytes) -> Sample:
    """Return the sample with another first file."""
    files = (file, *sample.manifest.files[1:])
    return replace(sample, manifest=sample.manifest._replace(files=files), files={**sample.files, file.name: published})


def repacked(sample: Sample, published: bytes, payload: Payload) -> Sample:
    return with_file(sample, file_of(payload.name + ".gz", published, payload, "train", "images"), published)


def test_the_steps_are_reported_in_order(sample: Sample, root: Path, stick: str) -> None:
    events: list[Event] = []
    sample.fetch(root, stick, events=events)
    steps = [event for event in events if isinstance(event, Unpacked | Message)]
    assert {event.file for event in steps if isinstance(event, Unpacked)} == set(sample.payloads)
    assert steps[4:] == [Message(f"{sample.layout(root).tensors} written")]
    (began,) = (event for event in events if isinstance(event, DownloadStarted))
    assert [name for name, _, _ in began.files] == list(sample.files)


def test_a_complete_dataset_has_no_steps(sample: Sample, root: Path, stick: str) -> None:
    sample.fetch(root, stick)
    events: list[Event] = []
    report = sample.fetch(root, events=events)
    assert events == []
    assert (report.received, report.tensors) == ({}, sample.layout(root).tensors)


def test_a_part_file_that_is_complete_needs_no_source(sample: Sample, root: Path) -> None:
    fill(sample.layout(root).raw, {name + ".part": data for name, data in sample.files.items()})
    report = sample.fetch(root)
    assert report.received == {}
    assert inspect(sample.layout(root)).complete
    assert parts(sample.layout(root), sample.manifest.files) == {}


@pytest.mark.parametrize("meanwhile", [False, True])
def test_the_disk_is_looked_at_again_only_where_another_process_was_at_work(
    meanwhile: bool, sample: Sample, root: Path, stick: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    another, looks = root.with_name("another"), list[bool]()
    sample.fetch(another, stick)

    def look(layout: Layout) -> DatasetStatus:
        state = inspect(layout)
        looks.append(state.complete)
        if meanwhile:
            shutil.copytree(another, root, dirs_exist_ok=True)
        return state

    monkeypatch.setattr(f"{prepare.__module__}.inspect", look)
    report = sample.fetch(root, stick)
    assert looks == ([False, True] if meanwhile else [False])
    assert (report.received == {}) == meanwhile
    assert inspect(sample.layout(root)).complete


def test_garbage_in_a_part_file_is_replaced(sample: Sample, root: Path, stick: str) -> None:
    fill(sample.layout(root).raw, {name + ".part": data[::-1] + b"more" for name, data in sample.files.items()})
    sample.fetch(root, stick)
    assert inspect(sample.layout(root)).complete


def test_an_unpacked_copy_is_adopted(sample: Sample, root: Path, tmp_path: Path) -> None:
    cache = fill(tmp_path / "cache", sample.payloads)
    events: list[Event] = []
    sample.fetch(root, str(cache), events=events)
    assert inspect(sample.layout(root)).complete
    assert Message("train-images-idx: a right copy was found on this machine") in events
    assert disk_of(cache) == disk_of(fill(tmp_path / "cache", {})) != {}


def test_a_wrong_unpacked_copy_is_not_adopted(sample: Sample, root: Path, tmp_path: Path) -> None:
    cache = fill(tmp_path / "cache", {name: flipped(data, -1) for name, data in sample.payloads.items()})
    with pytest.raises(SourceError):
        sample.fetch(root, str(cache))
    assert [name for name in disk_of(root) if "idx" in name] == []


def test_a_verified_gzip_that_is_no_good_is_a_format_error_and_what_came_is_kept(
    sample: Sample, root: Path, tmp_path: Path
) -> None:
    published = gz(images((60, 16, 16), 1))[:-100]
    bad = repacked(sample, published, Payload("train-images-idx", 15376, None))
    with pytest.raises(FormatError) as caught:
        bad.fetch(root, str(fill(tmp_path / "stick", bad.files)))
    layout = bad.layout(root)
    assert caught.value.message == f"{layout.published(bad.file())} is a gzip stream that ends early"
    assert layout.published(bad.file()).read_bytes() == published
    assert not layout.payload(bad.file()).exists()
    assert not layout.tensors.exists()


def test_an_idx_file_with_a_wrong_header_is_a_format_error_and_gives_no_tensor_file(
    sample: Sample, root: Path, tmp_path: Path
) -> None:
    wrong = idx(8, (61, 16, 16), images((60, 16, 16), 1)[16:])
    bad = repacked(sample, gz(wrong), Payload("train-images-idx", len(wrong), sha256(wrong)))
    with pytest.raises(FormatError, match="its header says 61 x 16 x 16, which is 15632 bytes in all, not 15376"):
        bad.fetch(root, str(fill(tmp_path / "stick", bad.files)))
    assert not bad.layout(root).processed.exists()


def test_a_manifest_whose_pieces_contradict_its_file_is_reported_and_not_retried_for_ever(
    sample: Sample, root: Path, tmp_path: Path
) -> None:
    good = sample.file()
    bad = with_file(sample, good._replace(sha256="0" * 64), sample.files[good.name])
    stick = str(fill(tmp_path / "stick", bad.files))
    bad.fetch(root, stick)
    with pytest.raises(ManifestError, match="its sha256 is not that of its pieces"):
        bad.fetch(root, stick)


def test_a_piece_that_no_source_has_ends_the_run_and_the_others_are_kept(
    sample: Sample, root: Path, stick: str
) -> None:
    good = sample.file()
    pieces = (*good.pieces[:3], Piece(good.pieces[3].span, "0" * 64), *good.pieces[4:])
    bad = with_file(sample, good._replace(pieces=pieces), sample.files[good.name])
    with pytest.raises(IntegrityError):
        bad.fetch(root, stick, patience=3.0)
    kept = parts(bad.layout(root), (good,))[good.name]
    assert kept[:3000] == sample.files[good.name][:3000]
    assert kept[4000:] == sample.files[good.name][4000:]


@pytest.mark.parametrize("name", ["train-images-idx.gz", "train-images-idx.gz.part", "train-images-idx"])
def test_a_folder_in_the_way_is_a_disk_error_that_names_it(name: str, sample: Sample, root: Path, stick: str) -> None:
    (sample.layout(root).raw / name / "mine").mkdir(parents=True)
    with pytest.raises(DiskError, match=str(sample.layout(root).raw / "train-images-idx")):
        sample.fetch(root, stick)
    assert (sample.layout(root).raw / name / "mine").is_dir()


@pytest.fixture
def small_disk(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A file system of this size."""
    place = tmp_path / "small"
    place.mkdir()
    mounting = ["mount", "-t", "tmpfs", "-o", f"size={request.param}", "none", str(place)]
    if os.geteuid() != 0 or subprocess.run(mounting, capture_output=True, check=False).returncode != 0:
        pytest.skip("only root can mount a small file system")
    yield place
    subprocess.run(["umount", str(place)], check=True)


@pytest.mark.parametrize("small_disk", ["4k", "48k", "80k"], indirect=True)
def test_a_full_disk_is_reported_with_the_bytes_needed_and_every_verified_piece_is_kept(
    sample: Sample, small_disk: Path, stick: str
) -> None:
    with pytest.raises(DiskError, match=r"the disk is full \([0-9.]+ (bytes|kB|MB) needed\)") as caught:
        sample.fetch(small_disk, stick)
    assert caught.value.hint == "Free some space and run the same command again; every verified piece is kept."
    # No incomplete file has a final name.
    for name, (data, _) in disk_of(small_disk).items():
        wanted = {**sample.files, **sample.payloads}.get(Path(name).name)
        assert wanted is None or data == wanted
        assert not name.endswith(".tmp")
    subprocess.run(["mount", "-o", "remount,size=1m", str(small_disk)], check=True)
    with Mirror(sample.files) as mirror:
        sample.fetch(small_disk, mirror.url)
        assert mirror.served < sample.size
    assert inspect(sample.layout(small_disk)).complete


def test_a_good_tensor_file_is_not_written_again(sample: Sample, root: Path, stick: str) -> None:
    sample.fetch(root, stick)
    layout, events = sample.layout(root), list[Event]()
    before = layout.tensors.stat()
    path = layout.payload(sample.file())
    path.write_bytes(flipped(path.read_bytes(), 100))
    sample.fetch(root, stick, events=events)
    assert path.read_bytes() == sample.payloads[path.name]
    assert os.path.samestat(layout.tensors.stat(), before)
    assert Message(f"{layout.tensors} written") not in events


def test_what_killed_runs_left_is_removed_also_where_all_is_complete(sample: Sample, root: Path, stick: str) -> None:
    sample.fetch(root, stick)
    layout, before = sample.layout(root), disk_of(root)
    name = sample.file().name
    fill(layout.raw, {f".{name}.2.held": b"x" * 100, f".{name}.0123456789ab.tmp": b"x"})
    fill(layout.processed, {f".{layout.tensors.name}.0123456789ab.tmp": bytes(1000)})
    sample.fetch(root, stick)
    assert disk_of(root) == before


def test_each_folder_is_synced_once_after_its_files_have_their_names(
    sample: Sample, root: Path, stick: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: dict[Path, set[str]] = {}

    def record(folder: Path) -> None:
        assert folder not in synced
        synced[folder] = set(os.listdir(folder))

    monkeypatch.setattr(f"{prepare.__module__}.sync_folder", record)
    sample.fetch(root, stick)
    layout = sample.layout(root)
    assert synced.keys() == {root, layout.raw.parent, layout.raw, layout.processed}
    assert {*sample.files, *sample.payloads} <= synced[layout.raw]
    assert layout.tensors.name in synced[layout.processed]
    synced.clear()
    sample.fetch(root, stick)
    assert synced == {}


def test_what_a_file_system_refuses_is_noted_once_for_the_log(
    sample: Sample, root: Path, stick: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_descriptor: int) -> None:
        raise OSError(EINVAL, "Invalid argument")

    events: list[Event] = []
    monkeypatch.setattr(os, "fsync", refuse)
    sample.fetch(root, stick, events=events)
    notes = [event.sentence for event in events if isinstance(event, Note)]
    assert [note.partition(" (")[0] for note in notes] == [
        "this file system has no fsync",
        "this file system has no fsync of a folder",
    ]
    assert inspect(sample.layout(root)).complete


@pytest.mark.parametrize("what", ["no tensor file", "statistics that are no numbers", "a pipe", "a link to nowhere"])
def test_anything_else_in_place_of_the_tensor_file_is_damage_and_is_replaced(
    what: str, sample: Sample, root: Path, stick: str, tmp_path: Path
) -> None:
    sample.fetch(root, stick)
    path, manifest = sample.layout(root).tensors, sample.write(tmp_path)
    good = path.read_bytes()
    path.unlink()
    if what == "a pipe":
        os.mkfifo(path)
    elif what == "a link to nowhere":
        path.symlink_to("nowhere")
    else:
        path.write_bytes(b"{}" * 5000 if what == "no tensor file" else good.replace(b'"mean":"0.', b'"mean":"x.'))
    assert not inspect(sample.layout(root)).complete
    with pytest.raises(FetchError, match=re.escape(str(path))):
        load(manifest, "train", root)
    sample.fetch(root)
    assert not path.is_symlink()
    assert path.read_bytes() == good


def test_a_run_that_cannot_ask_anyone_makes_nothing(sample: Sample, root: Path) -> None:
    with pytest.raises(UsageError):
        prepare(sample.layout(root), FetchOptions(("gone",)))
    with pytest.raises(SourceError, match="no mirror is named"):
        prepare(sample.layout(root), FetchOptions(only_mirrors=True))
    assert not root.exists()
