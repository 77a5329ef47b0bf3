"""The published files in the caches of other tools: linked or copied, verified, and right files stay untouched."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from faults import Mirror
from fmnist_fetch.errors import DiskError, SourceError, UsageError
from fmnist_fetch.events import Event, silent
from fmnist_fetch.pipeline.prepare import prepare
from fmnist_fetch.pipeline.report import Report
from fmnist_fetch.sources.base import FetchOptions
from fmnist_fetch.sources.discovery import find_sources
from processes import command_line
from samples import Sample, disk_of, fill, flipped

PLACE = "datasets/sample"


@pytest.fixture
def known(sample: Sample) -> Sample:
    """Return a dataset that Keras can read."""
    return sample.changed(caches={"keras": PLACE})


@pytest.fixture
def complete(known: Sample, root: Path, tmp_path: Path) -> Path:
    """Return a root with all of it."""
    known.fetch(root, str(fill(tmp_path / "stick", known.files)))
    return root


@pytest.fixture
def cache() -> Path:
    """The folder of Keras in the home of this test, which does not exist yet."""
    return Path.home() / ".keras" / PLACE


@pytest.fixture
def other_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put the cache on another file system than the root."""

    def refused(*_arguments: object, **_more: object) -> None:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    monkeypatch.setattr(os, "link", refused)


def share(sample: Sample, root: Path, *mirrors: str, tool: str = "keras", events: list[Event] | None = None) -> Report:
    listener = silent if events is None else events.append
    choice = FetchOptions(mirrors, only_mirrors=True, patience=3)
    return prepare(sample.layout(root), choice, listener=listener, also=[tool])


def held(folder: Path) -> dict[str, bytes]:
    return {name: data for name, (data, _) in disk_of(folder).items()}


def test_the_cache_gets_the_files_as_published_without_a_second_copy(
    known: Sample, complete: Path, cache: Path
) -> None:
    before = disk_of(complete)
    report = share(known, complete)
    assert (report.also, report.received) == ({"keras": cache}, {})
    assert held(cache) == known.files
    assert all((cache / name).samefile(known.layout(complete).raw / name) for name in known.files)
    assert disk_of(complete) == before


def test_the_dataset_and_the_cache_come_in_one_go(known: Sample, root: Path, cache: Path, tmp_path: Path) -> None:
    share(known, root, str(fill(tmp_path / "stick", known.files)))
    assert held(cache) == known.files
    assert held(known.layout(root).raw) == known.files | known.payloads


@pytest.mark.usefixtures("other_disk")
def test_on_another_disk_the_cache_gets_a_verified_copy(known: Sample, complete: Path, cache: Path) -> None:
    share(known, complete)
    assert held(cache) == known.files
    assert not any((cache / name).samefile(known.layout(complete).raw / name) for name in known.files)


def test_a_right_file_in_the_cache_is_left_alone(known: Sample, complete: Path, cache: Path) -> None:
    fill(cache, known.files)
    before, events = disk_of(cache), list[Event]()
    share(known, complete, events=events)
    assert disk_of(cache) == before
    assert not any((cache / name).samefile(known.layout(complete).raw / name) for name in known.files)
    assert events == []


@pytest.mark.parametrize("linking", [True, False])
def test_a_wrong_file_in_the_cache_is_replaced_and_nothing_else_there(
    linking: bool, known: Sample, complete: Path, cache: Path, request: pytest.FixtureRequest
) -> None:
    if not linking:
        request.getfixturevalue("other_disk")
    first = known.file().name
    fill(cache, {**known.files, first: flipped(known.files[first], 5), "notes.txt": b"mine"})
    before = disk_of(cache)
    share(known, complete)
    assert held(cache) == {**known.files, "notes.txt": b"mine"}
    changed = {name for name, state in disk_of(cache).items() if before[name] != state}
    assert changed == {first}


def test_a_root_without_its_packed_files_has_them_fetched_for_the_cache(
    known: Sample, complete: Path, cache: Path
) -> None:
    for name in known.files:
        (known.layout(complete).raw / name).unlink()
    before = disk_of(complete)
    with Mirror(known.files) as mirror:
        report = share(known, complete, mirror.url)
    assert held(cache) == known.files
    assert sum(report.received.values()) == known.size
    assert disk_of(complete) == before


def test_a_file_that_no_source_has_is_reported_and_the_wrong_one_stays(
    known: Sample, complete: Path, cache: Path
) -> None:
    first = known.file().name
    fill(cache, {first: b"cut off"})
    (known.layout(complete).raw / first).unlink()
    before = disk_of(complete)
    with pytest.raises(SourceError) as caught:
        share(known, complete)
    assert f"sample itself is complete under {complete}." in caught.value.hint
    assert first in caught.value.message
    assert (cache / first).read_bytes() == b"cut off"
    assert disk_of(complete) == before


def test_a_file_that_rotted_in_the_root_after_its_survey_is_not_handed_on(
    known: Sample, complete: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = known.file().name
    link = os.link

    def rotting(source: Path, target: Path) -> None:
        if source.name == first:
            source.write_bytes(flipped(known.files[first], 5))
        link(source, target)

    monkeypatch.setattr(os, "link", rotting)
    with Mirror(known.files) as mirror:
        share(known, complete, mirror.url)
    assert held(cache) == known.files


def test_a_symbolic_link_in_the_root_becomes_a_file_in_the_cache(
    known: Sample, complete: Path, cache: Path, tmp_path: Path
) -> None:
    first = known.layout(complete).raw / known.file().name
    first.rename(tmp_path / "elsewhere.gz")
    first.symlink_to(tmp_path / "elsewhere.gz")
    share(known, complete)
    assert not (cache / first.name).is_symlink()
    assert held(cache) == known.files


def test_keras_home_moves_the_cache(
    known: Sample, complete: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    assert share(known, complete).also == {"keras": tmp_path / "keras" / PLACE}
    assert held(tmp_path / "keras" / PLACE) == known.files
    assert not cache.exists()


def test_a_cache_that_was_moved_is_asked_for_copies_too(
    known: Sample, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    moved = fill(tmp_path / "keras" / PLACE, known.files)
    assert [place.name for place in find_sources(known.layout(root), FetchOptions(offline=True))] == [str(moved)]


def test_a_file_in_place_of_the_cache_is_reported_and_stays(known: Sample, complete: Path, cache: Path) -> None:
    cache.parent.mkdir(parents=True)
    cache.write_bytes(b"mine")
    before = disk_of(complete)
    with pytest.raises(DiskError) as caught:
        share(known, complete)
    assert str(cache) in caught.value.message
    assert caught.value.hint == (
        f"sample itself is complete under {complete}. "
        "Free some space or repair this folder, or choose another with KERAS_HOME=FOLDER; run again."
    )
    assert cache.read_bytes() == b"mine"
    assert disk_of(complete) == before


@pytest.fixture
def mounted(cache: Path) -> Iterator[Path]:
    """Use a file system of 64 KiB as the home of Keras."""
    place = cache.parent.parent
    place.mkdir()
    mounting = ["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(place)]
    if os.geteuid() != 0 or subprocess.run(mounting, capture_output=True, check=False).returncode != 0:
        pytest.skip("only root can mount a small file system")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_read_only_cache_is_reported_and_stays(known: Sample, complete: Path, cache: Path, mounted: Path) -> None:
    fill(cache, {known.file().name: b"cut off"})
    subprocess.run(["mount", "-o", "remount,ro", str(mounted)], check=True)
    before = disk_of(cache), disk_of(complete)
    with pytest.raises(DiskError, match=f"{cache}/.*: the file system is read-only"):
        share(known, complete)
    assert (disk_of(cache), disk_of(complete)) == before


def test_a_full_cache_is_reported_with_the_bytes_needed_and_filled_when_there_is_space(
    known: Sample, complete: Path, cache: Path, mounted: Path
) -> None:
    first = known.file().name
    fill(cache, {first: b"cut off"})
    (mounted / "full").write_bytes(bytes(52 * 1024))
    before = disk_of(complete)
    with pytest.raises(DiskError, match=r"the disk is full \([0-9.]+ (bytes|kB|MB) needed\)"):
        share(known, complete)
    assert (cache / first).read_bytes() == b"cut off"
    assert disk_of(complete) == before
    (mounted / "full").unlink()
    share(known, complete)
    assert held(cache) == known.files


@pytest.mark.parametrize(
    ("tool", "message", "hint"),
    [
        ("kerra", "there is no tool 'kerra' to share with", "Known: keras, paddle."),
        (
            "paddle",
            "paddle can't read sample from the files as they are published",
            "keras can. Or load it with fmnist_fetch.load() or from the tensor file.",
        ),
    ],
)
def test_a_tool_that_cannot_read_the_dataset_is_refused_before_anything_is_done(
    tool: str, message: str, hint: str, known: Sample, root: Path
) -> None:
    with pytest.raises(UsageError) as caught:
        share(known, root, tool=tool)
    assert caught.value.message == message
    assert caught.value.hint == hint
    assert not root.exists()
    assert list(Path.home().iterdir()) == []


def test_the_command_line_shares_and_says_where(known: Sample, complete: Path, cache: Path, tmp_path: Path) -> None:
    done = command_line("fetch", known.write(tmp_path), "--root", str(complete), "--offline", "--also", "keras")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"For keras: {cache}" in done.stdout.splitlines()
    assert held(cache) == known.files
