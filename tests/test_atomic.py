"""A final name appears complete or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from faults import payload
from fmnist_fetch.atomic import settle, sweep, write_all, write_atomically
from fmnist_fetch.errors import DiskError
from samples import disk_of

DATA = payload(5000)


def test_a_file_appears_with_its_folders_when_the_block_ends(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "final"
    with write_atomically(path) as out:
        write_all(out, DATA)
        assert not path.exists()
    assert disk_of(tmp_path / "a").keys() == {"b/final"}
    assert path.read_bytes() == DATA


@pytest.mark.parametrize("failure", [ValueError, KeyboardInterrupt, SystemExit])
def test_after_a_failure_the_old_file_stands_and_nothing_lies_beside_it(
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


def test_settling_gives_the_final_name(tmp_path: Path) -> None:
    with open(tmp_path / "part", "wb") as file:
        file.write(DATA)
        file.flush()
        settle(file, tmp_path / "part", tmp_path / "final")
    assert (tmp_path / "final").read_bytes() == DATA
    assert not (tmp_path / "part").exists()


def test_a_sweep_removes_what_killed_writers_left_and_nothing_else(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    writer = write_atomically(folder / "final")
    writer.__enter__()
    others = {"final.gz", "final.gz.part", ".hidden", "notes.tmp", ".notes.tmp", ".final.unfinished.tmp"}
    for name in others:
        (folder / name).write_bytes(b"")
    assert len(list(folder.iterdir())) == len(others) + 1
    sweep(folder)
    assert {path.name for path in folder.iterdir()} == others
    sweep(tmp_path / "absent")
