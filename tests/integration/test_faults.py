"""The misbehaving mirror, seen from a plain client: its faults and its counters."""

from __future__ import annotations

import gzip
import http.client
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from faults import (
    ACCESS_DENIED,
    CONTENT_RANGES,
    HEADER_LINES,
    KIB,
    LOGIN_HTML,
    MIB,
    STATUS_LINES,
    AccessDenied,
    After,
    AfterServed,
    Aligned,
    AtMost,
    Broken,
    Busy,
    BusyUntil,
    Chunked,
    CloseEach,
    ContentLength,
    ContentRange,
    CutAfter,
    CutSomewhere,
    Drip,
    DripHead,
    During,
    EmptyPartial,
    Endless,
    Every,
    Fault,
    First,
    FlipByte,
    FlipSomewhere,
    GzipEncoding,
    HangUp,
    Header,
    IgnoreRange,
    Latency,
    LengthOff,
    Line,
    Lockstep,
    LoginPage,
    LoginRedirect,
    Longer,
    Mirror,
    NoLength,
    On,
    OtherSpan,
    PartialAs,
    Preface,
    Randomly,
    Raw,
    RawHeaders,
    Redirect,
    RedirectLoop,
    Replaced,
    Request,
    SayNothing,
    Span,
    StallAfter,
    Status,
    StatusLine,
    Truncated,
    Unpacked,
    Unsatisfiable,
    When,
    WholeAsPartial,
    blackhole,
    payload,
    refusing,
    self_signed,
)

DATA = payload(200 * KIB, seed=1)
SIZE = len(DATA)
ASK = b"GET /data HTTP/1.1\r\nConnection: close\r\n\r\n"


@dataclass
class Got:
    """What a client received of one answer, up to an error if there was one."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    error: Exception | None = None


class Client:
    """A plain keep-alive client."""

    def __init__(self, mirror: Mirror, timeout: float = 5.0) -> None:
        self.wire = http.client.HTTPConnection(urlsplit(mirror.url).netloc, timeout=timeout)

    def get(self, range_: str = "", path: str = "/data", method: str = "GET") -> Got:
        got = Got()
        try:
            self.wire.request(method, path, headers={"Range": range_} if range_ else {})
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


@pytest.fixture
def mirror() -> Iterator[Mirror]:
    with Mirror({"data": DATA}) as running:
        yield running


def get(mirror: Mirror, *faults: Fault, range_: str = "", timeout: float = 5.0) -> Got:
    """Set faults and send one request, on a new connection."""
    mirror.faults = list(faults)
    client = Client(mirror, timeout)
    try:
        return client.get(range_)
    finally:
        client.wire.close()


def raw(mirror: Mirror, request: bytes = ASK) -> bytes:
    """Return all that the mirror sends for REQUEST before it closes the connection or pauses."""
    arrived = b""
    with socket.create_connection(("127.0.0.1", urlsplit(mirror.url).port or 0)) as sock:
        sock.settimeout(0.3)
        sock.sendall(request)
        with suppress(OSError):
            while block := sock.recv(65536):
                arrived += block
    return arrived


# A correct server.


def test_a_whole_file_comes_with_length_type_and_validator(mirror: Mirror) -> None:
    got = get(mirror)
    assert (got.status, got.body, got.error) == (200, DATA, None)
    assert got.headers["content-length"] == str(SIZE)
    assert got.headers["accept-ranges"] == "bytes"
    assert got.headers["etag"].startswith('"')


@pytest.mark.parametrize(
    ("asked", "span"),
    [
        ("bytes=0-0", Span(0, 1)),
        ("bytes=1000-1999", Span(1000, 2000)),
        ("bytes=204000-", Span(204000, SIZE)),
        ("bytes=204000-999999", Span(204000, SIZE)),
        ("bytes=-500", Span(SIZE - 500, SIZE)),
        ("bytes=-999999", Span(0, SIZE)),
    ],
)
def test_a_single_range_comes_as_206(mirror: Mirror, asked: str, span: Span) -> None:
    got = get(mirror, range_=asked)
    assert (got.status, got.body) == (206, DATA[span.start : span.stop])
    assert got.headers["content-range"] == f"bytes {span.start}-{span.stop - 1}/{SIZE}"
    assert got.headers["content-length"] == str(span.stop - span.start)
    assert mirror.asked == [span]


@pytest.mark.parametrize("asked", [f"bytes={SIZE}-", "bytes=900000-900001", "bytes=-0"])
def test_a_range_beyond_the_end_is_answered_with_416(mirror: Mirror, asked: str) -> None:
    got = get(mirror, range_=asked)
    assert (got.status, got.headers["content-range"]) == (416, f"bytes */{SIZE}")


@pytest.mark.parametrize("asked", ["bytes=5-2", "bytes=-", "lines=0-1", "bytes=0-1,5-6", "x"])
def test_a_range_that_is_none_is_ignored(mirror: Mirror, asked: str) -> None:
    assert get(mirror, range_=asked).status == 200


def test_if_range_voids_the_range_for_another_version(mirror: Mirror) -> None:
    request = b"GET /data HTTP/1.1\r\nRange: bytes=0-0\r\nIf-Range: %s\r\nConnection: close\r\n\r\n"
    tag = get(mirror).headers["etag"].encode()
    assert raw(mirror, request % tag).startswith(b"HTTP/1.1 206 ")
    assert raw(mirror, request % b'"other"').startswith(b"HTTP/1.1 200 ")


def test_one_connection_takes_many_requests(mirror: Mirror) -> None:
    client = Client(mirror)
    assert client.get(method="HEAD").headers["content-length"] == str(SIZE)
    assert client.get("bytes=0-9").body == DATA[:10]
    assert client.get(path="/other").status == 404
    assert client.get(method="DELETE").status == 405
    assert client.get("bytes=10-19", path="/data?query").body == DATA[10:20]
    client.wire.close()
    assert mirror.connections == 1


def test_two_requests_sent_at_once_are_answered_in_order(mirror: Mirror) -> None:
    one = b"GET /data HTTP/1.1\r\nRange: bytes=0-9\r\n\r\n"
    two = b"GET /data HTTP/1.1\r\nRange: bytes=10-19\r\nConnection: close\r\n\r\n"
    said = raw(mirror, one + two)
    assert said.count(b"HTTP/1.1 206 Partial Content") == 2
    assert said.index(DATA[:10]) < said.index(DATA[10:20])


# The journal and the counters.


def test_the_journal_has_each_request(mirror: Mirror) -> None:
    client = Client(mirror)
    client.get("bytes=100-199")
    client.get(path="/other")
    client.wire.close()
    one, other = mirror.journal
    assert (one.method, one.name, one.span, one.status) == ("GET", "data", Span(100, 200), 206)
    assert (one.sent, one.ending, one.headers["range"]) == (100, "complete", "bytes=100-199")
    assert (other.name, other.span, other.status, other.number) == ("other", None, 404, 1)
    assert 0 <= one.when <= other.when
    assert mirror.served == 100 + other.sent
    assert mirror.of("data") == [one]


def test_a_client_that_leaves_is_charged_for_what_left_the_server(mirror: Mirror) -> None:
    mirror.files["data"] = payload(64 * MIB)
    client = Client(mirror)
    client.wire.request("GET", "/data")
    client.wire.getresponse().close()
    client.wire.close()
    assert mirror.journal[-1].ending == "gone"
    assert mirror.served == mirror.journal[-1].sent < 32 * MIB


def test_lockstep_charges_for_what_the_client_read(mirror: Mirror) -> None:
    mirror.files["data"] = payload(8 * MIB)
    mirror.faults = [Lockstep()]
    client = Client(mirror)
    client.wire.request("GET", "/data")
    response = client.wire.getresponse()
    assert len(response.read(1 * MIB)) == 1 * MIB
    time.sleep(0.05)
    assert 1 * MIB <= mirror.served <= 1 * MIB + 32 * KIB
    response.close()
    client.wire.close()
    assert mirror.served <= 1 * MIB + 32 * KIB


def test_a_killed_client_is_noticed(mirror: Mirror) -> None:
    mirror.faults = [StallAfter(1000)]
    code = f"import urllib.request as u; u.urlopen({mirror.url + 'data'!r}).read()"
    with subprocess.Popen([sys.executable, "-c", code]) as process:
        while not mirror.served:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert (mirror.served, mirror.journal[0].ending) == (1000, "stalled")


def test_the_end_is_prompt_and_leaves_nothing_behind() -> None:
    before, files = threading.active_count(), len(os.listdir("/proc/self/fd"))
    faults = [On("stall", StallAfter(10)), On("drip", Drip(1)), On("silent", SayNothing())]
    names = ["stall", "drip", "silent", "never read"]
    with Mirror(dict.fromkeys(names, payload(8 * MIB)), faults) as mirror:
        clients = [Client(mirror) for _ in names]
        for client, name in zip(clients, names, strict=True):
            client.wire.request("GET", "/" + name.replace(" ", "%20"))
        idle = socket.create_connection(("127.0.0.1", urlsplit(mirror.url).port or 0))
        while len(mirror.journal) < len(names):
            time.sleep(0.01)
        began = time.monotonic()
    assert time.monotonic() - began < 2
    idle.close()
    for client in clients:
        client.wire.close()
    assert threading.active_count() == before
    assert len(os.listdir("/proc/self/fd")) <= files


def test_a_mirror_can_go_down_and_come_back_under_the_same_address(mirror: Mirror) -> None:
    client = Client(mirror)
    assert client.get("bytes=0-9").status == 206
    with mirror.down():
        assert get(mirror, range_="bytes=0-9").error.__class__ is ConnectionRefusedError
    assert get(mirror, range_="bytes=0-9").body == DATA[:10]
    client.wire.close()


# Selectors.


def statuses(mirror: Mirror, count: int, *faults: Fault) -> list[int]:
    """Return the statuses of COUNT requests."""
    mirror.faults = list(faults)
    client = Client(mirror)
    try:
        return [client.get("bytes=0-9").status for _ in range(count)]
    finally:
        client.wire.close()


def test_first_after_and_every_count_requests(mirror: Mirror) -> None:
    faults = [First(2, Status(500)), After(6, Status(403)), Every(4, Status(404))]
    assert statuses(mirror, 8, *faults) == [500, 500, 206, 404, 206, 206, 403, 404]


def test_on_counts_the_requests_of_one_file() -> None:
    with Mirror({"one": DATA, "two": DATA}, [On("two", First(1, Status(500)))]) as mirror:
        client = Client(mirror)
        got = [client.get(path=path).status for path in ("/one", "/two", "/two")]
        client.wire.close()
    assert got == [200, 500, 200]


def test_randomly_is_the_same_each_time_for_a_seed(mirror: Mirror) -> None:
    wanted = [
        [
            sum(1 for _ in Randomly(0.3, fault, seed).picked(request))
            for request in (Request("GET", "/data", {}, number) for number in range(1000))
        ]
        for fault, seed in [(Status(500), 1), (Status(500), 1), (Status(500), 2), (LoginPage(), 1)]
    ]
    assert wanted[0] == wanted[1]
    assert wanted[0] != wanted[2] != wanted[3] != wanted[0]
    assert all(200 < sum(one) < 400 for one in wanted)
    assert set(statuses(mirror, 30, Randomly(0.5, Status(500)))) == {206, 500}


def test_after_served_counts_bytes_and_during_the_time(mirror: Mirror) -> None:
    assert statuses(mirror, 4, AfterServed(20, Status(500))) == [206, 206, 500, 500]
    assert statuses(mirror, 1, During(0, 60, Status(500))) == [500]
    assert statuses(mirror, 1, During(60, 99, Status(500))) == [206]


def test_when_takes_any_question(mirror: Mirror) -> None:
    fault = When(lambda request: "range" in request.headers, Status(500))
    assert get(mirror, fault, range_="bytes=0-9").status == 500
    assert get(mirror, fault).status == 200


def test_two_faults_make_one(mirror: Mirror) -> None:
    got = get(mirror, First(1, IgnoreRange() & CutAfter(50 * KIB)), range_="bytes=10-19")
    assert (got.status, got.body) == (200, DATA[: 50 * KIB])


def test_a_connection_too_many_is_refused_until_another_ends(mirror: Mirror) -> None:
    mirror.faults = [AtMost(2, Busy("1") & CloseEach())]
    clients = [Client(mirror) for _ in range(3)]
    assert [client.get("bytes=0-9").status for client in clients] == [206, 206, 503]
    clients[0].wire.close()
    assert get(mirror, *mirror.faults, range_="bytes=0-9").status == 206
    for client in clients:
        client.wire.close()


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
    mirror.faults = [CutAfter(1500)]
    client = Client(mirror)
    assert len(client.get("bytes=0-999").body) == 1000
    assert len(client.get("bytes=0-999").body) == 500
    client.wire.close()
    assert mirror.connections == 1


def test_a_random_cut_is_drawn_for_each_connection(mirror: Mirror) -> None:
    lengths = {len(get(mirror, CutSomewhere(100, 5000, seed=3)).body) for _ in range(5)}
    assert len(lengths) > 1
    assert all(100 <= length <= 5000 for length in lengths)


def test_a_stall_gives_its_bytes_and_no_more(mirror: Mirror) -> None:
    got = get(mirror, StallAfter(1000), timeout=0.2)
    assert got.status == 200
    assert isinstance(got.error, TimeoutError)
    assert (mirror.served, mirror.journal[0].ending) == (1000, "stalled")


def test_silence_is_not_even_a_status_line(mirror: Mirror) -> None:
    got = get(mirror, SayNothing(), timeout=0.2)
    assert (got.status, type(got.error)) == (0, TimeoutError)
    assert (mirror.journal[0].status, mirror.served) == (0, 0)


def test_a_hang_up_is_an_end_without_a_byte(mirror: Mirror) -> None:
    assert isinstance(get(mirror, HangUp()).error, http.client.RemoteDisconnected)
    assert type(get(mirror, HangUp(reset=True)).error) is ConnectionResetError


def test_close_each_ends_a_connection_that_was_to_be_kept(mirror: Mirror) -> None:
    assert get(mirror, CloseEach()).headers.get("connection") is None
    assert len(raw(mirror, b"GET /data HTTP/1.1\r\n\r\n")) > SIZE
    assert mirror.journal[-1].ending == "closed"


@pytest.mark.parametrize(
    ("fault", "count", "least_s"),
    [(Latency(0.2), 10, 0.2), (Drip(50), 12, 0.2), (Drip(400_000), 100_000, 0.2), (DripHead(1000), 1, 0.1)],
    ids=repr,
)
def test_a_slow_answer_is_complete_and_takes_its_time(mirror: Mirror, fault: Fault, count: int, least_s: float) -> None:
    began = time.monotonic()
    assert get(mirror, fault, range_=f"bytes=0-{count - 1}").body == DATA[:count]
    assert time.monotonic() - began >= least_s


def test_a_line_is_shared_by_connections_and_mirrors(mirror: Mirror) -> None:
    line = Line(400_000)
    began = time.monotonic()
    with Mirror({"data": DATA}, [line]) as other:
        threads = [
            threading.Thread(target=get, args=(one, line), kwargs={"range_": "bytes=0-49999"})
            for one in (mirror, other)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert mirror.served + other.served == 100_000
    assert time.monotonic() - began > 0.2


# Answers.


OTHER = payload(150 * KIB, seed=2)
ANSWERS: dict[str, tuple[Fault, int, bytes, dict[str, str | None]]] = {
    # To a request for bytes 1000-1999: status, body, and headers (None: absent).
    "another status": (Status(502, b"sorry"), 502, b"sorry", {"content-range": None}),
    "an object store that refuses": (AccessDenied(), 403, ACCESS_DENIED, {"content-type": "application/xml"}),
    "a login page": (LoginPage(), 200, LOGIN_HTML, {"content-type": "text/html; charset=utf-8"}),
    "a redirect": (Redirect("http://other.example/", 307), 307, b"", {"location": "http://other.example/data"}),
    "an ignored range": (IgnoreRange(), 200, DATA, {"content-range": None}),
    "another span": (OtherSpan(start=-100), 206, DATA[900:2000], {"content-range": f"bytes 900-1999/{SIZE}"}),
    "another span under the requested name": (
        OtherSpan(start=7, stop=7, admitted=False),
        206,
        DATA[1007:2007],
        {"content-range": f"bytes 1000-1999/{SIZE}"},
    ),
    "a span from the beginning of a block": (
        Aligned(512),
        206,
        DATA[512:2000],
        {"content-range": f"bytes 512-1999/{SIZE}"},
    ),
    "the whole file as a part": (WholeAsPartial(), 206, DATA, {"content-range": f"bytes 0-{SIZE - 1}/{SIZE}"}),
    "a part under another status": (PartialAs(200), 200, DATA[1000:2000], {}),
    "an empty part": (EmptyPartial(), 206, b"", {"content-length": "0"}),
    "a refused range": (Unsatisfiable(), 416, b"", {"content-range": f"bytes */{SIZE}"}),
    "another file": (Replaced(OTHER), 206, OTHER[1000:2000], {"content-range": f"bytes 1000-1999/{len(OTHER)}"}),
    "another file from an offset on": (Replaced(OTHER, at=1500), 206, DATA[1000:1500] + OTHER[:500], {}),
    "a shorter file": (Truncated(1500), 206, DATA[1000:1500], {"content-range": "bytes 1000-1499/1500"}),
    "a longer file": (Longer(b"more"), 206, DATA[1000:2000], {"content-range": f"bytes 1000-1999/{SIZE + 4}"}),
    "a broken file": (Broken(1500), 206, DATA[1000:1500], {"content-length": "1000"}),
    "chunks": (Chunked(), 206, DATA[1000:2000], {"content-length": None}),
    "cut chunks": (Chunked() & CutAfter(500), 206, DATA[1000:1500], {"content-length": None}),
    "no length": (NoLength(), 206, DATA[1000:2000], {"content-length": None}),
    "a missing header": (Header("ETag", None), 206, DATA[1000:2000], {"etag": None}),
    "another header": (Header("Content-Type", "text/html"), 206, DATA[1000:2000], {"content-type": "text/html"}),
    "an interim answer": (Preface(b"HTTP/1.1 100 Continue\r\n\r\n"), 206, DATA[1000:2000], {}),
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
    got = get(mirror, ContentRange(CONTENT_RANGES[name]), range_="bytes=1000-1999")
    assert (got.status, got.body) == (206, DATA[1000:2000])
    assert got.headers.get("content-range") != f"bytes 1000-1999/{SIZE}"
    assert ("content-range" in got.headers) == (name != "missing")


RAW = {
    "bytes instead of an answer": (Raw(b"\x00\x01 anything\n"), b"\x00\x01 anything\n"),
    "bytes before the answer": (Preface(b"?!"), b"?!HTTP/1.1 200 OK\r\n"),
    "an invalid size of a chunk": (Chunked("zz"), b"\r\n\r\nzz\r\n"),
    **{
        f"Content-Length {text!r}": (ContentLength(text), f"\r\nContent-Length: {text}\r\n".encode())
        for text in ("abc", "-1", "", "1e3", "99999999999999999999")
    },
    **{
        f"Content-Length wrong by {by}": (LengthOff(by), f"\r\nContent-Length: {SIZE + by}\r\n".encode())
        for by in (-10, 10)
    },
    **{
        f"Retry-After {text!r}": (Busy(text, code=429), f"\r\nRetry-After: {text}\r\n".encode())
        for text in ("2", "-1", "1e9", "soon", "")
    },
    **{f"status line: {name}": (StatusLine(line), line + b"\r\n") for name, line in STATUS_LINES.items()},
    **{
        f"headers: {name}": (RawHeaders(lines), b"\r\n" + b"\r\n".join(lines) + b"\r\n\r\n")
        for name, lines in HEADER_LINES.items()
    },
}


@pytest.mark.parametrize("name", RAW)
def test_a_client_receives_these_bytes(mirror: Mirror, name: str) -> None:
    fault, expected = RAW[name]
    mirror.faults = [fault]
    assert expected in raw(mirror)


def test_retry_after_can_be_a_date(mirror: Mirror) -> None:
    got = get(mirror, BusyUntil(60))
    when = parsedate_to_datetime(got.headers["retry-after"]).timestamp()
    assert got.status == 503
    assert 50 < when - time.time() < 70


def test_a_captive_portal_redirects_to_html_that_is_always_there(mirror: Mirror) -> None:
    mirror.faults = [First(2, LoginRedirect())]
    client = Client(mirror)
    answers = [client.get(path=path) for path in ("/data", "/login", "/data", "/login", "/data")]
    client.wire.close()
    assert [got.status for got in answers] == [302, 200, 302, 200, 200]
    assert answers[0].headers["location"] == "/login"
    assert answers[3].body == LOGIN_HTML
    assert answers[4].body == DATA
    assert len(mirror.asked) == 3


def test_a_redirect_loop_never_ends(mirror: Mirror) -> None:
    mirror.faults = [RedirectLoop()]
    client, path, seen = Client(mirror), "/data", set()
    for _ in range(10):
        path = client.get(path=path).headers["location"]
        seen.add(path)
    client.wire.close()
    assert len(seen) == 10


# Faults of the file and of its coding.


def test_a_file_is_replaced_in_mid_download(mirror: Mirror) -> None:
    other = payload(150 * KIB, seed=2)
    mirror.faults = [After(1, Replaced(other))]
    client = Client(mirror)
    before, after = client.get("bytes=0-9"), client.get("bytes=10-19")
    client.wire.close()
    assert (before.body, after.body) == (DATA[:10], other[10:20])
    assert before.headers["etag"] != after.headers["etag"]
    assert after.headers["content-range"] == f"bytes 10-19/{len(other)}"


def test_a_flipped_byte_is_at_the_same_place_in_every_span(mirror: Mirror) -> None:
    for range_, at in [("", 5000), ("bytes=4900-5099", 100), ("bytes=5000-5000", 0)]:
        right, got = get(mirror, range_=range_), get(mirror, FlipByte(5000), range_=range_)
        pairs = zip(right.body, got.body, strict=True)
        assert [index for index, (one, two) in enumerate(pairs) if one != two] == [at]
    assert get(mirror, FlipByte(5000), range_="bytes=0-4999").body == DATA[:5000]


def test_a_byte_is_flipped_at_a_place_drawn_anew(mirror: Mirror) -> None:
    mirror.faults = [FlipSomewhere(seed=5)]
    client, places = Client(mirror), []
    for _ in range(4):
        pairs = zip(client.get().body, DATA, strict=True)
        places += [index for index, (one, two) in enumerate(pairs) if one != two]
    client.wire.close()
    assert len(set(places)) == 4


def test_a_proxy_unpacks_the_file(mirror: Mirror) -> None:
    mirror.files["data"] = gzip.compress(DATA)
    assert get(mirror, Unpacked()).body == DATA


@pytest.mark.parametrize("chunked", [False, True])
def test_an_endless_body_goes_on_and_is_counted(mirror: Mirror, chunked: bool) -> None:
    mirror.faults = [Endless(chunked)]
    client = Client(mirror)
    client.wire.request("GET", "/data")
    response = client.wire.getresponse()
    assert response.read(SIZE) == DATA
    assert len(response.read(MIB)) == MIB
    response.close()
    client.wire.close()
    assert SIZE + MIB <= mirror.served <= SIZE + MIB + 32 * KIB


def test_gzip_on_top_is_real(mirror: Mirror) -> None:
    got = get(mirror, GzipEncoding(), range_="bytes=0-999")
    assert got.headers["content-encoding"] == "gzip"
    assert got.headers["content-length"] == str(len(got.body))
    assert gzip.decompress(got.body) == DATA[:1000]


# Dead ends and certificates.


def test_a_port_refuses() -> None:
    with refusing() as url, pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", urlsplit(url).port or 0), timeout=5)


def test_a_blackhole_neither_accepts_nor_refuses() -> None:
    with blackhole() as url, pytest.raises(TimeoutError):
        socket.create_connection(("127.0.0.1", urlsplit(url).port or 0), timeout=0.5)


def test_a_self_signed_certificate_is_right_but_unknown(tmp_path: Path) -> None:
    certificate = self_signed(tmp_path)
    with Mirror({"data": DATA}, [CutAfter(64 * KIB)], certificate=certificate) as mirror:
        netloc = urlsplit(mirror.url).netloc
        with pytest.raises(ssl.SSLCertVerificationError):
            http.client.HTTPSConnection(netloc, timeout=5).request("GET", "/data")
        trusting = ssl.create_default_context(cafile=str(certificate.cert))
        wire = http.client.HTTPSConnection(netloc, timeout=5, context=trusting)
        wire.request("GET", "/data", headers={"Range": "bytes=5-"})
        assert wire.getresponse().read(SIZE) == DATA[5 : 5 + 64 * KIB]
        wire.close()
        assert mirror.connections == 2
        assert mirror.served == 64 * KIB


def test_a_plain_client_at_a_tls_port_gets_no_answer_and_does_no_harm(tmp_path: Path) -> None:
    with Mirror({"data": DATA}, certificate=self_signed(tmp_path, "other.example")) as mirror:
        assert not raw(mirror).startswith(b"HTTP/")
        assert mirror.journal == []
