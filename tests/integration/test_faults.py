"""The misbehaving mirror, seen from a plain client: its faults and its counters."""

from __future__ import annotations

import contextlib
import gzip
import http.client
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import pytest

import faults
from faults import KIB, MIB, CutAfter, Fault, Mirror, Span, Status, payload
from nonsense import CONTENT_RANGES, HEADER_LINES, STATUS_LINES
from wire import flipped

DATA = payload(200 * KIB, seed=1)
OTHER = payload(150 * KIB, seed=2)
SIZE = len(DATA)


@dataclass
class Got:
    """What a client received of one answer, up to an error if there was one."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    error: Exception | None = None


class Client:
    """A plain keep-alive client."""

    def __init__(self, mirror: Mirror) -> None:
        self.wire = http.client.HTTPConnection(urlsplit(mirror.url).netloc, timeout=5.0)

    def get(self, range_: str = "") -> Got:
        got = Got()
        try:
            self.wire.request("GET", "/data", headers={"Range": range_} if range_ else {})
            response = self.wire.getresponse()
            got.status = response.status
            got.headers = {name.lower(): value for name, value in response.headers.items()}
            with response:
                # Not read(): a reset loses what it has gathered.
                while block := response.read1(1000):
                    got.body += block
        except (OSError, http.client.HTTPException, ValueError) as error:
            got.error = error
        return got

    def begin(self) -> http.client.HTTPResponse:
        """Return an answer of which only the head was read."""
        self.wire.request("GET", "/data")
        return self.wire.getresponse()


@pytest.fixture
def mirror() -> Iterator[Mirror]:
    with Mirror({"data": DATA}) as running:
        yield running


@contextlib.contextmanager
def client_of(mirror: Mirror, *wrong: Fault) -> Iterator[Client]:
    """Set faults, and yield a client on a new connection."""
    mirror.faults = list(wrong)
    client = Client(mirror)
    yield client
    client.wire.close()


def get(mirror: Mirror, *wrong: Fault, range_: str = "") -> Got:
    """Set faults and send one request, on a new connection."""
    with client_of(mirror, *wrong) as client:
        return client.get(range_)


def raw(mirror: Mirror) -> bytes:
    """Return all that the mirror sends for a request before it closes the connection."""
    arrived = b""
    with socket.create_connection(("127.0.0.1", urlsplit(mirror.url).port or 0)) as sock:
        sock.settimeout(5)
        sock.sendall(b"GET /data HTTP/1.1\r\nConnection: close\r\n\r\n")
        with contextlib.suppress(OSError):
            while block := sock.recv(65536):
                arrived += block
    return arrived


# The counters.


def test_a_client_that_leaves_is_charged_for_what_left_the_server(mirror: Mirror) -> None:
    mirror.files["data"] = payload(64 * MIB)
    with client_of(mirror) as client:
        client.begin().close()
    assert mirror.journal[-1].ending == "gone"
    assert mirror.served == mirror.journal[-1].sent < 32 * MIB


@pytest.mark.parametrize("chunked", [False, True])
def test_an_endless_body_goes_on_and_is_counted(mirror: Mirror, chunked: bool) -> None:
    with client_of(mirror, faults.Endless(chunked)) as client, client.begin() as response:
        assert response.read(SIZE) == DATA
        assert len(response.read(MIB)) == MIB
    assert SIZE + MIB <= mirror.served <= SIZE + MIB + 32 * KIB


# Selectors.

SELECTED: dict[str, tuple[list[Fault], list[int]]] = {
    "counted": (
        [faults.First(2, Status(500)), faults.Every(4, Status(404))],
        [500, 500, 206, 404, 206, 206, 206, 404],
    ),
    "by bytes": ([faults.AfterServed(20, Status(500))], [206, 206, 500, 500]),
    "by a question": ([faults.When(lambda request: request.number == 1, Status(500))], [206, 500, 206]),
    "of one file": ([faults.On("data", faults.First(1, Status(500))), faults.On("two", Status(404))], [500, 206, 206]),
    "to ranges": ([faults.ToRanges(Status(500))], [500, 500]),
    "joined": ([faults.First(1, Status(500) & faults.Header("X", "1"))], [500, 206]),
}


@pytest.mark.parametrize("name", SELECTED)
def test_a_fault_applies_to_these_requests_only(mirror: Mirror, name: str) -> None:
    wrong, statuses = SELECTED[name]
    with client_of(mirror, *wrong) as client:
        assert [client.get("bytes=0-9").status for _ in statuses] == statuses


# Faults of the connection.


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize("size", [0, 1, 1000, 64 * KIB, 100_001])
def test_a_cut_comes_after_exactly_so_many_bytes(mirror: Mirror, size: int, reset: bool) -> None:
    got = get(mirror, CutAfter(size, reset))
    assert (got.status, got.body) == (200, DATA[:size])
    assert isinstance(got.error, ConnectionResetError) == reset
    assert mirror.served == mirror.journal[0].sent == size
    assert mirror.journal[0].ending == ("reset" if reset else "closed")


def test_a_cut_counts_all_answers_of_its_connection(mirror: Mirror) -> None:
    with client_of(mirror, CutAfter(1500)) as client:
        assert [len(client.get("bytes=0-999").body) for _ in range(2)] == [1000, 500]
    assert mirror.connections == 1


def test_a_random_cut_is_drawn_for_each_connection(mirror: Mirror) -> None:
    lengths = {len(get(mirror, faults.CutSomewhere(100, 5000, seed=3)).body) for _ in range(5)}
    assert len(lengths) > 1
    assert all(100 <= length <= 5000 for length in lengths)


def test_close_each_ends_a_connection_that_was_to_be_kept(mirror: Mirror) -> None:
    assert "connection" not in get(mirror, faults.CloseEach()).headers
    assert mirror.journal[0].ending == "closed"


def test_a_drip_is_complete_and_takes_its_time(mirror: Mirror) -> None:
    began = time.monotonic()
    assert get(mirror, faults.Drip(400_000), range_="bytes=0-99999").body == DATA[:100_000]
    assert time.monotonic() - began >= 0.2


# Answers to a request for bytes 1000-1999: status, body, and headers (None: absent).

PART = DATA[1000:2000]
PLACE = f"bytes 1000-1999/{SIZE}"
ANSWERS: dict[str, tuple[Fault, int, bytes, dict[str, str | None]]] = {
    "another status": (Status(502, b"sorry"), 502, b"sorry", {"content-range": None}),
    "a login page": (faults.LoginPage(), 200, faults.LOGIN_HTML, {"content-type": "text/html; charset=utf-8"}),
    "a redirect": (faults.Redirect("http://other.example/"), 302, b"", {"location": "http://other.example/data"}),
    "an ignored range": (faults.IgnoreRange(), 200, DATA, {"content-range": None}),
    "another span": (faults.OtherSpan(-100), 206, DATA[900:2000], {"content-range": f"bytes 900-1999/{SIZE}"}),
    "another span under this name": (faults.OtherSpan(7, 7, False), 206, DATA[1007:2007], {"content-range": PLACE}),
    "a whole block": (faults.Aligned(512), 206, DATA[512:2000], {"content-range": f"bytes 512-1999/{SIZE}"}),
    "the whole as a part": (faults.WholeAsPartial(), 206, DATA, {"content-range": f"bytes 0-{SIZE - 1}/{SIZE}"}),
    "a part under another status": (faults.PartialAs(200), 200, PART, {}),
    "an empty part": (faults.EmptyPartial(), 206, b"", {"content-length": "0"}),
    "a refused range": (faults.Unsatisfiable(), 416, b"", {"content-range": f"bytes */{SIZE}"}),
    "a flipped byte": (faults.FlipByte(1500), 206, flipped(DATA, 1500)[1000:2000], {"content-range": PLACE}),
    "another file": (faults.Replaced(OTHER), 206, OTHER[1000:2000], {"content-range": PLACE.replace("2048", "1536")}),
    "another file from here": (faults.Replaced(OTHER, at=1500), 206, DATA[1000:1500] + OTHER[:500], {}),
    "a shorter file": (faults.Truncated(1500), 206, DATA[1000:1500], {"content-range": "bytes 1000-1499/1500"}),
    "a longer file": (faults.Longer(b"more"), 206, PART, {"content-range": f"bytes 1000-1999/{SIZE + 4}"}),
    "chunks": (faults.Chunked(), 206, PART, {"content-length": None}),
    "cut chunks": (faults.Chunked() & CutAfter(500), 206, PART[:500], {"content-length": None}),
    "no length": (faults.NoLength(), 206, PART, {"content-length": None}),
    "a missing header": (faults.Header("ETag", None), 206, PART, {"etag": None}),
    "another header": (faults.Header("Content-Type", "text/html"), 206, PART, {"content-type": "text/html"}),
    "an interim answer": (faults.Preface(b"HTTP/1.1 100 Continue\r\n\r\n"), 206, PART, {}),
    "gzip": (faults.GzipEncoding(), 206, gzip.compress(PART, 1, mtime=0), {"content-encoding": "gzip"}),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_a_request_for_a_range_is_answered_with(mirror: Mirror, name: str) -> None:
    fault, status, body, headers = ANSWERS[name]
    got = get(mirror, fault, range_="bytes=1000-1999")
    assert (got.status, got.body) == (status, body)
    assert {header: got.headers.get(header) for header in headers} == headers
    assert mirror.asked == [Span(1000, 2000)]


@pytest.mark.parametrize("name", CONTENT_RANGES)
def test_content_range_can_be_invalid(mirror: Mirror, name: str) -> None:
    got = get(mirror, faults.ContentRange(CONTENT_RANGES[name]), range_="bytes=1000-1999")
    assert (got.status, got.body) == (206, PART)
    assert got.headers.get("content-range") != PLACE
    assert ("content-range" in got.headers) == (name != "missing")


RAW: list[tuple[Fault, bytes]] = [
    (faults.Raw(b"\x00\x01 anything\n"), b"\x00\x01 anything\n"),
    (faults.Preface(b"?!"), b"?!HTTP/1.1 200 OK\r\n"),
    (faults.Chunked("zz"), b"\r\n\r\nzz\r\n"),
    (faults.ContentLength("1e3"), b"\r\nContent-Length: 1e3\r\n"),
    (faults.LengthOff(-10), f"\r\nContent-Length: {SIZE - 10}\r\n".encode()),
    (faults.Busy("soon", 429), b"\r\nRetry-After: soon\r\n"),
    *((faults.StatusLine(line), line + b"\r\n") for line in STATUS_LINES.values()),
    *((faults.RawHeaders(lines), b"\r\n" + b"\r\n".join(lines) + b"\r\n\r\n") for lines in HEADER_LINES.values()),
]


@pytest.mark.parametrize("number", range(len(RAW)))
def test_a_client_receives_these_bytes(mirror: Mirror, number: int) -> None:
    fault, expected = RAW[number]
    mirror.faults = [fault]
    assert expected in raw(mirror)
