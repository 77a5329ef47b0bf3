"""A final name appears complete or not at all."""

from __future__ import annotations

import fcntl
import io
import os
from collections.abc import Callable
from contextlib import suppress
from errno import EACCES, ENOLCK
from pathlib import Path

import pytest

from faults import payload
from fmnist_fetch.errors import DiskError
from fmnist_fetch.storage.atomic import publish, sweep, write_all, write_atomically
from samples import disk_of, fill

DATA = payload(5000)


def never(_path: Path) -> bool:
    """No file is right by its content: only its identity counts."""
    return False


def test_a_file_appears_with_its_folders_when_the_block_ends(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "final"
    with write_atomically(path) as out:
        write_all(out, DATA)
        assert not path.exists()
    assert disk_of(tmp_path / "a").keys() == {"b/final"}
    assert path.read_bytes() == DATA


@pytest.mark.parametrize("failure", [ValueError, KeyboardInterrupt, SystemExit])
def test_after_a_failure_the_old_file_is_unchanged_and_nothing_is_left_beside_it(
    failure: type[BaseException], tmp_path: Path
) -> None:
    path = tmp_path / "folder" / "final"
    path.parent.mkdir()
    path.write_bytes(b"old")
    before = disk_of(path.parent)

    def fail() -> None:
        with write_atomically(path) as out:
            write_all(out, DATA)
            raise failure

    with pytest.raises(failure):
        fail()
    assert disk_of(path.parent) == before


def test_two_writers_of_the_same_file_do_not_meet(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "final"
    with write_atomically(path) as one, write_atomically(path) as other:
        write_all(one, DATA)
        write_all(other, DATA[::-1])
    assert path.read_bytes() == DATA
    assert list(path.parent.iterdir()) == [path]


def test_a_folder_in_the_way_is_a_disk_error_that_names_the_final_path(tmp_path: Path) -> None:
    path = tmp_path / "final"
    path.mkdir()
    with pytest.raises(DiskError, match=str(path)), write_atomically(path) as out:
        write_all(out, DATA)
    assert list(tmp_path.glob(".final*")) == []


def test_a_file_where_the_folder_should_be_is_a_disk_error(tmp_path: Path) -> None:
    (tmp_path / "folder").write_bytes(b"mine")
    with pytest.raises(DiskError, match="a file is in the way"), write_atomically(tmp_path / "folder" / "final"):
        pass
    assert (tmp_path / "folder").read_bytes() == b"mine"


class Slow:
    """A file that takes seven bytes at a time."""

    def __init__(self) -> None:
        self.taken = b""

    def write(self, data: memoryview) -> int:
        self.taken += bytes(data[:7])
        return min(7, len(data))


def test_all_is_written_also_where_a_file_takes_less_at_a_time() -> None:
    file = Slow()
    write_all(file, DATA)  # type: ignore[arg-type]
    assert file.taken == DATA


OTHERS = {"final.gz", "final.gz.part", ".hidden", "notes.tmp", ".notes.tmp", ".final.unfinished.tmp"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return fill(tmp_path / "folder", dict.fromkeys(OTHERS, b"mine"))


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_sweep_removes_what_killed_writers_left_and_nothing_else(folder: Path) -> None:
    (folder / ".final.0123456789ab.tmp").write_bytes(DATA)
    sweep(folder)
    assert names(folder) == OTHERS
    sweep(folder / "absent")


def test_a_sweep_leaves_what_a_living_process_is_writing(folder: Path) -> None:
    with write_atomically(folder / "final") as out:
        write_all(out, DATA)
        sweep(folder)
    assert names(folder) == {*OTHERS, "final"}
    assert (folder / "final").read_bytes() == DATA


def test_where_locks_do_not_work_a_sweep_removes_only_what_is_old(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_descriptor: int, _operation: int) -> None:
        raise OSError(ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    young, old = folder / ".young.0123456789ab.tmp", folder / ".old.0123456789ab.tmp"
    for path in (young, old):
        path.write_bytes(DATA)
    os.utime(old, (0, 0))
    with write_atomically(folder / "final") as out:
        write_all(out, DATA)
        sweep(folder)
    assert names(folder) == {*OTHERS, "final", young.name}


def test_a_sweep_puts_back_what_a_killed_process_was_about_to_publish(folder: Path) -> None:
    (folder / ".data.0123456789ab.claimed").write_bytes(DATA)
    sweep(folder)
    assert names(folder) == {*OTHERS, "data.part"}
    assert (folder / "data.part").read_bytes() == DATA


def test_the_file_that_is_open_gets_the_final_name(folder: Path) -> None:
    part, final = folder / "part", folder / "final"
    with open(part, "x+b", buffering=0) as file:
        file.write(DATA)
        assert publish(file, part, final, len(DATA), never)
    assert names(folder) == {*OTHERS, "final"}
    assert final.read_bytes() == DATA


def test_another_file_under_the_same_name_does_not_get_the_final_name(folder: Path) -> None:
    part, final = folder / "part", folder / "final"
    with open(part, "x+b", buffering=0) as file:
        file.write(DATA)
        part.unlink()
        assert not publish(file, part, final, len(DATA), never)
        part.write_bytes(b"another one's")
        assert not publish(file, part, final, len(DATA), never)
    assert names(folder) == {*OTHERS, "part"}
    assert part.read_bytes() == b"another one's"


def test_where_the_identity_does_not_tell_the_content_decides(folder: Path) -> None:
    part, final = folder / "part", folder / "final"
    part.write_bytes(DATA)
    with open(part, "rb", buffering=0) as file:
        # As on a file system that gives a file another number each time.
        part.unlink()
        part.write_bytes(DATA)
        assert publish(file, part, final, len(DATA), lambda path: path.read_bytes() == DATA)
    assert names(folder) == {*OTHERS, "final"}


def test_a_final_name_that_cannot_be_given_leaves_the_part_where_it_was(folder: Path) -> None:
    part, final = folder / "part", folder / "final"
    final.mkdir()
    with open(part, "x+b", buffering=0) as file:
        file.write(DATA)
        with pytest.raises(IsADirectoryError):
            publish(file, part, final, len(DATA), never)
    assert names(folder) == {*OTHERS, "part", "final"}
    assert part.read_bytes() == DATA


def test_a_sweep_leaves_what_only_has_the_name_of_a_claimed_file(folder: Path) -> None:
    os.mkfifo(folder / ".data.0123456789ab.claimed")
    (folder / ".link.0123456789ab.tmp").symlink_to(folder / "notes.tmp")
    sweep(folder)
    assert names(folder) == {*OTHERS, ".data.0123456789ab.claimed", ".link.0123456789ab.tmp"}


@pytest.fixture
def closed_files_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse to rename files that this process has open, as on Windows, SMB and shared folders of virtual machines."""

    def refusing(rename: Callable[..., None]) -> Callable[..., None]:
        def renaming(source: Path, target: Path) -> None:
            for descriptor in os.listdir("/proc/self/fd"):
                same = False
                with suppress(OSError):
                    same = Path("/proc/self/fd", descriptor).samefile(source)
                if same:
                    raise PermissionError(EACCES, "in use by another process")
            rename(source, target)

        return renaming

    for name in ("rename", "replace"):
        monkeypatch.setattr(os, name, refusing(getattr(os, name)))


needs_proc = pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="this system does not list open files")


@needs_proc
@pytest.mark.usefixtures("closed_files_only")
def test_where_no_open_file_is_renamed_it_is_closed_before(tmp_path: Path) -> None:
    with write_atomically(tmp_path / "final") as out:
        write_all(out, DATA)
    assert disk_of(tmp_path).keys() == {"final"}
    with open(tmp_path / "final.part", "w+b", buffering=0) as file:
        file.write(DATA[::-1])
        assert publish(file, tmp_path / "final.part", tmp_path / "final", len(DATA), never)
        assert file.closed
    assert (tmp_path / "final").read_bytes() == DATA[::-1]
    assert disk_of(tmp_path).keys() == {"final"}


@needs_proc
@pytest.mark.usefixtures("closed_files_only")
@pytest.mark.parametrize("rival", ["another file", "other bytes"])
def test_a_closed_file_that_is_another_one_by_now_does_not_get_the_final_name(rival: str, tmp_path: Path) -> None:
    part, final = tmp_path / "final.part", tmp_path / "final"

    class Closing(io.FileIO):
        def close(self) -> None:
            if not self.closed:
                super().close()
                if rival == "another file":
                    part.unlink()
                part.write_bytes(b"rival")

    with Closing(part, "w+b") as file:
        file.write(DATA)
        assert not publish(file, part, final, len(DATA), never)
    assert part.read_bytes() == b"rival"
    assert disk_of(tmp_path).keys() == {"final.part"}
