"""The misbehaving mirror does what its faults' names say, and counts right: seen from a plain client."""

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
    CONTENT_RANGES,
    HEADER_LINES,
    KIB,
    LOGIN_HTML,
    MIB,
    STATUS_LINES,
    UNRESOLVABLE,
    AccessDenied,
    After,
    AfterServed,
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
    """What a client saw of one answer, up to an error if there was one."""

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
                # Not read: what it has gathered is lost to the caller when a reset comes.
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
    """Order faults and ask once, on a new connection."""
    mirror.faults = list(faults)
    client = Client(mirror, timeout)
    try:
        return client.get(range_)
    finally:
        client.wire.close()


def raw(mirror: Mirror, request: bytes = ASK) -> bytes:
    """Everything the mirror says to REQUEST before it hangs up or rests."""
    arrived = b""
    with socket.create_connection(("127.0.0.1", urlsplit(mirror.url).port or 0)) as sock:
        sock.settimeout(0.3)
        sock.sendall(request)
        with suppress(OSError):
            while block := sock.recv(65536):
                arrived += block
    return arrived


# By itself it is right.


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


# What it served is known.


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


def test_nothing_is_printed_when_a_pipe_breaks(capfd: pytest.CaptureFixture[str]) -> None:
    with Mirror({"data": payload(8 * MIB)}) as mirror:
        for _ in range(5):
            client = Client(mirror)
            client.wire.request("GET", "/data")
            client.wire.close()
    assert capfd.readouterr() == ("", "")


def test_a_mirror_can_go_down_and_come_back_under_the_same_address(mirror: Mirror) -> None:
    client = Client(mirror)
    assert client.get("bytes=0-9").status == 206
    with mirror.down():
        assert get(mirror, range_="bytes=0-9").error.__class__ is ConnectionRefusedError
    assert get(mirror, range_="bytes=0-9").body == DATA[:10]
    client.wire.close()


# When a fault takes part.


def statuses(mirror: Mirror, count: int, *faults: Fault) -> list[int]:
    """The statuses of COUNT requests."""
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


# How the connection fares.


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


def test_latency_comes_before_the_answer(mirror: Mirror) -> None:
    began = time.monotonic()
    assert get(mirror, Latency(0.2)).body == DATA
    assert time.monotonic() - began >= 0.2


@pytest.mark.parametrize("rate", [50, 400_000])
def test_a_drip_keeps_its_rate_from_the_first_byte_on(mirror: Mirror, rate: int) -> None:
    began = time.monotonic()
    got = get(mirror, Drip(rate), range_=f"bytes=0-{rate // 4 - 1}")
    assert got.body == DATA[: rate // 4]
    assert 0.2 < time.monotonic() - began < 2


def test_a_dripping_head_keeps_a_client_waiting(mirror: Mirror) -> None:
    began = time.monotonic()
    assert get(mirror, DripHead(1000), range_="bytes=0-0").status == 206
    assert time.monotonic() - began > 0.1


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
    assert 0.2 < time.monotonic() - began < 2


# What is answered instead.


@pytest.mark.parametrize("code", [403, 404, 410, 500, 502])
def test_a_status_can_be_ordered(mirror: Mirror, code: int) -> None:
    got = get(mirror, Status(code, b"sorry"), range_="bytes=0-9")
    assert (got.status, got.body) == (code, b"sorry")


@pytest.mark.parametrize("value", ["2", "0", "-1", "99999999999", "1e9", "soon", ""])
def test_retry_after_is_sent_as_it_was_given(mirror: Mirror, value: str) -> None:
    got = get(mirror, Busy(value, code=429))
    assert (got.status, got.headers["retry-after"]) == (429, value)


def test_retry_after_can_be_a_date(mirror: Mirror) -> None:
    got = get(mirror, BusyUntil(60))
    when = parsedate_to_datetime(got.headers["retry-after"]).timestamp()
    assert got.status == 503
    assert 50 < when - time.time() < 70


def test_a_bucket_refuses_in_xml(mirror: Mirror) -> None:
    got = get(mirror, AccessDenied())
    assert got.status == 403
    assert got.body.startswith(b"<?xml")
    assert b"AccessDenied" in got.body


def test_a_captive_portal_answers_the_first_requests_with_html(mirror: Mirror) -> None:
    mirror.faults = [First(1, LoginPage())]
    client = Client(mirror)
    first, second = client.get("bytes=0-9"), client.get("bytes=0-9")
    client.wire.close()
    assert (first.status, first.body) == (200, LOGIN_HTML)
    assert "text/html" in first.headers["content-type"]
    assert (second.status, second.body) == (206, DATA[:10])


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


def test_a_redirect_leads_to_another_mirror(mirror: Mirror) -> None:
    got = get(mirror, Redirect("http://other.example/base/", 307))
    assert (got.status, got.headers["location"]) == (307, "http://other.example/base/data")


def test_a_redirect_loop_never_ends(mirror: Mirror) -> None:
    mirror.faults = [RedirectLoop()]
    client, path, seen = Client(mirror), "/data", set()
    for _ in range(10):
        path = client.get(path=path).headers["location"]
        seen.add(path)
    client.wire.close()
    assert len(seen) == 10


def test_raw_bytes_are_sent_as_they_are(mirror: Mirror) -> None:
    mirror.faults = [Raw(b"\x00\x01 anything\n")]
    assert raw(mirror) == b"\x00\x01 anything\n"
    assert mirror.served == 0


# What is done to ranges.


def test_a_range_can_be_ignored(mirror: Mirror) -> None:
    got = get(mirror, IgnoreRange(), range_="bytes=1000-1999")
    assert (got.status, got.body) == (200, DATA)
    assert "content-range" not in got.headers
    assert mirror.asked == [Span(1000, 2000)]


def test_another_span_can_be_given_and_admitted(mirror: Mirror) -> None:
    got = get(mirror, OtherSpan(start=-100), range_="bytes=1000-1999")
    assert (got.status, got.body) == (206, DATA[900:2000])
    assert got.headers["content-range"] == f"bytes 900-1999/{SIZE}"


def test_another_span_can_be_given_and_denied(mirror: Mirror) -> None:
    fault = OtherSpan(start=7, stop=7, admitted=False)
    got = get(mirror, fault, range_="bytes=1000-1999")
    assert (got.status, got.body) == (206, DATA[1007:2007])
    assert got.headers["content-range"] == f"bytes 1000-1999/{SIZE}"


@pytest.mark.parametrize("name", CONTENT_RANGES)
def test_content_range_can_be_nonsense(mirror: Mirror, name: str) -> None:
    got = get(mirror, ContentRange(CONTENT_RANGES[name]), range_="bytes=1000-1999")
    assert (got.status, got.body) == (206, DATA[1000:2000])
    assert got.headers.get("content-range") != f"bytes 1000-1999/{SIZE}"
    assert ("content-range" in got.headers) == (name != "missing")


def test_a_good_range_can_be_refused(mirror: Mirror) -> None:
    got = get(mirror, Unsatisfiable(), range_="bytes=0-9")
    assert (got.status, got.headers["content-range"]) == (416, f"bytes */{SIZE}")
    assert get(mirror, Unsatisfiable()).status == 200


# What the file is.


def test_a_file_is_replaced_in_mid_download(mirror: Mirror) -> None:
    other = payload(150 * KIB, seed=2)
    mirror.faults = [After(1, Replaced(other))]
    client = Client(mirror)
    before, after = client.get("bytes=0-9"), client.get("bytes=10-19")
    client.wire.close()
    assert (before.body, after.body) == (DATA[:10], other[10:20])
    assert before.headers["etag"] != after.headers["etag"]
    assert after.headers["content-range"] == f"bytes 10-19/{len(other)}"


def test_a_file_is_replaced_from_an_offset_on(mirror: Mirror) -> None:
    assert get(mirror, Replaced(b"new" * 9, at=100)).body == DATA[:100] + b"new" * 9


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


def test_a_shorter_and_a_longer_file_say_their_size(mirror: Mirror) -> None:
    assert get(mirror, Truncated(1000)).headers["content-length"] == "1000"
    assert get(mirror, Truncated(1000), range_="bytes=1000-").status == 416
    assert get(mirror, Longer(b"more")).body == DATA + b"more"


def test_a_broken_file_is_announced_in_full_and_breaks_off(mirror: Mirror) -> None:
    got = get(mirror, Broken(1000))
    assert (got.headers["content-length"], got.body) == (str(SIZE), DATA[:1000])
    assert get(mirror, Broken(1000), range_="bytes=900-1099").body == DATA[900:1000]
    assert get(mirror, Broken(1000), range_="bytes=900-999").body == DATA[900:1000]
    assert get(mirror, Broken(1000), range_="bytes=5000-5999").body == b""


def test_a_proxy_unpacks_the_file(mirror: Mirror) -> None:
    mirror.files["data"] = gzip.compress(DATA)
    assert get(mirror, Unpacked()).body == DATA


# How the body is framed and coded.


def test_chunks_have_no_length(mirror: Mirror) -> None:
    got = get(mirror, Chunked())
    assert (got.body, "content-length" in got.headers) == (DATA, False)
    assert mirror.served == SIZE


def test_chunks_can_be_nonsense_or_cut(mirror: Mirror) -> None:
    assert get(mirror, Chunked("zz")).error is not None
    got = get(mirror, Chunked(), CutAfter(1000))
    assert isinstance(got.error, http.client.IncompleteRead)
    assert mirror.journal[-1].sent == 1000


def test_without_a_length_the_close_is_the_end(mirror: Mirror) -> None:
    got = get(mirror, NoLength(), range_="bytes=5-99")
    assert (got.status, got.body, "content-length" in got.headers) == (206, DATA[5:100], False)


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


@pytest.mark.parametrize("value", ["abc", "-1", "", "1e3", "99999999999999999999"])
def test_content_length_can_be_nonsense(mirror: Mirror, value: str) -> None:
    mirror.faults = [ContentLength(value)]
    said = raw(mirror)
    assert f"\r\nContent-Length: {value}\r\n".encode() in said
    assert said.endswith(DATA)


@pytest.mark.parametrize("by", [-10, 10])
def test_content_length_can_be_wrong(mirror: Mirror, by: int) -> None:
    mirror.faults = [LengthOff(by)]
    said = raw(mirror)
    assert f"\r\nContent-Length: {SIZE + by}\r\n".encode() in said
    assert said.endswith(DATA)


def test_gzip_on_top_is_real(mirror: Mirror) -> None:
    got = get(mirror, GzipEncoding(), range_="bytes=0-999")
    assert got.headers["content-encoding"] == "gzip"
    assert got.headers["content-length"] == str(len(got.body))
    assert gzip.decompress(got.body) == DATA[:1000]


def test_a_header_can_be_set_and_left_out(mirror: Mirror) -> None:
    got = get(mirror, Header("ETag", None), Header("Content-Type", "text/html"))
    assert ("etag" in got.headers, got.headers["content-type"]) == (False, "text/html")


@pytest.mark.parametrize("name", STATUS_LINES)
def test_a_status_line_can_be_garbage(mirror: Mirror, name: str) -> None:
    mirror.faults = [StatusLine(STATUS_LINES[name])]
    said = raw(mirror)
    assert said.startswith(STATUS_LINES[name] + b"\r\n")
    assert said.endswith(DATA)


@pytest.mark.parametrize("name", HEADER_LINES)
def test_headers_can_be_garbage(mirror: Mirror, name: str) -> None:
    mirror.faults = [RawHeaders(HEADER_LINES[name])]
    said = raw(mirror)
    assert b"\r\n" + b"\r\n".join(HEADER_LINES[name]) + b"\r\n\r\n" in said
    assert said.startswith(b"HTTP/1.1 200 OK\r\n")


def test_something_can_come_before_the_status_line(mirror: Mirror) -> None:
    assert get(mirror, Preface(b"HTTP/1.1 100 Continue\r\n\r\n")).body == DATA
    mirror.faults = [Preface(b"?!")]
    assert raw(mirror).startswith(b"?!HTTP/1.1 200 OK\r\n")


# Where nobody answers, or nobody who can be trusted.


def test_a_port_refuses() -> None:
    with refusing() as url, pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", urlsplit(url).port or 0), timeout=5)


def test_a_blackhole_neither_accepts_nor_refuses() -> None:
    with blackhole() as url, pytest.raises(TimeoutError):
        socket.create_connection(("127.0.0.1", urlsplit(url).port or 0), timeout=0.5)


def test_the_unresolvable_name_is_one_that_never_exists() -> None:
    # RFC 6761, 6.4; no resolver is asked here.
    assert (urlsplit(UNRESOLVABLE).hostname or "").endswith(".invalid")


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


def test_no_two_places_of_a_payload_look_alike() -> None:
    data = payload(256 * KIB, seed=9)
    assert len({data[start : start + 8] for start in range(len(data) - 8)}) == len(data) - 8
    assert data == payload(256 * KIB, seed=9) != payload(256 * KIB, seed=10)
