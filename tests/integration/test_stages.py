"""Connections to a mirror on this machine: each stage has its own limit, and each wait can be ended."""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from threading import Thread

import pytest

from dead_ends import expired, not_yet_valid, self_signed
from faults import (
    Chunked,
    DripHead,
    Fault,
    First,
    Header,
    Latency,
    Mirror,
    Preface,
    RawHeaders,
    Redirect,
    SayNothing,
    StallAfter,
    Status,
    When,
    blackhole,
)
from fmnist_fetch.errors import SourceError
from fmnist_fetch.manifest.pieces import Span
from fmnist_fetch.sources.base import Tier
from fmnist_fetch.sources.http.connection import HttpConnection
from mirror import Certificate
from samples import Sample, all_of, connected
from wire import Reply

SPAN = Span(2000, 5000)


def assert_read(connection: HttpConnection, sample: Sample, span: Span = SPAN) -> None:
    """Assert that the right bytes of SPAN come."""
    assert all_of(connection, sample.file(), span) == sample.files[sample.file().name][slice(*span)]


def failure(connection: HttpConnection, sample: Sample, span: Span = SPAN) -> SourceError:
    """Return the error of a read."""
    with pytest.raises(SourceError) as caught:
        connection.read(sample.file(), span)
    return caught.value


def test_one_connection_serves_request_after_request(sample: Sample) -> None:
    with Mirror(sample.files) as mirror, connected(mirror.url) as source:
        for start in range(0, 10_000, 1000):
            assert_read(source, sample, Span(start, start + 1000))
        assert (mirror.connections, mirror.served) == (1, 10_000)


@pytest.mark.parametrize("tier", [Tier.LAN, Tier.MIRROR])
def test_what_a_server_of_the_local_network_lacks_may_be_there_in_a_moment(tier: Tier, sample: Sample) -> None:
    with Mirror(sample.files, [First(2, Status(404))]) as mirror, connected(mirror.url, tier=tier) as source:
        assert failure(source, sample).permanent is (tier is not Tier.LAN)
        assert_read(source, sample)


class ManyLogins(Fault):
    """A redirect of each request to the server BASE under another login, as if each were another server."""

    base: str

    def reply(self, reply: Reply) -> Reply:
        return Redirect(self.base.replace("//", f"//user{reply.request.number}@")).reply(reply)


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="this system does not list the files of a process")
def test_redirects_to_ever_other_servers_keep_few_connections_open(sample: Sample) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    with (
        Mirror(sample.files) as target,
        Mirror(sample.files, [ManyLogins(target.url)]) as mirror,
        connected(mirror.url) as source,
    ):
        for start in range(0, 10_000, 250):
            assert_read(source, sample, Span(start, start + 250))
        assert target.connections == 40
        # The servers run in this process, and have a file open for each connection too.
        assert len(list(Path("/proc/self/fd").iterdir())) - before < 40


# Time limits.


def test_a_first_byte_that_comes_late_is_waited_for(sample: Sample) -> None:
    with Mirror(sample.files, [Latency(6.5)]) as mirror, connected(mirror.url) as slow:
        assert_read(slow, sample)
        # Connecting, and the head of an answer: the user sees that something happens.
        assert slow.stages >= 2


def test_a_limit_that_is_raised_later_counts(sample: Sample) -> None:
    with Mirror(sample.files, [Latency(0.5)]) as mirror, connected(mirror.url, 0.1) as slow:
        assert "said nothing for several seconds" in failure(slow, sample).message
        slow.timeout_s = 20.0
        assert_read(slow, sample)


@pytest.mark.parametrize("proxied", [False, True], ids=["of an answer", "of the answer of a proxy to CONNECT"])
def test_a_head_that_drips_is_over_in_time(proxied: bool, sample: Sample, monkeypatch: pytest.MonkeyPatch) -> None:
    with Mirror(sample.files, [DripHead(20)]) as mirror:
        if proxied:
            monkeypatch.setenv("https_proxy", mirror.url)
            monkeypatch.setenv("no_proxy", "")
        with connected("https://mirror.invalid/" if proxied else mirror.url, 0.5) as slow:
            assert "sent no complete answer in several seconds" in failure(slow, sample).message


def test_a_connection_that_is_good_for_one_request_only_is_not_used_for_a_second_one_again(sample: Sample) -> None:
    second = When(lambda request: request.passed > 0, SayNothing())
    with Mirror(sample.files, [second]) as mirror, connected(mirror.url, 0.5) as source:
        assert_read(source, sample, Span(0, 1000))
        assert "said nothing for several seconds" in failure(source, sample).message
        source.timeout_s = 20.0
        for _ in range(2):
            assert_read(source, sample)


# The end of a wait by another thread.


@pytest.mark.parametrize("where", ["connect", "handshake", "head", "body"])
def test_every_wait_is_ended_from_another_thread(where: str, sample: Sample) -> None:
    errors: list[SourceError] = []
    with ExitStack() as stack:
        silent = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        urls = {
            "connect": stack.enter_context(blackhole()),
            "handshake": f"https://127.0.0.1:{silent.getsockname()[1]}/",
            "head": stack.enter_context(Mirror(sample.files, [SayNothing()])).url,
            "body": stack.enter_context(Mirror(sample.files, [StallAfter(100)])).url,
        }
        source = stack.enter_context(connected(urls[where], 60.0))
        if where == "body":
            assert len(source.read(sample.file(), Span(1900, 5000))) == 100
        reader = Thread(target=lambda: errors.append(failure(source, sample)))
        reader.start()
        reader.join(0.3)
        assert reader.is_alive()
        source.stop()
        reader.join(30)
        assert not reader.is_alive()
    # The stop ended it before its time-out.
    assert "said nothing" not in errors[0].message
    assert "several seconds" not in errors[0].message


def test_a_source_that_was_stopped_asks_no_more(sample: Sample) -> None:
    with Mirror(sample.files) as mirror, connected(mirror.url) as source:
        source.stop()
        assert "stopped" in failure(source, sample).message
        assert mirror.connections == 0


# Odd answers.


HARMLESS = {
    "a length of 5,000 digits": Header("Content-Length", "9" * 5000),
    "a range of 5,000 digits": Header("Content-Range", "9" * 5000),
    "informational answers": Preface(b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"),
    "90 cookies": RawHeaders(tuple(b"Set-Cookie: c%d=%s" % (number, b"x" * 4000) for number in range(90))),
}


@pytest.mark.parametrize("name", HARMLESS)
def test_an_oddity_does_no_harm_that_is(name: str, sample: Sample) -> None:
    with Mirror(sample.files, [HARMLESS[name]]) as mirror, connected(mirror.url) as source:
        for start in (0, 2000):
            assert_read(source, sample, Span(start, start + 1000))
        assert "cookie" not in mirror.journal[-1].headers


def test_a_coding_that_cannot_be_removed_is_what_seems_to_be_wrong(sample: Sample) -> None:
    coded = Header("Content-Encoding", "rot13")
    with Mirror(sample.files, [coded, Chunked()]) as mirror, connected(mirror.url) as source:
        source.read(sample.file(), SPAN)
        assert source.oddity == "it has the content coding rot13, which was not asked for"


# TLS.


def test_a_handshake_that_ends_early_is_a_cut_like_any_other(
    sample: Sample, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate = self_signed(tmp_path)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate.cert))
    with Mirror(sample.files, certificate=certificate) as mirror, connected(mirror.url) as source:
        mirror.broken_handshakes = 1
        error = failure(source, sample)
        assert "broke off the TLS connection" in error.message or "reset the connection" in error.message
        assert not error.permanent
        assert_read(source, sample)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (expired, "it has expired"),
        (not_yet_valid, "it is not yet valid"),
        (lambda folder: self_signed(folder, "other.example"), "it belongs to another"),
    ],
    ids=["expired", "not yet valid", "another name"],
)
def test_what_is_wrong_with_a_certificate_is_named(
    make: Callable[[Path], Certificate], said: str, sample: Sample, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate = make(tmp_path)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate.cert))
    with Mirror(sample.files, certificate=certificate) as mirror, connected(mirror.url) as source:
        error = failure(source, sample)
    assert f"its certificate is not trusted: {said}" in error.message
    assert error.permanent


def test_a_server_without_tls_is_named(sample: Sample) -> None:
    def answer() -> None:
        with server.accept()[0] as sock:
            sock.recv(1000)
            sock.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = Thread(target=answer)
        thread.start()
        with connected(f"https://127.0.0.1:{server.getsockname()[1]}/") as source:
            assert "does not speak TLS" in failure(source, sample).message
        thread.join()


# Proxies.


def test_a_proxy_of_the_environment_is_used_but_not_for_a_server_that_nobody_named(
    sample: Sample, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Mirror(sample.files) as proxy, Mirror(sample.files) as mirror:
        for name, value in (("HTTP_PROXY", proxy.url), ("NO_PROXY", "")):
            monkeypatch.setenv(name, value)
            monkeypatch.setenv(name.lower(), value)
        with connected("http://dataset.invalid/") as source:
            assert_read(source, sample)
        with connected(mirror.url, tier=Tier.LAN) as source:
            assert_read(source, sample)
        assert (proxy.served, mirror.served) == (3000, 3000)


def test_a_proxy_that_wants_a_login_is_named_without_it(sample: Sample, monkeypatch: pytest.MonkeyPatch) -> None:
    with Mirror({}, [Status(407, b"<html>log in</html>", "text/html")]) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url.replace("http://", "http://me:secret@"))
        with connected("http://mirror.invalid/") as source:
            error = failure(source, sample)
    assert "requires a login" in error.message
    assert "login page" not in error.message
    assert "secret" not in error.message + error.hint
    assert error.permanent
