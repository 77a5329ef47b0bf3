"""Ranges are an optimization: a mirror that answers them wrongly in any way still gives its files."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

import faults
from faults import KIB, Fault, First, Mirror, Status, ToRanges, refusing
from fmnist_fetch.errors import SourceError
from fmnist_fetch.manifest.pieces import Span
from fmnist_fetch.sources.base import Tier
from fmnist_fetch.sources.http.source import HttpSource
from nonsense import CONTENT_RANGES
from processes import fetch
from samples import all_of
from worlds import IMAGES, PIECE, World, dataset, small

FILE = dataset().manifest.files[0]
REFUSALS = [*(300, 304), *range(400, 407), *(409, 412, 413, 414, 416, 417, 421, 422, 423, 426, 431, 451)]
# Unusable answers: each of them leads to a request without a range.
UNUSABLE: dict[str, Fault] = {
    "starts elsewhere and says so": ToRanges(faults.OtherSpan(start=1000)),
    "starts elsewhere and says so in its own way": ToRanges(
        faults.OtherSpan(start=1000, stop=1000) & faults.ContentRange("BYTES= {start} - {last} / {total}")
    ),
    "ends before and says so": ToRanges(faults.OtherSpan(-150_000, -150_000)),
    "several parts": ToRanges(faults.Multipart()),
    "no bytes": ToRanges(faults.EmptyPartial()),
    "416 with the size": ToRanges(faults.Unsatisfiable()),
    **{str(code): ToRanges(Status(code)) for code in REFUSALS},
    "403 from a bucket": ToRanges(faults.AccessDenied()),
    "202": ToRanges(Status(202, b"later")),
    "a few bytes without a place": ToRanges(faults.ContentRange(None) & faults.OtherSpan(stop=-PIECE)),
    "204": ToRanges(Status(204, b"")),
}
# The whole file, under any status and header.
WHOLE: dict[str, Fault] = {
    "200": faults.IgnoreRange(),
    "203": ToRanges(faults.IgnoreRange() & faults.PartialAs(203)),
    "206 of all": ToRanges(faults.WholeAsPartial()),
    "206 of all that says nothing": ToRanges(faults.WholeAsPartial(admitted=None)),
    "206 of all that says what was asked for": ToRanges(faults.WholeAsPartial(admitted=False)),
}
# The requested bytes, under another name or after others.
USABLE: dict[str, Fault] = {
    **{f"Content-Range {name}": faults.ContentRange(CONTENT_RANGES[name]) for name in CONTENT_RANGES},
    "upper case": faults.ContentRange("BYTES {start}-{last}/{total}"),
    "5,000 digits": faults.ContentRange("bytes {start}-" + "9" * 5000 + "/{total}"),
    "aligned": faults.Aligned(4 * KIB),
    "under 200": faults.PartialAs(200),
    "in chunks": faults.Chunked() & faults.ContentRange(None),
    "with a coding that is none": faults.Header("Content-Encoding", "Identity"),
}
# What may pass by itself, and may as well be what a server, or a proxy on the way, does to every range.
PASSING: dict[str, Fault] = {
    **{str(code): Status(code) for code in (408, 425, 429, 500, 501, 502, 503, 504, 511)},
    "403 with Retry-After": faults.Busy("1", 403),
    "hung up": faults.HangUp(),
    "reset": faults.HangUp(reset=True),
    "silence": faults.SayNothing(),
    "garbage": faults.Raw(b"\0\1\2\r\n\r\n"),
    "no byte of the body": faults.StallAfter(0),
}


def assert_read(source: HttpSource, *spans: Span) -> None:
    """Assert that the right bytes of the images come over one connection."""
    with closing(source.open()) as connection:
        for span in spans:
            assert all_of(connection, FILE, span) == dataset().files[IMAGES][slice(*span)]


def assert_fails(source: HttpSource, said: str) -> None:
    """Assert that a read of the images fails, over a connection of its own, and not for good."""
    with closing(source.open()) as connection, pytest.raises(SourceError, match=said) as caught:
        connection.read(FILE, Span(1000, 2000))
    assert not caught.value.permanent


def ranged(mirror: Mirror) -> list[bool]:
    """Return which requests had a range."""
    return ["range" in line.headers for line in mirror.journal]


@pytest.mark.parametrize("name", UNUSABLE | WHOLE | USABLE)
def test_the_right_bytes_come_at_once_whatever_the_answer_to_a_range(name: str) -> None:
    with Mirror(dataset().files, [(UNUSABLE | WHOLE | USABLE)[name]]) as mirror:
        source = HttpSource(mirror.url, Tier.USER)
        assert_read(source, Span(3 * PIECE, 5 * PIECE))
        # An answer of no use leads to a request for the whole file; a whole file is read up to what is missing.
        assert ranged(mirror) == ([True, False] if name in UNUSABLE else [True])
        assert mirror.served <= 2 * PIECE + 4 * KIB or name not in USABLE
    # The first whole piece has proved it.
    assert source.serves_ranges is (name in USABLE)
    assert source.connections == (None if name in USABLE else 1)


def test_a_file_that_is_refused_either_way_is_not_asked_for_twice_again() -> None:
    with Mirror(dataset().files, [Status(403)]) as mirror:
        source = HttpSource(mirror.url, Tier.USER)
        for file in dataset().manifest.files:
            with pytest.raises(SourceError, match="answered 403") as caught:
                source.open().read(file, Span(0, 1000))
            assert caught.value.permanent
        assert len(mirror.journal) == 5
    assert source.serves_ranges is None


@pytest.mark.parametrize("name", PASSING)
def test_after_two_failures_in_a_row_that_may_pass_the_whole_file_is_asked_for(name: str) -> None:
    with Mirror(dataset().files, [ToRanges(PASSING[name])]) as mirror:
        source = HttpSource(mirror.url, Tier.USER)
        with closing(source.open()) as connection:
            connection.timeout_s = 0.2 if name in ("silence", "no byte of the body") else 20.0
            for _ in range(3 if name == "no byte of the body" else 2):
                with pytest.raises(SourceError) as caught:
                    connection.read(FILE, Span(1000, 2000))
                assert not caught.value.permanent
            connection.timeout_s = 20.0
            assert all_of(connection, FILE, Span(1000, 2000)) == dataset().files[IMAGES][1000:2000]
        # Once more with a range after the first success without one: the server may just have recovered.
        assert ranged(mirror) == [True, True, False, True, False]


def test_a_server_that_recovers_is_asked_for_ranges_again() -> None:
    with Mirror(dataset().files, [faults.Lockstep(), First(2, Status(503))]) as mirror:
        source = HttpSource(mirror.url, Tier.USER)
        for _ in range(2):
            assert_fails(source, "answered 503")
        for _ in range(2):
            assert_read(source, Span(100_000, 102_000))
        assert ranged(mirror) == [True, True, False, True, True]
        assert mirror.served <= 100_000
    assert source.serves_ranges is True


def test_one_connection_at_a_time_asks_for_the_whole_file_because_ranges_fail() -> None:
    with Mirror(dataset().files, [First(2, Status(503))]) as mirror:
        source = HttpSource(mirror.url, Tier.USER)
        for _ in range(2):
            assert_fails(source, "answered 503")
        assert source.begin_whole_try()
        assert_read(source, Span(100_000, 102_000))
        assert ranged(mirror) == [True, True, True]


def test_a_server_that_fails_with_and_without_a_range_is_asked_in_turns() -> None:
    with Mirror(dataset().files, [Status(503)]) as mirror:
        source = HttpSource(mirror.url, Tier.USER)
        for _ in range(6):
            assert_fails(source, "answered 503")
        assert ranged(mirror) == [True, True, False] * 2


def test_a_connection_that_is_refused_says_nothing_of_ranges() -> None:
    with refusing() as nobody:
        source = HttpSource(nobody, Tier.USER)
        for _ in range(3):
            assert_fails(source, "refuses connections")
    assert not source.doubts_ranges


def test_a_refusal_behind_a_redirect_says_nothing_lasting_about_the_mirror() -> None:
    with Mirror({}) as portal, Mirror(dataset().files, [First(2, faults.Redirect(portal.url))]) as mirror:
        source = HttpSource(mirror.url, Tier.USER)
        assert_fails(source, "answered 404")
        assert_read(source, Span(1000, 2000))
    assert source.serves_ranges is True


def test_wrong_bytes_in_one_place_do_not_make_ranges_suspect() -> None:
    with Mirror(dataset().files, [faults.FlipByte(5 * PIECE + 100)]) as mirror:
        source = HttpSource(mirror.url, Tier.USER)
        with closing(source.open()) as connection:
            for start in (3 * PIECE, 5 * PIECE):
                all_of(connection, FILE, Span(start, start + PIECE))
    assert source.serves_ranges is True


# Whole runs, and the most that is served: twice for the pieces that prove that ranges are answered with other bytes.
LYING: dict[str, Fault] = {
    "another span than it says": ToRanges(faults.OtherSpan(start=1000, admitted=False)),
    "aligned to a block, and does not say so": ToRanges(faults.Aligned(100_000, admitted=False)),
    "shifted to the front, and does not say so": ToRanges(faults.OtherSpan(-1000, -1000, admitted=False)),
}
CODED: dict[str, Fault] = {
    **{
        f"{label}, which has no length and may be a label only": faults.Chunked()
        & faults.Header("Content-Encoding", label)
        for label in ("gzip", "GZIP", "x-gzip", "Identity, gzip")
    },
    "the whole in gzip, in chunks": faults.GzipEncoding() & faults.Chunked() & faults.IgnoreRange(),
}
BROKEN = {"the whole at first, and breaks": First(1, faults.IgnoreRange()) & faults.CutAfter(2 * PIECE)}
RUNS = [
    *("starts elsewhere and says so", "several parts", "no bytes", "416", "400", "403", "404", "202"),
    *(*WHOLE, *LYING, *CODED, *BROKEN),
    *("Content-Range missing", "Content-Range from zero", "aligned"),
]


@pytest.mark.parametrize("name", RUNS)
def test_the_only_mirror_gives_its_files_although_ranges_are_answered_with(tmp_path: Path, name: str) -> None:
    world = World(tmp_path, small())
    # One part exists already, so that the missing bytes begin later.
    world.raw.mkdir(parents=True)
    world.part(IMAGES).write_bytes(small().files[IMAGES][: 2 * PIECE])
    fault = (UNUSABLE | WHOLE | LYING | USABLE | CODED | BROKEN)[name]
    with Mirror(small().files, [fault]) as mirror:
        fetch(world, mirror.url, options=["--patience", "20"], code=0)
        served = mirror.served
    if name in USABLE:
        assert served <= 1.05 * (small().size - 2 * PIECE)
    elif name not in CODED:
        assert served <= (3.5 if name in LYING else 2.2) * small().size
