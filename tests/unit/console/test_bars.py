"""Bars on a terminal: what stands on the screen at each moment, at every width, and after the end."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import termios
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from fmnist_fetch.console.bars import MOST_FILES, Bars, Block, Pace
from fmnist_fetch.events import (
    BytesInFlight,
    DownloadEnded,
    DownloadStarted,
    Event,
    Message,
    NoSourceReady,
    Unpacked,
    Verified,
)

MB = 1_000_000
BEGAN = DownloadStarted((("train-images.gz", 20 * MB, 0), ("test-images.gz", 5 * MB, 0)), pieces=100, good=0)
CODES = re.compile(r"\x1b\[(\d*)([AJK])")


class Screen:
    """A terminal as far as bars need one: it keeps lines, obeys the codes for up and erase, and counts writes."""

    encoding = "utf-8"

    def __init__(self, columns: int = 100, lines: int = 24) -> None:
        self.lines, self.row, self.writes, self.longest = [""], 0, 0, 0
        self._reading, self._terminal = pty.openpty()
        self.resize(columns, lines)

    def resize(self, columns: int, lines: int = 24) -> None:
        """Give the terminal another size."""
        fcntl.ioctl(self._terminal, termios.TIOCSWINSZ, struct.pack("4H", lines, columns, 0, 0))

    def fileno(self) -> int:
        return self._terminal

    def isatty(self) -> bool:
        return True

    def flush(self) -> None:
        pass

    def write(self, text: str) -> int:
        """Take TEXT; anything but whole lines and the known codes is an error."""
        self.writes += 1
        for part in re.split(r"(\n|\r|\x1b\[\d*[AJK])", text):
            if code := CODES.fullmatch(part):
                self._obey(code[2], int(code[1] or 1))
            elif part == "\n":
                self.row += 1
                self.lines += [""] * (self.row + 1 - len(self.lines))
            elif part != "\r":
                assert "\x1b" not in part
                self.lines[self.row] = part or self.lines[self.row]
                self.longest = max(self.longest, len(part))
        return len(text)

    def _obey(self, code: str, count: int) -> None:
        if code == "A":
            self.row -= count
            assert self.row >= 0, "above the top of the screen"
        if code == "J":
            self.lines[self.row :] = [""]

    @property
    def shown(self) -> list[str]:
        """What stands on the screen."""
        return [line for line in self.lines if line]

    def close(self) -> None:
        os.close(self._reading)
        os.close(self._terminal)


class Show:
    """Bars on a screen, and a clock that goes when it is told to."""

    def __init__(self, screen: Screen) -> None:
        self.screen, self.now = screen, 100.0
        self._bars = Bars(screen, lambda: self.now)  # type: ignore[arg-type]

    def __call__(self, *events: Event, after: float = 0.25) -> list[str]:
        """Tell EVENTS, each so many seconds AFTER the one before; return what stands on the screen then."""
        for event in events:
            self.now += after
            self._bars(event)
        return self.screen.shown


@contextmanager
def showing(columns: int = 100, lines: int = 24) -> Iterator[Show]:
    screen = Screen(columns, lines)
    try:
        yield Show(screen)
    finally:
        screen.close()


@pytest.fixture
def show() -> Iterator[Show]:
    with showing() as show:
        yield show


def arriving(**counts: int) -> BytesInFlight:
    return BytesInFlight(tuple((name.replace("_", "-") + ".gz", count) for name, count in counts.items()))


def test_the_beginning_stands_above_and_all_files_have_one_bar(show: Show) -> None:
    begin, verified = show(BEGAN)
    assert begin == "2 files, 25.0 MB to fetch"
    assert verified.startswith("verified          0%|")
    assert verified.endswith("|  0 bytes of 25.0 MB")


def test_what_was_good_already_is_said_and_stands_in_the_bars(show: Show) -> None:
    resumed = DownloadStarted(
        (("train-images.gz", 20 * MB, 10 * MB), ("test-images.gz", 5 * MB, 5 * MB)), pieces=100, good=60
    )
    begin, verified, file = show(resumed, arriving(train_images=0))
    assert begin == "60 of 100 pieces already good; 10.0 MB of 25.0 MB to fetch"
    assert verified.startswith("verified         60%|")
    assert file.startswith("train-images.gz  50%|")


def test_only_files_under_way_have_bars_and_done_ones_vanish(show: Show) -> None:
    show(BEGAN)
    assert [line.split()[0] for line in show(arriving(train_images=1, test_images=1))[2:]] == [
        "train-images.gz",
        "test-images.gz",
    ]
    after = show(Verified("test-images.gz", 5 * MB), arriving(train_images=1))
    assert [line.split()[0] for line in after] == ["2", "verified", "train-images.gz"]
    assert after[1].split("|")[0] == "verified         20%"


def test_bytes_that_arrive_move_the_file_but_only_verified_ones_count(show: Show) -> None:
    _, verified, file = show(BEGAN, arriving(train_images=10 * MB))
    assert "verified          0%|" in verified
    assert "train-images.gz  50%|" in file


def test_what_is_nearly_all_is_not_100_percent(show: Show) -> None:
    almost = DownloadStarted((("train-images.gz", 20 * MB, 20 * MB - 1),), pieces=100, good=99)
    assert all("100%" not in line for line in show(almost, arriving(train_images=0)))
    assert all("100%" in line for line in show(Verified("train-images.gz", 1))[1:])


def test_rate_and_time_left_do_not_jump_with_the_pieces(show: Show) -> None:
    show(BEGAN)
    seen = []
    for step in range(1, 80):
        # A steady 1 MB/s, verified in lumps of 2 MB.
        if step % 8 == 0:
            show(Verified("train-images.gz", 2 * MB), after=0.0)
        tail = show(arriving(train_images=step % 8 * MB // 4))[1].rpartition("|")[2]
        seen.append(tail)
    rates = [float(match[1]) for tail in seen if (match := re.search(r"([\d.]+) MB/s", tail))]
    times = [int(match[1]) for tail in seen if (match := re.search(r"(\d+) s left", tail))]
    assert len(rates) > 70
    assert set(rates) == {1.0}
    assert times == sorted(times, reverse=True)
    assert len({len(tail) for tail in seen if "left" in tail}) == 1


def test_the_rate_is_of_the_last_seconds() -> None:
    pace = Pace()
    assert pace.rate() is None
    for second in range(60):
        pace.note(second, second * 100)
        assert pace.rate() == (100 if second else None)
    for second in range(60, 120):
        pace.note(second, 5900 + (second - 59) * 500)
    assert pace.rate() == 500


def test_a_wait_is_told_below_and_is_no_part_of_the_rate(show: Show) -> None:
    wait = NoSourceReady(("http://a/ refuses connections",), 118.0, 10 * MB)
    show(BEGAN, *[arriving(train_images=step * MB // 4) for step in range(10)])
    assert len(show(wait, arriving(train_images=9 * MB // 4))) == 3
    standstill: list[Event] = [wait, arriving(train_images=9 * MB // 4)]
    *_, verified, file, line = show(*standstill * 20)
    assert line == "waiting, 118 s left (10.0 MB are safe): http://a/ refuses connections"
    assert "/s" not in verified
    assert "train-images.gz  11%|" in file
    *_, verified, file = show(*[arriving(train_images=step * MB // 4) for step in range(10, 20)])
    assert "1.0 MB/s" in verified


def test_a_moment_of_waiting_is_not_told(show: Show) -> None:
    wait = NoSourceReady(("http://a/ refuses connections",), 118.0, 10 * MB)
    assert not any("waiting" in line for line in show(BEGAN, wait, wait, arriving(train_images=9), wait, wait))


def test_sentences_stay_above_the_bars(show: Show) -> None:
    lines = show(BEGAN, arriving(train_images=1), Message("asking for the package"), Unpacked("test-images"))
    assert lines[1:3] == ["asking for the package", "test-images unpacked"]
    assert len(lines) == 5


def test_the_end_leaves_sentences_and_no_bars(show: Show) -> None:
    show(BEGAN, arriving(train_images=1, test_images=1), Message("a sentence"))
    assert show(DownloadEnded()) == ["2 files, 25.0 MB to fetch", "a sentence"]
    assert show(Message("afterwards"))[-1] == "afterwards"


def test_each_picture_is_one_write_and_pictures_are_few(show: Show) -> None:
    show(BEGAN)
    for count in range(1000):
        show(arriving(train_images=count), after=0.001)
    assert 5 <= show.screen.writes <= 12


def test_two_thousand_files_make_few_lines(show: Show) -> None:
    names = [f"part-{number}.gz" for number in range(2000)]
    show(DownloadStarted(tuple((name, 1000, 0) for name in names), pieces=2000, good=0))
    for at in range(0, 2000, 20):
        show(BytesInFlight(tuple((name, 10) for name in names[at : at + 20])))
        assert len(show.screen.shown) == 2 + MOST_FILES + 1
        assert show.screen.shown[-1] == "and 12 more files"
        show(*[Verified(name, 1000) for name in names[at : at + 20]], after=0.0)
    show(*[Unpacked(name) for name in names], DownloadEnded())
    assert len(show.screen.shown) == 1 + MOST_FILES


@pytest.mark.parametrize("columns", [*range(1, 130), 300])
def test_no_line_is_wider_than_the_terminal(columns: int) -> None:
    wait = NoSourceReady(("http://a.very.long.name.example/with/a/path refuses connections",), 118.0, 10 * MB)
    with showing(columns) as show:
        show(BEGAN, *[arriving(train_images=step * MB // 4, test_images=7) for step in range(9)])
        show.screen.longest = 0
        show(*[wait] * 20)
        assert 0 < show.screen.longest < max(2, columns)
        assert show.screen.longest <= 100


def test_a_narrow_terminal_has_the_numbers_in_a_line_of_their_own() -> None:
    with showing(40) as show:
        lines = show(BEGAN, *[arriving(train_images=step * MB // 4) for step in range(9)])
    assert [line.split("|")[0].strip() for line in lines[1:]] == [
        "verified     0%",
        "0 bytes of 25.0 MB 1.0 MB/s 23 s left",
        "train-i...  10%",
    ]


def test_a_low_terminal_has_fewer_bars() -> None:
    names = [f"part-{number}.gz" for number in range(20)]
    with showing(80, lines=10) as show:
        lines = show(
            DownloadStarted(tuple((name, 1000, 0) for name in names), 20, 0),
            BytesInFlight(tuple((n, 1) for n in names)),
        )
    assert len(lines) == 6
    assert lines[-1] == "and 17 more files"


def test_a_terminal_that_became_narrower_has_wrapped_what_stood_there(show: Show) -> None:
    show(BEGAN, arriving(train_images=1))
    # Each of the two lines of 99 columns stands on two rows now, and the cursor below them.
    show.screen.lines[1:3] = ["wrapped"] * 4
    show.screen.row = 5
    show.screen.resize(70)
    assert [line.split()[0] for line in show(arriving(train_images=1))] == ["2", "verified", "train-images.gz"]


def test_a_stream_that_knows_no_boxes_gets_plain_bars() -> None:
    screen = Screen()
    screen.encoding = "ascii"
    show = Show(screen)
    assert all(line.isascii() for line in show(BEGAN, arriving(train_images=10 * MB)))
    assert "#" in screen.shown[-1]
    screen.close()


def test_a_stream_without_a_size_is_taken_for_80_columns() -> None:
    class Nowhere:
        encoding = None

        def fileno(self) -> int:
            raise OSError

    assert Block(Nowhere()).shape() == (79, 24)  # type: ignore[arg-type]
