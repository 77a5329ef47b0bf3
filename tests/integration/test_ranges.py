"""Ranges are an optimization: a mirror that answers them wrongly in any way still gives its files."""

from __future__ import annotations

from pathlib import Path

import pytest

from faults import (
    CONTENT_RANGES,
    KIB,
    AccessDenied,
    Aligned,
    Busy,
    Chunked,
    ContentRange,
    CutAfter,
    EmptyPartial,
    Fault,
    First,
    FlipByte,
    GzipEncoding,
    HangUp,
    Header,
    IgnoreRange,
    Lockstep,
    LoginRedirect,
    Mirror,
    Multipart,
    OtherSpan,
    PartialAs,
    Raw,
    Redirect,
    SayNothing,
    StallAfter,
    Status,
    ToRanges,
    Unsatisfiable,
    WholeAsPartial,
    refusing,
)
from fmnist_fetch.errors import SourceError
from fmnist_fetch.manifest.pieces import Span
from fmnist_fetch.sources.base import Tier
from fmnist_fetch.sources.http.source import HttpSource
from processes import fetch
from samples import all_of
from worlds import IMAGES, PIECE, World, dataset, small

# Unusable answers: each of them leads to a request without a range.
UNUSABLE: dict[str, Fault] = {
    "starts elsewhere and says so": ToRanges(OtherSpan(start=1000)),
    "several parts": ToRanges(Multipart()),
    "no bytes": ToRanges(EmptyPartial()),
    "416": ToRanges(Unsatisfiable()),
    "416 without a size": ToRanges(Status(416)),
    **{
        str(code): ToRanges(Status(code))
        for code in (300, 304, 400, 401, 402, 403, 404, 405, 406, 409, 412, 413, 414, 417, 421, 422, 423, 426, 431, 451)
    },
    "403 from a bucket": ToRanges(AccessDenied()),
    "202": ToRanges(Status(202, b"later")),
    "a few bytes without a place": ToRanges(ContentRange(None) & OtherSpan(stop=-PIECE)),
    "204": ToRanges(Status(204, b"")),
}
# The whole file, under any status and header.
WHOLE: dict[str, Fault] = {
    "200": IgnoreRange(),
    "203": ToRanges(IgnoreRange() & PartialAs(203)),
    "206 of all": ToRanges(WholeAsPartial()),
    "206 of all that says nothing": ToRanges(WholeAsPartial(admitted=None)),
    "206 of all that says what was asked for": ToRanges(WholeAsPartial(admitted=False)),
}
# The requested bytes, under another name or after others.
USABLE: dict[str, Fault] = {
    **{f"Content-Range {name}": ContentRange(CONTENT_RANGES[name]) for name in CONTENT_RANGES},
    "upper case": ContentRange("BYTES {start}-{last}/{total}"),
    "aligned": Aligned(4 * KIB),
    "under 200": PartialAs(200),
    "in chunks": Chunked() & ContentRange(None),
    "with a coding that is none": Header("Content-Encoding", "Identity"),
}


def read(mirror: Mirror, start: int, stop: int) -> tuple[HttpSource, bytes]:
    """Return a span of the images from MIRROR, read through one connection."""
    source = HttpSource(mirror.url, Tier.USER)
    connection = source.open()
    file = next(file for file in dataset().manifest.files if file.name == IMAGES)
    try:
        return source, all_of(connection, file, Span(start, stop))
    finally:
        connection.close()


@pytest.mark.parametrize("name", UNUSABLE)
def test_an_answer_of_no_use_leads_at_once_to_the_whole_file_from_the_same_source(name: str) -> None:
    data = dataset().files[IMAGES]
    with Mirror(dataset().files, [UNUSABLE[name]]) as mirror:
        source, got = read(mirror, 3 * PIECE, 5 * PIECE)
        asked = ["range" in line.headers for line in mirror.journal]
    assert got == data[3 * PIECE : 5 * PIECE]
    assert asked == [True, False]
    assert source.serves_ranges is False
    assert source.connections == 1


@pytest.mark.parametrize("name", WHOLE)
def test_a_whole_file_is_read_up_to_what_is_missing(name: str) -> None:
    data = dataset().files[IMAGES]
    with Mirror(dataset().files, [WHOLE[name]]) as mirror:
        source, got = read(mirror, 3 * PIECE, 5 * PIECE)
        assert len(mirror.journal) == 1
    assert got == data[3 * PIECE : 5 * PIECE]
    assert source.serves_ranges is False


@pytest.mark.parametrize("name", USABLE)
def test_bytes_that_can_be_used_are_used(name: str) -> None:
    data = dataset().files[IMAGES]
    with Mirror(dataset().files, [USABLE[name]]) as mirror:
        source, got = read(mirror, 3 * PIECE, 5 * PIECE)
        assert len(mirror.journal) == 1
        assert mirror.served <= 2 * PIECE + 4 * KIB
    assert got == data[3 * PIECE : 5 * PIECE]
    # The first whole piece has proved it.
    assert source.serves_ranges is True


def test_a_file_that_is_refused_either_way_is_not_asked_for_twice_again() -> None:
    with Mirror(dataset().files, [Status(403)]) as mirror:
        source = HttpSource(mirror.url, Tier.USER)
        for file in dataset().manifest.files:
            with pytest.raises(SourceError, match="answered 403") as caught:
                source.open().read(file, Span(0, 1000))
            assert caught.value.permanent
        assert len(mirror.journal) == 5
    assert source.serves_ranges is None


# What may pass by itself, and may as well be what a server, or a proxy on the way, does to every range.
PASSING: dict[str, Fault] = {
    **{str(code): Status(code) for code in (408, 425, 429, 500, 501, 502, 503, 504, 511)},
    "403 with Retry-After": Busy("1", 403),
    "hung up": HangUp(),
    "reset": HangUp(reset=True),
    "silence": SayNothing(),
    "garbage": Raw(b"\0\1\2\r\n\r\n"),
    "no byte of the body": StallAfter(0),
}


@pytest.mark.parametrize("name", PASSING)
def test_after_two_failures_in_a_row_that_may_pass_the_whole_file_is_asked_for(name: str) -> None:
    data = dataset().files[IMAGES]
    with Mirror(dataset().files, [ToRanges(PASSING[name])]) as mirror:
        source = HttpSource(mirror.url, Tier.USER)
        connection = source.open()
        connection.timeout_s = 0.2 if name in ("silence", "no byte of the body") else 20.0
        file = dataset().manifest.files[0]
        failures = 3 if name == "no byte of the body" else 2
        for _ in range(failures):
            with pytest.raises(SourceError) as caught:
                connection.read(file, Span(1000, 2000))
            assert not caught.value.permanent
        connection.timeout_s = 20.0
        assert all_of(connection, file, Span(1000, 2000)) == data[1000:2000]
        connection.close()
        # Once more with a range after the first success without one: the server may just have recovered.
        assert ["range" in line.headers for line in mirror.journal] == [True, True, False, True, False]


def test_a_server_that_recovers_is_asked_for_ranges_again() -> None:
    file = dataset().manifest.files[0]
    with Mirror(dataset().files, [Lockstep(), First(2, Status(503))]) as mirror:
        source = HttpSource(mirror.url, Tier.USER)
        for _ in range(2):
            with pytest.raises(SourceError, match="answered 503"):
                source.open().read(file, Span(1000, 2000))
        for _ in range(2):
            connection = source.open()
            all_of(connection, file, Span(100_000, 102_000))
            connection.close()
        assert ["range" in line.headers for line in mirror.journal] == [True, True, False, True, True]
        assert mirror.served <= 100_000
    assert source.serves_ranges is True


def test_a_server_that_fails_with_and_without_a_range_is_asked_in_turns() -> None:
    with Mirror(dataset().files, [Status(503)]) as mirror:
        source = HttpSource(mirror.url, Tier.USER)
        for _ in range(6):
            with pytest.raises(SourceError, match="answered 503"):
                source.open().read(dataset().manifest.files[0], Span(1000, 2000))
        assert ["range" in line.headers for line in mirror.journal] == [True, True, False] * 2


def test_a_connection_that_is_refused_says_nothing_of_ranges() -> None:
    with refusing() as nobody:
        source = HttpSource(nobody, Tier.USER)
        for _ in range(3):
            with pytest.raises(SourceError, match="refuses connections"):
                source.open().read(dataset().manifest.files[0], Span(1000, 2000))
    assert not source.doubts_ranges


def test_a_refusal_behind_a_redirect_says_nothing_lasting_about_the_mirror() -> None:
    data = dataset().files
    with Mirror({}) as portal, Mirror(data, [First(2, Redirect(portal.url))]) as mirror:
        source = HttpSource(mirror.url, Tier.USER)
        connection = source.open()
        file = dataset().manifest.files[0]
        with pytest.raises(SourceError, match="answered 404") as caught:
            connection.read(file, Span(1000, 2000))
        assert not caught.value.permanent
        assert all_of(connection, file, Span(1000, 2000)) == data[IMAGES][1000:2000]
        assert source.serves_ranges is True
        connection.close()


# Whole runs.

LYING: dict[str, Fault] = {
    "another span than it says": ToRanges(OtherSpan(start=1000, admitted=False)),
    "aligned to a block, and does not say so": ToRanges(Aligned(100_000, admitted=False)),
    "shifted to the front, and does not say so": ToRanges(OtherSpan(start=-1000, stop=-1000, admitted=False)),
}


RUNS = [
    *("starts elsewhere and says so", "several parts", "no bytes", "416", "400", "403", "404", "202"),
    *WHOLE,
    *LYING,
    *("Content-Range missing", "Content-Range from zero", "aligned"),
]


@pytest.mark.parametrize("name", RUNS)
def test_the_only_mirror_gives_its_files_although_ranges_are_answered_with(tmp_path: Path, name: str) -> None:
    faults = {**UNUSABLE, **WHOLE, **LYING, **USABLE}
    world = World(tmp_path, small())
    # One part exists already, so that the missing bytes begin later.
    world.raw.mkdir(parents=True)
    world.part(IMAGES).write_bytes(small().files[IMAGES][: 2 * PIECE])
    with Mirror(small().files, [faults[name]]) as mirror:
        outcome = fetch(world, mirror.url, options=["--patience", "20"])
        served = mirror.served
    assert outcome.code == 0, outcome.err
    world.assert_complete()
    if name in USABLE:
        assert served <= 1.05 * (small().size - 2 * PIECE)
    else:
        # Two pieces prove that ranges are answered with other bytes.
        assert served <= (3.5 if name in LYING else 2.2) * small().size


def test_a_mirror_without_ranges_whose_connections_break_is_asked_for_ranges_again(tmp_path: Path) -> None:
    world = World(tmp_path, dataset())
    faults = [First(1, IgnoreRange()), CutAfter(5 * PIECE)]
    with Mirror(dataset().files, faults) as mirror:
        outcome = fetch(world, mirror.url, options=["--patience", "20"])
    assert outcome.code == 0, outcome.err
    world.assert_complete()


def test_wrong_bytes_in_one_place_do_not_make_ranges_suspect() -> None:
    file = dataset().manifest.files[0]
    with Mirror(dataset().files, [FlipByte(5 * PIECE + 100)]) as mirror:
        source = HttpSource(mirror.url, Tier.USER)
        connection = source.open()
        all_of(connection, file, Span(3 * PIECE, 4 * PIECE))
        all_of(connection, file, Span(5 * PIECE, 6 * PIECE))
        connection.close()
    assert source.serves_ranges is True


@pytest.mark.parametrize("label", ["gzip", "GZIP", "x-gzip", "Identity, gzip"])
def test_whether_a_coding_without_a_length_is_a_label_only_is_tried_out(tmp_path: Path, label: str) -> None:
    world = World(tmp_path, small())
    with Mirror(small().files, [Chunked(), Header("Content-Encoding", label)]) as mirror:
        outcome = fetch(world, mirror.url, options=["--patience", "20"])
    assert outcome.code == 0, outcome.err
    world.assert_complete()


def test_a_coding_on_top_of_chunks_is_removed(tmp_path: Path) -> None:
    world = World(tmp_path, small())
    with Mirror(small().files, [GzipEncoding(), Chunked(), IgnoreRange()]) as mirror:
        outcome = fetch(world, mirror.url, options=["--patience", "20"])
    assert outcome.code == 0, outcome.err
    world.assert_complete()


def test_a_portal_that_gives_way_does_not_shut_a_mirror_out(tmp_path: Path) -> None:
    world = World(tmp_path, small())
    with Mirror({}) as portal, Mirror(small().files, [First(3, Redirect(portal.url))]) as mirror:
        outcome = fetch(world, mirror.url, options=["--patience", "30"])
    assert outcome.code == 0, outcome.err
    world.assert_complete()


def test_a_login_page_that_gives_way_does_not_shut_a_mirror_out(tmp_path: Path) -> None:
    world = World(tmp_path, small())
    with Mirror(small().files, [First(3, LoginRedirect())]) as mirror:
        outcome = fetch(world, mirror.url, options=["--patience", "30"])
    assert outcome.code == 0, outcome.err
    world.assert_complete()
