"""Bars on a terminal: what the screen shows at any time, at every width, and after the end."""

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

from fmnist_fetch.console.bars import Bars, Block
from fmnist_fetch.console.progress import MAX_FILES_NAMED, ProgressState
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
    """A minimal terminal for bars: it keeps lines, obeys the codes for up and erase, and counts writes."""

    encoding = "utf-8"

    def __init__(self, columns: int = 100, lines: int = 24) -> None:
        self.lines, self.row, self.writes, self.longest = [""], 0, 0, 0
        self._reading, self._terminal = pty.openpty()
        self.resize(columns, lines)

    def resize(self, columns: int, lines: int = 24) -> None:
        """Change the size of the terminal."""
        fcntl.ioctl(self._terminal, termios.TIOCSWINSZ, struct.pack("4H", lines, columns, 0, 0))

    def fileno(self) -> int:
        return self._terminal

    def isatty(self) -> bool:
        return True

    def flush(self) -> None:
        pass

    def write(self, text: str) -> int:
        """Print TEXT; anything but whole lines and the known codes is an error."""
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
        """Return what the screen shows."""
        return [line for line in self.lines if line]

    def close(self) -> None:
        os.close(self._reading)
        os.close(self._terminal)


class Show:
    """Bars on a screen, and a clock that the test sets."""

    def __init__(self, screen: Screen) -> None:
        self.screen, self.now = screen, 100.0
        self._state = ProgressState(lambda: self.now)
        self._bars = Bars(self._state, screen)  # type: ignore[arg-type]

    def __call__(self, *events: Event, after: float = 0.25) -> list[str]:
        """Send events, each some seconds after the previous one; return what the screen shows then."""
        for event in events:
            self.now += after
            self._state(event)
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


def test_the_beginning_is_above_and_all_files_have_one_bar_with_the_numbers_below(show: Show) -> None:
    begin, verified, numbers = show(BEGAN)
    assert begin == "2 files, 25.0 MB to fetch"
    assert verified.startswith("verified          0%|")
    assert numbers.split() == ["0", "bytes", "of", "25.0", "MB"]


def test_what_was_good_already_is_shown_in_words_and_in_the_bars(show: Show) -> None:
    resumed = DownloadStarted(
        (("train-images.gz", 20 * MB, 10 * MB), ("test-images.gz", 5 * MB, 5 * MB)), pieces=100, good=60
    )
    begin, verified, _, file = show(resumed, arriving(train_images=0))
    assert begin == "60 of 100 pieces already good; 10.0 MB of 25.0 MB to fetch"
    assert verified.startswith("verified         60%|")
    assert file.startswith("train-images.gz  50%|")


def test_only_files_in_transfer_have_bars_and_complete_ones_vanish(show: Show) -> None:
    show(BEGAN)
    assert [line.split()[0] for line in show(arriving(train_images=1, test_images=1))[3:]] == [
        "train-images.gz",
        "test-images.gz",
    ]
    after = show(Verified("test-images.gz", 5 * MB), arriving(train_images=1))
    assert [line.split()[0] for line in after] == ["2", "verified", "5.0", "train-images.gz"]
    assert after[1].split("|")[0] == "verified         20%"


def test_bytes_that_arrive_move_the_file_but_only_verified_ones_count(show: Show) -> None:
    _, verified, _, file = show(BEGAN, arriving(train_images=10 * MB))
    assert "verified          0%|" in verified
    assert "train-images.gz  50%|" in file


def test_the_bar_of_all_is_wider_than_that_of_a_file(show: Show) -> None:
    _, verified, _, file = show(BEGAN, arriving(train_images=10 * MB))
    assert len(verified.split("|")[1]) > len(file.split("|")[1])


def test_the_mirror_in_use_is_named_and_others_are_counted(show: Show) -> None:
    in_transfer = (("train-images.gz", 1),)
    assert show(BEGAN, BytesInFlight(in_transfer, ("http://a/",)))[2].endswith("  from http://a/")
    assert show(BytesInFlight(in_transfer, ("http://a/", "http://b/")))[2].endswith("from http://a/ and 1 other")
    assert "from" not in show(BytesInFlight(in_transfer))[2]


def test_what_is_nearly_all_is_not_100_percent(show: Show) -> None:
    almost = DownloadStarted((("train-images.gz", 20 * MB, 20 * MB - 1),), pieces=100, good=99)
    assert all("100%" not in line for line in show(almost, arriving(train_images=0)))
    assert "100%" in show(Verified("train-images.gz", 1))[1]


def test_rate_and_time_left_do_not_jump_with_the_pieces(show: Show) -> None:
    show(BEGAN)
    seen = []
    for step in range(1, 80):
        # A steady 1 MB/s, verified 2 MB at a time.
        if step % 8 == 0:
            show(Verified("train-images.gz", 2 * MB), after=0.0)
        seen.append(show(arriving(train_images=step % 8 * MB // 4))[2])
    rates = [float(match[1]) for numbers in seen if (match := re.search(r"([\d.]+) MB/s", numbers))]
    times = [int(match[1]) for numbers in seen if (match := re.search(r"(\d+) s left", numbers))]
    assert len(rates) > 70
    assert set(rates) == {1.0}
    assert times == sorted(times, reverse=True)
    assert len({len(numbers) for numbers in seen if "left" in numbers}) == 1


def test_the_rate_is_of_the_last_seconds() -> None:
    seconds = iter(range(120))
    state = ProgressState(lambda: next(seconds))
    state(BEGAN)
    assert state.rate is None
    for count in range(0, 6000, 100):
        state(arriving(train_images=count))
        assert state.rate == (100 if count else None)
    for count in range(6400, 36400, 500):
        state(arriving(train_images=count))
    assert state.rate == 500


def test_a_wait_is_reported_below_and_is_no_part_of_the_rate(show: Show) -> None:
    wait = NoSourceReady(("http://a/ refuses connections",), 118.0, 10 * MB)
    show(BEGAN, *[arriving(train_images=step * MB // 4) for step in range(10)])
    assert len(show(wait, arriving(train_images=9 * MB // 4))) == 4
    standstill: list[Event] = [wait, arriving(train_images=9 * MB // 4)]
    *_, numbers, file, line = show(*standstill * 20)
    assert line == "waiting (gives up in 118 s), 10.0 MB verified so far: http://a/ refuses connections"
    assert "/s" not in numbers
    assert "train-images.gz  11%|" in file
    *_, numbers, file = show(*[arriving(train_images=step * MB // 4) for step in range(10, 20)])
    assert "1.0 MB/s" in numbers


def test_a_short_wait_is_not_reported(show: Show) -> None:
    wait = NoSourceReady(("http://a/ refuses connections",), 118.0, 10 * MB)
    assert not any("waiting" in line for line in show(BEGAN, wait, wait, arriving(train_images=9), wait, wait))


def test_sentences_stay_above_the_bars(show: Show) -> None:
    lines = show(BEGAN, arriving(train_images=1), Message("asking for the package"), Unpacked("test-images"))
    assert lines[1:3] == ["asking for the package", "test-images unpacked"]
    assert len(lines) == 6


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
        assert len(show.screen.shown) == 3 + MAX_FILES_NAMED + 1
        assert show.screen.shown[-1] == "and 12 more files"
        show(*[Verified(name, 1000) for name in names[at : at + 20]], after=0.0)
    show(*[Unpacked(name) for name in names], DownloadEnded())
    assert len(show.screen.shown) == 1 + MAX_FILES_NAMED


@pytest.mark.parametrize("columns", [*range(1, 130), 300])
def test_no_line_is_wider_than_the_terminal(columns: int) -> None:
    wait = NoSourceReady(("http://a.very.long.name.example/with/a/path refuses connections",), 118.0, 10 * MB)
    with showing(columns) as show:
        show(BEGAN, *[arriving(train_images=step * MB // 4, test_images=7) for step in range(9)])
        show.screen.longest = 0
        show(*[wait] * 20)
        assert 0 < show.screen.longest < max(2, columns)
        assert show.screen.longest <= 100


def test_a_narrow_terminal_has_shorter_names_and_no_sizes_of_files() -> None:
    with showing(40) as show:
        lines = show(BEGAN, *[arriving(train_images=step * MB // 4) for step in range(9)])
    assert [" ".join(line.split("|")[0].split()) for line in lines[1:]] == [
        "verified 0%",
        "0 bytes of 25.0 MB 1.0 MB/s 23 s...",
        "train-i... 10%",
    ]


def test_a_low_terminal_has_fewer_bars() -> None:
    names = [f"part-{number}.gz" for number in range(20)]
    with showing(80, lines=10) as show:
        lines = show(
            DownloadStarted(tuple((name, 1000, 0) for name in names), 20, 0),
            BytesInFlight(tuple((n, 1) for n in names)),
        )
    assert len(lines) == 7
    assert lines[-1] == "and 17 more files"


def test_a_terminal_that_became_narrower_has_wrapped_its_lines(show: Show) -> None:
    show(BEGAN, arriving(train_images=1))
    # The two bars of 99 columns take two rows each now, the numbers between them one, and the cursor is below them.
    show.screen.lines[1:4] = ["wrapped"] * 5
    show.screen.row = 6
    show.screen.resize(70)
    assert [line.split()[0] for line in show(arriving(train_images=1))] == ["2", "verified", "0", "train-images.gz"]


def test_text_of_strangers_can_not_control_the_terminal(show: Show) -> None:
    wait = NoSourceReady(("http://a/ sent \x1b[2J\nhint: run this",), 118.0, 0)
    show(DownloadStarted((("x\x1b]0;y.gz", MB, 0),), 4, 0), Message("a \x1b[31mtitle"))
    lines = show(BytesInFlight((("x\x1b]0;y.gz", 1),), ("http://\x9b/",)), *[wait] * 20)
    assert "a \\x1b[31mtitle" in lines
    assert "\\x1b[2J\\nhint: run this" in lines[-1]
    assert "http://\\x9b/" in lines[3]


def test_a_stream_that_has_no_blocks_gets_plain_bars() -> None:
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
