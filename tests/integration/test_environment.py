"""Wheels over bad networks: resumed, verified, from whichever source has them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import pytest

from faults import KIB, MIB, CutAfter, Fault, FlipByte, Header, IgnoreRange, Line, Mirror, On, payload
from fmnist_fetch.environment.indexes import Configuration
from fmnist_fetch.environment.lock import Wheel
from fmnist_fetch.environment.store import Sources, Store
from fmnist_fetch.errors import IntegrityError, SourceError
from fmnist_fetch.events import silent
from fmnist_fetch.sources.base import Tier
from index import index_files
from samples import PROJECT_FOLDER
from wheels import MadeWheel, make_wheel

MADE = [
    make_wheel("small", ballast=payload(30_000, seed=1)),
    make_wheel("large-thing", "2.5", ballast=payload(5 * MIB, seed=2)),
    make_wheel("middle", ballast=payload(700_000, seed=3)),
]
WHEELS = [made.wheel for made in MADE]
SIZE = sum(len(made.content) for made in MADE)
INDEX = index_files({made.wheel.name: made.content for made in MADE})
FLAT = {f"wheels/{made.wheel.name}": made.content for made in MADE}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "apart" / "project"


def store(folder: Path, index: str = "", mirrors: Sequence[str] = (), links: Sequence[str] = ()) -> Store:
    configuration = Configuration((index,) if index else (), tuple(links), None, None)
    return Store(folder / "wheels", Sources(folder, mirrors, configuration, offline=False), silent)


def assert_complete(folder: Path, made: Sequence[MadeWheel] = MADE) -> None:
    found = {path.name: path.read_bytes() for path in (folder / "wheels").iterdir()}
    assert found == {one.wheel.name: one.content for one in made}


@pytest.mark.parametrize("plain", [False, True], ids=["engine", "standard library"])
@pytest.mark.parametrize("faults", [[], [CutAfter(64 * KIB)], [CutAfter(MIB)], [IgnoreRange()]], ids=str)
def test_wheels_arrive_from_an_index_that_breaks_and_hardly_a_byte_twice(
    folder: Path, faults: list[Fault], plain: bool
) -> None:
    with Mirror(INDEX, faults) as mirror:
        here = store(folder, mirror.url + "simple/")
        (here.fetch_first if plain else here.fetch)(WHEELS)
        assert mirror.served <= 1.1 * SIZE
    assert_complete(folder)


def start(folder: Path, url: str) -> subprocess.Popen[bytes]:
    """Start another process that fetches the wheels from the index at URL."""
    code = (
        "import sys; from pathlib import Path; from test_environment import *\n"
        "store(Path(sys.argv[1]), sys.argv[2] + 'simple/').fetch(WHEELS)"
    )
    places = [PROJECT_FOLDER, PROJECT_FOLDER / "tests/support", PROJECT_FOLDER / "tests/integration"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, places))}
    return subprocess.Popen([sys.executable, "-c", code, str(folder), url], env=environment)


def has_served(mirror: Mirror, count: int) -> bool:
    return mirror.served > count


def wait_until(done: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not done():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_killed_download_goes_on_where_it_was(folder: Path) -> None:
    with Mirror(INDEX, [Line(4e6)]) as mirror:
        for _ in range(2):
            before = mirror.served
            with start(folder, mirror.url) as run:
                wait_until(partial(has_served, mirror, before + MIB))
                run.send_signal(signal.SIGKILL)
        mirror.faults.clear()
        store(folder, mirror.url + "simple/").fetch(WHEELS)
        assert mirror.served <= 1.15 * SIZE
    assert_complete(folder)


def test_a_wrong_wheel_under_the_right_name_gives_way_to_the_index(folder: Path) -> None:
    wrong = {name: payload(len(data), seed=9) if "large" in name else data for name, data in FLAT.items()}
    with Mirror(wrong) as first, Mirror(INDEX) as index:
        store(folder, index.url + "simple/", [first.url]).fetch(WHEELS)
        assert [line.name for line in index.journal if line.name.startswith("files/")]
        assert first.served <= 1.01 * SIZE
    assert_complete(folder)


def test_a_wrong_small_wheel_gives_way_before_the_engine_is_there(folder: Path) -> None:
    wrong = {name: payload(len(data), seed=9) for name, data in FLAT.items()}
    with Mirror(wrong) as first, Mirror(INDEX) as index:
        store(folder, index.url + "simple/", [first.url]).fetch_first(WHEELS)
    assert_complete(folder)


def test_wrong_wheels_everywhere_are_an_integrity_error_and_none_is_kept(folder: Path) -> None:
    faults = [On(f"files/{WHEELS[1].name}", FlipByte(2 * MIB))]
    with Mirror(INDEX, faults) as index, pytest.raises(IntegrityError, match="does not match its SHA-256"):
        store(folder, index.url + "simple/").fetch(WHEELS)
    assert not (folder / "wheels" / WHEELS[1].name).exists()


@pytest.mark.parametrize("plain", [False, True], ids=["engine", "standard library"])
def test_a_mirror_that_has_everything_leaves_the_index_alone(folder: Path, plain: bool) -> None:
    with Mirror(FLAT) as mirror, Mirror(INDEX) as index:
        here = store(folder, index.url + "simple/", [mirror.url])
        (here.fetch_first if plain else here.fetch)(WHEELS)
        assert index.connections == 0
    assert_complete(folder)


@pytest.mark.parametrize("plain", [False, True], ids=["engine", "standard library"])
def test_a_mirror_that_is_down_or_has_no_wheels_is_made_up_for_by_the_index(
    folder: Path, plain: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fmnist_fetch.environment.store.MIRRORS_PATIENCE_S", 1.0)
    with Mirror({}) as empty, Mirror(INDEX) as index:
        here = store(folder, index.url + "simple/", ["http://127.0.0.1:9/", empty.url])
        (here.fetch_first if plain else here.fetch)(WHEELS)
    assert_complete(folder)


def test_an_index_that_is_down_does_not_matter_to_who_has_a_mirror(folder: Path) -> None:
    with Mirror(FLAT) as mirror:
        here = store(folder, "http://127.0.0.1:9/simple/", [mirror.url])
        here.fetch_first(WHEELS[:1])
        here.fetch(WHEELS[1:])
    assert_complete(folder)


def test_copies_on_this_machine_are_taken_by_digest_and_no_socket_is_opened(folder: Path, tmp_path: Path) -> None:
    links, kit, clone = tmp_path / "links", tmp_path / "kit", folder.parent / "another"
    for place, one in ((links, MADE[0]), (kit / "wheels", MADE[1]), (clone / "wheels", MADE[2])):
        place.mkdir(parents=True)
        (place / one.wheel.name).write_bytes(one.content)
    (links / MADE[1].wheel.name).write_bytes(b"another file of this name")
    here = store(folder, "http://127.0.0.1:9/simple/", [str(kit)], [str(links)])
    assert here.missing(WHEELS) == []
    assert_complete(folder)


def test_a_copy_of_the_right_size_with_other_bytes_is_not_taken(folder: Path, tmp_path: Path) -> None:
    links = tmp_path / "links"
    links.mkdir()
    (links / WHEELS[0].name).write_bytes(MADE[0].content[:-1] + b"?")
    assert store(folder, "http://127.0.0.1:9/simple/", links=[str(links)]).missing(WHEELS[:1]) == WHEELS[:1]
    assert list((folder / "wheels").iterdir()) == []


def test_a_damaged_wheel_in_the_store_is_missing(folder: Path) -> None:
    path = folder / "wheels" / WHEELS[0].name
    path.parent.mkdir(parents=True)
    path.write_bytes(MADE[0].content[:-1] + b"?")
    assert store(folder).missing(WHEELS[:1]) == WHEELS[:1]


def test_a_size_that_the_lock_does_not_know_is_asked_for(folder: Path) -> None:
    unknown: list[Wheel] = [wheel._replace(size=None) for wheel in WHEELS]
    with Mirror(INDEX) as index:
        here = store(folder, index.url + "simple/")
        here.fetch_first(unknown[:1])
        here.fetch(unknown[1:])
    assert_complete(folder)
    assert store(folder).missing(unknown) == []


@pytest.mark.parametrize("size", ["9" * 5000, "9" * 12, "\u00b2", "-1", "1e3", ""])
def test_a_size_that_no_wheel_has_is_none(size: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fmnist_fetch.environment.store.MAX_ATTEMPTS", 1)
    with Mirror(INDEX, [Header("Content-Range", f"bytes 0-0/{size}")]) as index:
        here = store(folder, index.url + "simple/")
        with pytest.raises(SourceError, match="no source has the size"):
            here.fetch([WHEELS[0]._replace(size=None)])
    assert not folder.exists() or not list(folder.rglob("*.whl"))


def test_a_wheel_that_no_source_has_ends_in_two_lines(folder: Path) -> None:
    with Mirror({}) as index:
        here = store(folder, index.url + "simple/")
        for fetch in (here.fetch_first, here.fetch):
            with pytest.raises(SourceError) as failure:
                fetch(WHEELS[:1])
            assert failure.value.exit_code == 4
            assert WHEELS[0].name in failure.value.message or "small" in failure.value.message
            assert "Only this machine" not in failure.value.hint


def test_a_server_of_the_local_network_is_asked_after_the_mirrors_and_before_the_index(folder: Path) -> None:
    configuration = Configuration(("http://index.invalid/simple/",), (), None, None)
    sources = Sources(folder, ["http://mine.invalid"], configuration, offline=False, servers=["http://10.0.0.5:8000/"])
    expected = ["http://mine.invalid/wheels/", "http://mine.invalid/"]
    expected += ["http://10.0.0.5:8000/wheels/", "http://10.0.0.5:8000/"]
    assert sources.bases == expected
    found = sorted(sources.for_engine(WHEELS), key=lambda source: source.tier)
    assert [source.name for source in found][:5] == [*expected, "http://index.invalid/simple/"]
    assert [source.tier for source in found][:5] == [Tier.USER, Tier.USER, Tier.LAN, Tier.LAN, Tier.INDEX]
