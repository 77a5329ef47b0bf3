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
from samples import disk_of, file_of, open_to_all, sha256

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
        (a_socket, "this is a socket, not a file"),
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


OTHER_USER, GROUP = 1234, 4321


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root may give files away")
@pytest.mark.parametrize("user", [0, OTHER_USER])
@pytest.mark.parametrize(
    ("mode", "owned", "right"),
    [
        (0o666, False, False),
        (0o664, False, False),
        (0o620, False, False),
        (0o602, False, False),
        (0o644, False, True),
        (0o666, True, True),
        (0o664, True, True),
    ],
)
def test_a_file_of_another_user_that_others_may_write_is_not_written(
    mode: int, owned: bool, right: bool, user: int, place: Path
) -> None:
    place.write_bytes(DATA)
    os.chown(place, user if owned else OTHER_USER - user, GROUP)
    place.chmod(mode)
    open_to_all(place.parent)
    before = disk_of(place.parent)
    os.setegid(GROUP)
    os.seteuid(user)
    try:
        # The system itself refuses a file that only its owner may write to.
        refused = pytest.raises(OSError, match=r"belongs to somebody else|Permission denied")
        with nullcontext() if right and (owned or user == 0) else refused:
            open_to_write(place).close()
    finally:
        os.seteuid(0)
        os.setegid(0)
    assert disk_of(place.parent) == before
