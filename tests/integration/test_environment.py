"""Wheels over bad networks: resumed, verified, from whichever source has them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from faults import KIB, MIB, CutAfter, Fault, FlipByte, Header, IgnoreRange, Mirror, On, payload
from fmnist_fetch.environment.indexes import Configuration
from fmnist_fetch.environment.lock import Wheel
from fmnist_fetch.environment.store import Sources, Store
from fmnist_fetch.errors import IntegrityError, SourceError
from fmnist_fetch.events import silent
from fmnist_fetch.sources.base import Tier
from index import index_files
from samples import fill
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


BOTH = pytest.mark.parametrize("plain", [False, True], ids=["engine", "standard library"])


def get(store: Store, plain: bool) -> None:
    (store.fetch_first if plain else store.fetch)(WHEELS)


@BOTH
@pytest.mark.parametrize("faults", [[], [CutAfter(64 * KIB)], [CutAfter(MIB)], [IgnoreRange()]], ids=str)
def test_wheels_arrive_from_an_index_that_breaks_and_hardly_a_byte_twice(
    folder: Path, faults: list[Fault], plain: bool
) -> None:
    with Mirror(INDEX, faults) as mirror:
        get(store(folder, mirror.url + "simple/"), plain)
        assert mirror.served <= 1.1 * SIZE
    assert_complete(folder)


@BOTH
def test_a_wrong_wheel_under_the_right_name_gives_way_to_the_index(folder: Path, plain: bool) -> None:
    wrong = {name: payload(len(data), seed=9) if "large" in name else data for name, data in FLAT.items()}
    with Mirror(wrong) as first, Mirror(INDEX) as index:
        get(store(folder, index.url + "simple/", [first.url]), plain)
        assert [line.name for line in index.journal if line.name.startswith("files/")]
        assert plain or first.served <= 1.01 * SIZE
    assert_complete(folder)


@BOTH
def test_wrong_wheels_everywhere_are_an_integrity_error_and_none_is_kept(folder: Path, plain: bool) -> None:
    faults = [On(f"files/{WHEELS[1].name}", FlipByte(2 * MIB))]
    message = "sends wrong bytes" if plain else "does not match its SHA-256"
    with Mirror(INDEX, faults) as index, pytest.raises(IntegrityError, match=message):
        get(store(folder, index.url + "simple/"), plain)
    assert not (folder / "wheels" / WHEELS[1].name).exists()


@BOTH
def test_a_mirror_that_has_everything_leaves_the_index_alone(folder: Path, plain: bool) -> None:
    with Mirror(FLAT) as mirror, Mirror(INDEX) as index:
        get(store(folder, index.url + "simple/", [mirror.url]), plain)
        assert index.connections == 0
    assert_complete(folder)


def test_copies_on_this_machine_are_taken_by_digest_and_no_socket_is_opened(folder: Path, tmp_path: Path) -> None:
    links, kit, clone = tmp_path / "links", tmp_path / "kit", folder.parent / "another"
    for place, one in ((links, MADE[0]), (kit / "wheels", MADE[1]), (clone / "wheels", MADE[2])):
        fill(place, {one.wheel.name: one.content})
    (links / MADE[1].wheel.name).write_bytes(b"another file of this name")
    here = store(folder, "http://127.0.0.1:9/simple/", [str(kit)], [str(links)])
    assert here.missing(WHEELS) == []
    assert_complete(folder)


@pytest.mark.parametrize("place", ["links", "apart/project/wheels"])
def test_a_file_of_the_right_size_with_other_bytes_is_no_wheel(folder: Path, tmp_path: Path, place: str) -> None:
    wrong = fill(tmp_path / place, {WHEELS[0].name: MADE[0].content[:-1] + b"?"})
    here = store(folder, "http://127.0.0.1:9/", links=[str(tmp_path / "links")])
    assert here.missing(WHEELS[:1]) == WHEELS[:1]
    assert wrong == folder / "wheels" or list((folder / "wheels").iterdir()) == []


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
