"""Regular files: anything else in their place is never waited for, followed or written to."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import pytest

from faults import payload
from fmnist_fetch.errors import DiskError
from fmnist_fetch.manifest.model import Payload
from fmnist_fetch.storage.files import find_good_pieces, open_or_create, open_regular, open_to_write, verifies
from fmnist_fetch.storage.part_file import PartFile
from samples import disk_of, file_of, sha256

DATA = payload(2500, seed=12)
FILE = file_of("data", DATA, Payload("data", len(DATA), sha256(DATA)), "train", "images")


def pipe(path: Path) -> None:
    os.mkfifo(path)


def a_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))


def folder(path: Path) -> None:
    path.mkdir()


def link(path: Path) -> None:
    path.symlink_to(path.with_name("elsewhere"))


def dangling_link(path: Path) -> None:
    path.symlink_to(path.with_name("nowhere"))


def looping_link(path: Path) -> None:
    path.symlink_to(path.name)


def second_name(path: Path) -> None:
    os.link(path.with_name("elsewhere"), path)


KINDS = [pipe, a_socket, folder, link, dangling_link, looping_link, second_name]
NO_FILES = [pipe, a_socket, folder, dangling_link, looping_link]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    tmp_path.joinpath("elsewhere").write_bytes(b"somebody's secret")
    return tmp_path / "data.part"


@pytest.mark.parametrize("put_there", NO_FILES)
def test_what_is_no_file_is_not_read_and_not_waited_for(put_there: Callable[[Path], None], place: Path) -> None:
    put_there(place)
    with pytest.raises(OSError, match=r"."):
        open_regular(place)
    assert not verifies(place, 0, sha256(b""))
    assert find_good_pieces(place, FILE).indices == frozenset()


def test_a_link_to_a_file_is_read(place: Path) -> None:
    link(place)
    with open_regular(place) as file:
        assert file.read() == b"somebody's secret"


@pytest.mark.parametrize("opening", [open_to_write, open_or_create])
@pytest.mark.parametrize("put_there", KINDS)
def test_only_a_file_with_one_name_is_written_to(
    put_there: Callable[[Path], None], opening: Callable[[Path], object], place: Path
) -> None:
    put_there(place)
    before = disk_of(place.parent)
    with pytest.raises(OSError, match=r"."):
        opening(place)
    assert disk_of(place.parent) == before
    assert not place.with_name("nowhere").exists()


@pytest.mark.parametrize(
    ("put_there", "fact"),
    [
        (pipe, "this is a named pipe, not a file"),
        (link, "this is a symbolic link, and what is written could end up elsewhere"),
        (dangling_link, "this is a symbolic link, and what is written could end up elsewhere"),
        (second_name, "this file has another name too, under which it would change as well"),
    ],
)
def test_a_part_file_that_is_something_else_is_an_error_with_a_remedy(
    put_there: Callable[[Path], None], fact: str, place: Path
) -> None:
    put_there(place)
    part = PartFile(place.with_name("data"), FILE)
    assert part.scan() == set()
    with pytest.raises(DiskError) as caught:
        part.put(0, DATA[:1000])
    assert (caught.value.message, caught.value.hint) == (
        f"{place}: {fact}",
        "Remove it and run the same command again.",
    )
    assert place.with_name("elsewhere").read_bytes() == b"somebody's secret"


@pytest.mark.parametrize("put_there", KINDS)
def test_a_partial_that_is_something_else_is_neither_read_nor_written(
    put_there: Callable[[Path], None], place: Path
) -> None:
    part = PartFile(place.with_name("data"), FILE)
    partial = place.with_name(".data.1.held")
    put_there(partial)
    assert part.load_partials() == {}
    part.save_partial(1, DATA[1000:1500])
    assert place.with_name("elsewhere").read_bytes() == b"somebody's secret"
    assert not place.with_name("nowhere").exists()


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root may give files away")
@pytest.mark.parametrize(("mode", "owner", "right"), [(0o666, 1234, False), (0o644, 1234, True), (0o666, 0, True)])
def test_a_file_of_another_user_that_everybody_may_write_is_not_written(
    mode: int, owner: int, right: bool, place: Path
) -> None:
    place.write_bytes(DATA)
    place.chmod(mode)
    os.chown(place, owner, owner)
    with nullcontext() if right else pytest.raises(OSError, match="belongs to somebody else"):
        open_to_write(place).close()
