"""What users see during a run; displaying it never raises."""

from __future__ import annotations

import fcntl
import io
import json
import os
import pty
import struct
import termios
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import pytest

from fmnist_fetch import fetch
from fmnist_fetch.console.formatting import beginning, span_of_time, waiting
from fmnist_fetch.console.progress import KINDS, Lines, Log, ProgressState, listener
from fmnist_fetch.errors import size
from fmnist_fetch.events import (
    Attempted,
    BytesInFlight,
    Dispatcher,
    DownloadEnded,
    DownloadStarted,
    Event,
    Message,
    NoSourceReady,
    Verified,
)
from fmnist_fetch.manifest.pieces import Span
from samples import Sample, fill

BEGAN = DownloadStarted((("a.gz", 700_000, 0), ("b.gz", 300_000, 0)), pieces=10, good=0)
FOREVER = float("inf")


class Clock:
    """A clock that the test sets."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Shown:
    """Lines on a stream in memory."""

    def __init__(self) -> None:
        self.clock = Clock()
        self._stream = io.StringIO()
        self._state = ProgressState(self.clock)
        self._show = Lines(self._state, self._stream)

    def __call__(self, *events: Event, after: float = 0.0) -> list[str]:
        """Send events, each some seconds after the previous one; return the lines printed then."""
        self._stream.seek(0)
        self._stream.truncate()
        for event in events:
            self.clock.now += after
            self._state(event)
            self._show(event)
        return self._stream.getvalue().splitlines()


@pytest.fixture
def shown() -> Shown:
    shown = Shown()
    shown(BEGAN)
    return shown


def test_the_first_line_says_what_will_be_downloaded() -> None:
    assert beginning(BEGAN) == "2 files, 1.0 MB to fetch"
    assert beginning(DownloadStarted((("a.gz", 500, 0),), 1, 0)) == "1 file, 500 bytes to fetch"
    resumed = DownloadStarted((("a.gz", 700_000, 300_000), ("b.gz", 300_000, 0)), pieces=10, good=3)
    assert beginning(resumed) == "3 of 10 pieces already good; 700.0 kB of 1.0 MB to fetch"


def test_a_line_comes_every_tenth(shown: Shown) -> None:
    lines = shown(*[Verified("a.gz", 10_000)] * 100)
    shares = [int(line.split("%")[0]) for line in lines]
    assert 9 <= len(lines) <= 11
    assert all(10 <= later - sooner <= 12 for sooner, later in pairwise([0, *shares[:-1]]))
    assert lines[0] == " 10%  100.0 kB of 1.0 MB verified"
    assert lines[-1] == "100%  1.0 MB of 1.0 MB verified"


def test_a_line_comes_every_ten_seconds_where_it_is_slow(shown: Shown) -> None:
    assert len(shown(*[Verified("a.gz", 100)] * 50, after=1.0)) == 5


def test_many_events_make_few_lines(shown: Shown) -> None:
    assert len(shown(*[Verified("a.gz", 1)] * 100_000)) == 1


def test_what_was_good_already_is_not_reported_again() -> None:
    shown = Shown()
    shown(DownloadStarted((("a.gz", 1000, 900),), pieces=10, good=9))
    assert shown(Verified("a.gz", 100)) == ["100%  1.0 kB of 1.0 kB verified"]


def test_a_retry_within_a_moment_is_not_worth_a_word(shown: Shown) -> None:
    wait = NoSourceReady(("the mirror refuses connections",), 118.0, 262_144)
    assert shown(wait, wait, after=0.5) == []
    assert shown(Verified("a.gz", 1)) == []
    assert shown(wait, after=1.0) == []


def test_waiting_is_reported_with_the_reason_the_time_left_and_what_is_safe(shown: Shown) -> None:
    wait = NoSourceReady(("one hung up", "the mirror refuses connections"), 118.0, 262_144)
    assert shown(*[wait] * 12, after=0.25) == [
        "waiting (gives up in 118 s), 262.1 kB verified so far: the mirror refuses connections"
    ]
    assert shown(*[wait] * 30, after=0.25) == []
    assert len(shown(*[wait] * 40, after=0.25)) == 1


def test_a_step_is_printed_as_it_is(shown: Shown) -> None:
    assert shown(Message("x unpacked"), DownloadEnded()) == ["x unpacked"]


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 bytes"), (999, "999 bytes"), (1000, "1.0 kB"), (26_421_880, "26.4 MB"), (5e12, "5000.0 GB")],
)
def test_sizes_are_written_for_people(count: float, text: str) -> None:
    assert size(count) == text


def test_times_are_written_for_people() -> None:
    assert (span_of_time(89.6), span_of_time(-3)) == ("90 s", "0 s")
    assert waiting(NoSourceReady((), FOREVER, 0)).startswith("waiting (as long as it takes), ")


RUN: list[Event] = [
    BEGAN,
    Verified("a.gz", 300_000),
    NoSourceReady(("x",), 5.0, 300_000),
    NoSourceReady((), FOREVER, 0),
    Message("a sentence"),
    Verified("a.gz", 700_000),
    DownloadEnded(),
    Message("after the end"),
]


def everything(reading: int) -> str:
    """Return all that was written at the other end, which is closed."""
    text = b""
    # At the end, a closed terminal raises EIO where a pipe returns b"".
    with suppress(OSError):
        while data := os.read(reading, 4096):
            text += data
    os.close(reading)
    return text.decode()


@pytest.mark.parametrize("terminal", [True, False])
def test_auto_takes_bars_on_a_terminal_and_lines_elsewhere(terminal: bool) -> None:
    reading, writing = pty.openpty() if terminal else os.pipe()
    if terminal:
        fcntl.ioctl(writing, termios.TIOCSWINSZ, struct.pack("4H", 24, 80, 0, 0))
    with open(writing, "w", encoding="utf-8") as stream:
        show = listener("auto", stream)
        for event in RUN:
            show(event)
    text = everything(reading)
    assert ("\r" in text.replace("\r\n", "\n")) == terminal
    assert "2 files, 1.0 MB to fetch" in text
    assert "100%" in text


def test_none_shows_nothing() -> None:
    stream = io.StringIO()
    show = listener("none", stream)
    for event in RUN:
        show(event)
    assert stream.getvalue() == ""


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("event", [*RUN, DownloadStarted((), 0, 0), DownloadStarted((("a.gz", 0, 0),), 1, 0)], ids=str)
def test_no_display_raises_whatever_its_stream_does(kind: str, event: Event) -> None:
    stream = io.StringIO()
    show = listener(kind, stream)
    show(event)
    stream.close()
    show(event)
    show(BEGAN)
    show(Verified("a.gz", 1))


def test_a_listener_that_raises_costs_nothing(sample: Sample, root: Path) -> None:
    heard: list[Event] = []

    def broken(event: Event) -> None:
        heard.append(event)
        raise RuntimeError("no ipywidgets")

    stick = fill(root.parent / "stick", sample.files)
    report = fetch(sample.write(root.parent), root, mirrors=[str(stick)], progress=broken)
    assert report.tensors.exists()
    assert any(isinstance(event, Verified) for event in heard)


def test_a_line_names_the_mirrors_in_use_when_they_change(shown: Shown) -> None:
    first = BytesInFlight((("a.gz", 5),), ("http://a/",))
    assert shown(first, Verified("a.gz", 100_000)) == [" 10%  100.0 kB of 1.0 MB verified, from http://a/"]
    assert shown(first, Verified("a.gz", 100_000)) == [" 20%  200.0 kB of 1.0 MB verified"]
    both = BytesInFlight((("a.gz", 5),), ("http://b/", "http://a/"))
    assert shown(both, Verified("a.gz", 150_000))[0].endswith(", from http://b/ and 1 other")


def test_bytes_that_arrive_are_reported_where_a_piece_takes_long(shown: Shown) -> None:
    assert shown(BytesInFlight((("a.gz", 5000),)), after=11.0) == [
        "  0%  0 bytes of 1.0 MB verified, 5.0 kB more have arrived"
    ]
    assert shown(BytesInFlight((("a.gz", 5000),)), after=11.0) == []


def test_text_of_strangers_is_one_line_without_control_characters(shown: Shown) -> None:
    assert shown(Message("a \x1b[31mtitle\nhint: run this \u202e")) == ["a \\x1b[31mtitle\\nhint: run this \\u202e"]


def test_a_run_that_is_interrupted_says_what_is_kept_in_one_line_of_a_terminal() -> None:
    state = ProgressState()
    assert state.kept() == "Nothing is lost. Run the same command again."
    for event in (BEGAN, Verified("a.gz", 100_000), BytesInFlight((("a.gz", 5000),))):
        state(event)
    assert state.kept() == "Kept: 1 of 10 pieces and 5.0 kB more. Run the same command again."
    many = DownloadStarted((("a.gz", 3_000_000_000, 0),), pieces=11_445, good=11_444)
    for event in (many, BytesInFlight((("a.gz", 512_300),))):
        state(event)
    assert len(f"hint: {state.kept()}") <= 80


def test_a_file_that_is_wrong_as_a_whole_counts_no_more(shown: Shown) -> None:
    state = ProgressState()
    state(BEGAN)
    for length in [100_000] * 7:
        state(Verified("a.gz", length))
    state(Verified("a.gz", -700_000, -7))
    assert (state.done, state.good, state.percent) == (0, 0, 0)
    assert shown(Verified("a.gz", 700_000), Verified("a.gz", -700_000, -7), Verified("a.gz", 200_000, 2))[-1:] == [
        " 20%  200.0 kB of 1.0 MB verified"
    ]


@pytest.mark.parametrize(("length", "pieces", "percent"), [(-900_000, -9, 0), (9_000_000, 99, 100)])
def test_whatever_the_events_say_the_share_is_between_none_and_all(length: int, pieces: int, percent: int) -> None:
    state = ProgressState()
    for event in (BEGAN, Verified("a.gz", length, pieces)):
        state(event)
    assert state.percent == percent
    assert 0 <= state.good <= state.pieces


class Logger:
    """What a program may put in place of sys.stderr."""

    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str) -> None:
        self.text += text


def test_a_stream_may_be_any_object_that_writes_or_none() -> None:
    logger = Logger()
    for stream in (logger, None):
        show = listener("auto", stream)  # type: ignore[arg-type]
        for event in RUN:
            show(event)
    assert "2 files, 1.0 MB to fetch\n" in logger.text


def test_a_stream_that_lacks_a_character_gets_its_number() -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    listener("log", stream)(Message("数据"))
    assert raw.getvalue() == b"\\u6570\\u636e\n"


def test_a_dispatcher_passes_on_to_all_in_order_whatever_one_of_them_raises() -> None:
    heard: list[tuple[str, Event]] = []

    def broken(_: Event) -> None:
        raise RuntimeError

    inner = Dispatcher(lambda event: heard.append(("a", event)), broken)
    Dispatcher(inner, lambda event: heard.append(("b", event)))(DownloadEnded())
    assert heard == [("a", DownloadEnded()), ("b", DownloadEnded())]


def test_an_interrupt_is_not_swallowed() -> None:
    def interrupted(_: Event) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Dispatcher(interrupted)(DownloadEnded())


def test_the_log_has_a_json_line_for_each_attempt_and_goes_on_in_the_next_run(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    for number, error in enumerate((None, "ümlaut hung up")):
        log = Log(path)
        for event in (*RUN, Attempted("http://a/", "x.gz", Span(0, 9), 206, 9, 1, 0.12345, number, error)):
            log(event)
        del log
    first, second = (json.loads(line) for line in path.read_text(encoding="utf-8").splitlines())
    assert first.pop("time").endswith("Z")
    assert first == {
        "source": "http://a/",
        "file": "x.gz",
        "span": [0, 9],
        "status": 206,
        "bytes": 9,
        "kept": 1,
        "seconds": 0.123,
        "verdict": "good",
    }
    assert second["verdict"] == "ümlaut hung up"
