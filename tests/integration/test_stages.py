"""Each stage of a connection has its own limit, and slow stages succeed."""

from __future__ import annotations

import socket
from contextlib import closing
from pathlib import Path
from threading import Thread

import pytest

from faults import (
    Chunked,
    DripHead,
    Header,
    Latency,
    Mirror,
    Preface,
    RawHeaders,
    SayNothing,
    Status,
    When,
    blackhole,
    expired,
    self_signed,
)
from fmnist_fetch.errors import SourceError
from fmnist_fetch.manifest.pieces import Span
from fmnist_fetch.sources.base import Tier
from fmnist_fetch.sources.http.connection import HttpConnection
from fmnist_fetch.sources.http.source import HttpSource
from processes import fetch
from samples import Sample, all_of
from worlds import World, small

SPAN = Span(2000, 5000)


def connection(url: str, seconds: float = 20.0) -> HttpConnection:
    opened = HttpSource(url, Tier.USER).open()
    opened.timeout_s = seconds
    return opened


def right(sample: Sample) -> bytes:
    return sample.files[sample.file().name][2000:5000]


def test_a_first_byte_that_comes_late_is_waited_for(sample: Sample) -> None:
    with Mirror(sample.files, [Latency(6.5)]) as mirror, closing(connection(mirror.url)) as slow:
        assert all_of(slow, sample.file(), SPAN) == right(sample)
        # Connecting, and the head of an answer: the user sees that something happens.
        assert slow.stages >= 2


def test_a_limit_that_is_raised_later_counts(sample: Sample) -> None:
    with Mirror(sample.files, [Latency(0.5)]) as mirror, closing(connection(mirror.url, 0.1)) as slow:
        with pytest.raises(SourceError, match="said nothing for several seconds"):
            slow.read(sample.file(), SPAN)
        slow.timeout_s = 20.0
        assert all_of(slow, sample.file(), SPAN) == right(sample)


def test_a_head_that_drips_is_over_in_time(sample: Sample) -> None:
    with (
        Mirror(sample.files, [DripHead(20)]) as mirror,
        closing(connection(mirror.url, 0.5)) as slow,
        pytest.raises(SourceError, match="sent no complete answer in several seconds"),
    ):
        slow.read(sample.file(), SPAN)


def test_informational_answers_are_skipped(sample: Sample) -> None:
    early = b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
    with Mirror(sample.files, [Preface(early)]) as mirror, closing(connection(mirror.url)) as source:
        assert all_of(source, sample.file(), SPAN) == right(sample)


def test_informational_answers_without_an_end_are_no_answer(sample: Sample) -> None:
    flood = b"HTTP/1.1 100 Continue\r\n\r\n" * 100_000
    with (
        Mirror(sample.files, [Preface(flood)]) as mirror,
        closing(connection(mirror.url)) as source,
        pytest.raises(SourceError),
    ):
        source.read(sample.file(), SPAN)


@pytest.mark.parametrize("where", ["head", "connect"])
def test_every_wait_is_ended_from_another_thread(where: str, sample: Sample) -> None:
    errors: list[SourceError] = []

    def read(source: HttpConnection) -> None:
        with pytest.raises(SourceError) as caught:
            source.read(sample.file(), SPAN)
        errors.append(caught.value)

    with Mirror(sample.files, [SayNothing()]) as mirror, blackhole() as nobody:
        source = connection(mirror.url if where == "head" else nobody, 60.0)
        reader = Thread(target=read, args=(source,))
        reader.start()
        reader.join(0.3)
        assert reader.is_alive()
        source.stop()
        reader.join(30)
        assert not reader.is_alive()
        source.close()
    assert "several seconds" not in errors[0].message


def test_numbers_of_any_length_are_that_mirrors_failure_at_most(sample: Sample) -> None:
    digits = "9" * 5000
    for header in (Header("Content-Length", digits), Header("Retry-After", digits), Header("Content-Range", digits)):
        with Mirror(sample.files, [header]) as mirror, closing(connection(mirror.url)) as source:
            assert all_of(source, sample.file(), SPAN) == right(sample)


def test_a_connection_that_is_good_for_one_request_only_is_not_used_for_a_second_one_again(sample: Sample) -> None:
    second = When(lambda request: request.passed > 0, SayNothing())
    with Mirror(sample.files, [second]) as mirror, closing(connection(mirror.url, 0.5)) as source:
        all_of(source, sample.file(), Span(0, 1000))
        with pytest.raises(SourceError, match="said nothing for several seconds"):
            source.read(sample.file(), SPAN)
        source.timeout_s = 20.0
        for _ in range(2):
            assert all_of(source, sample.file(), SPAN) == right(sample)


def test_a_coding_that_cannot_be_removed_is_what_seems_to_be_wrong(sample: Sample) -> None:
    coded = Header("Content-Encoding", "rot13")
    with Mirror(sample.files, [coded, Chunked()]) as mirror, closing(connection(mirror.url)) as source:
        source.read(sample.file(), SPAN)
        assert source.oddity == "it has the content coding rot13, which was not asked for"


def test_cookies_cost_nothing(sample: Sample) -> None:
    cookies = RawHeaders(tuple(b"Set-Cookie: c%d=%s" % (n, b"x" * 4000) for n in range(90)))
    with Mirror(sample.files, [cookies]) as mirror, closing(connection(mirror.url)) as source:
        for start in range(0, 3000, 1000):
            all_of(source, sample.file(), Span(start, start + 1000))
        assert "cookie" not in mirror.journal[-1].headers


# TLS.


def test_a_handshake_that_ends_early_is_a_cut_like_any_other(
    sample: Sample, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate = self_signed(tmp_path)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate.cert))
    with Mirror(sample.files, certificate=certificate) as mirror, closing(connection(mirror.url)) as source:
        mirror.broken_handshakes = 1
        with pytest.raises(SourceError, match=r"broke off the TLS connection|reset the connection") as caught:
            source.read(sample.file(), SPAN)
        assert not caught.value.permanent
        assert all_of(source, sample.file(), SPAN) == right(sample)


def test_a_run_gets_over_broken_handshakes(tmp_path: Path) -> None:
    certificate = self_signed(tmp_path)
    world = World(tmp_path, small())
    with Mirror(small().files, certificate=certificate) as mirror:
        mirror.broken_handshakes = 3
        environment = {"REQUESTS_CA_BUNDLE": str(certificate.cert)}
        outcome = fetch(world, mirror.url, options=["--patience", "30"], env=environment)
    assert outcome.code == 0, outcome.err
    world.assert_complete()


def test_an_expired_certificate_is_named_with_this_machines_clock(
    sample: Sample, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate = expired(tmp_path)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate.cert))
    with (
        Mirror(sample.files, certificate=certificate) as mirror,
        closing(connection(mirror.url)) as source,
        pytest.raises(SourceError, match="its certificate is not trusted: it has expired") as caught,
    ):
        source.read(sample.file(), SPAN)
    assert "clock" in caught.value.hint


def test_a_certificate_for_another_name_is_named(
    sample: Sample, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate = self_signed(tmp_path, "other.example")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate.cert))
    with (
        Mirror(sample.files, certificate=certificate) as mirror,
        closing(connection(mirror.url)) as source,
        pytest.raises(SourceError, match="its certificate is not trusted: it belongs to another"),
    ):
        source.read(sample.file(), SPAN)


def test_a_handshake_without_an_answer_is_ended_from_another_thread(sample: Sample) -> None:
    errors: list[SourceError] = []

    def read(source: HttpConnection) -> None:
        with pytest.raises(SourceError) as caught:
            source.read(sample.file(), SPAN)
        errors.append(caught.value)

    with socket.create_server(("127.0.0.1", 0)) as server:
        source = connection(f"https://127.0.0.1:{server.getsockname()[1]}/", 60.0)
        reader = Thread(target=read, args=(source,))
        reader.start()
        with server.accept()[0] as sock:
            # The client's part of the handshake has begun.
            assert sock.recv(1)
            source.stop()
            reader.join(30)
        assert not reader.is_alive()
        source.close()
    assert "several seconds" not in errors[0].message


def test_the_answer_of_a_proxy_to_connect_has_a_limit_for_its_head(
    sample: Sample, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Mirror(sample.files, [DripHead(20)]) as proxy, closing(connection("https://mirror.invalid/", 0.5)) as source:
        monkeypatch.setenv("https_proxy", proxy.url)
        monkeypatch.setenv("no_proxy", "")
        with pytest.raises(SourceError, match="sent no complete answer"):
            source.read(sample.file(), SPAN)


def test_a_server_without_tls_is_named(sample: Sample) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            with server.accept()[0] as sock:
                sock.recv(1000)
                sock.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        thread = Thread(target=answer)
        thread.start()
        with (
            closing(connection(f"https://127.0.0.1:{server.getsockname()[1]}/")) as source,
            pytest.raises(SourceError, match="does not speak TLS"),
        ):
            source.read(sample.file(), SPAN)
        thread.join()


# Proxies.


def test_a_proxy_that_wants_a_login_is_named_before_patience_is_over(tmp_path: Path) -> None:
    world = World(tmp_path, small())
    with Mirror({}, [Status(407, b"<html>log in</html>", "text/html")]) as proxy:
        environment = {"http_proxy": proxy.url.replace("http://", "http://me:secret@"), "no_proxy": ""}
        outcome = fetch(world, "http://mirror.invalid/", options=["--patience", "forever"], env=environment)
    assert outcome.code == 4
    assert "requires a login" in outcome.message
    assert "login page" not in outcome.message
    assert "secret" not in outcome.err
