"""An HTTP mirror as a source: every part of an answer is checked, and every deviation has its message."""

from __future__ import annotations

import contextlib
import gzip
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from threading import Thread

import pytest
import responses

from faults import (
    ACCESS_DENIED,
    LOGIN_HTML,
    Endless,
    HangUp,
    Lockstep,
    Mirror,
    StallAfter,
    refusing,
    self_signed,
)
from fmnist_fetch.errors import SourceError
from fmnist_fetch.manifest.pieces import Span
from fmnist_fetch.sources.base import Tier
from fmnist_fetch.sources.http.connection import HttpConnection
from fmnist_fetch.sources.http.source import HttpSource
from fmnist_fetch.sources.mirror import redact
from samples import Sample, all_of

BASE = "https://mirror.example/mine/"
SPAN = Span(2000, 5000)


@pytest.fixture
def wire() -> Iterator[responses.RequestsMock]:
    """The answers that the mirror will give, in order; the test fails unless each is requested."""
    with responses.RequestsMock() as wire:
        yield wire


class Asked:
    """One file on one mirror, with the answers that were prepared for it."""

    def __init__(self, sample: Sample, wire: responses.RequestsMock) -> None:
        self.file = sample.file()
        self.data = sample.files[self.file.name]
        self.url = BASE + self.file.name
        self.mirror = HttpSource(BASE, Tier.MIRROR)
        self.source = self.mirror.open()
        self._wire = wire

    def answers(self, status: int, body: bytes | Exception = b"", url: str = "", **headers: str) -> None:
        """Prepare one answer; underscores in the names of headers become hyphens."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        if isinstance(body, bytes):
            named.setdefault("Content-Length", str(len(body)))
        self._wire.add(responses.GET, url or self.url, status=status, body=body, headers=named)

    def gives(self, span: Span, *, stated: str = "", **headers: str) -> None:
        """Prepare a correct 206 for SPAN, or one that STATES another range."""
        stated = stated or f"bytes {span.start}-{span.stop - 1}/{self.file.size}"
        self.answers(206, self.data[slice(*span)], Content_Range=stated, **headers)

    def read(self, span: Span = SPAN) -> bytes:
        return self.source.read(self.file, span)

    def fails(self, span: Span = SPAN) -> SourceError:
        with pytest.raises(SourceError) as caught:
            self.read(span)
        return caught.value

    def headers(self, number: int = 0) -> dict[str, str]:
        return dict(self._wire.calls[number].request.headers)


@pytest.fixture
def asked(sample: Sample, wire: responses.RequestsMock) -> Iterator[Asked]:
    asked = Asked(sample, wire)
    yield asked
    asked.source.close()


def test_a_span_is_asked_for_as_an_inclusive_range_and_without_validators(asked: Asked) -> None:
    asked.gives(SPAN)
    assert all_of(asked.source, asked.file, SPAN) == asked.data[2000:5000]
    headers = asked.headers()
    assert headers["Range"] == "bytes=2000-4999"
    assert headers["Accept-Encoding"] == "identity"
    assert headers["User-Agent"].startswith("fmnist-fetch/")
    assert not {"If-Range", "If-None-Match", "If-Match"} & headers.keys()
    assert asked.source.status == 206


def test_an_unknown_total_is_lawful(asked: Asked) -> None:
    asked.gives(SPAN, stated="bytes 2000-4999/*")
    assert all_of(asked.source, asked.file, SPAN) == asked.data[2000:5000]


@pytest.mark.parametrize("stated", ["bytes 2001-5000/15416", "bytes 5000-7999/15416", "bytes 9000-11999/*"])
def test_a_206_that_states_another_range_leads_to_the_whole_file(stated: str, asked: Asked) -> None:
    asked.gives(SPAN, stated=stated)
    asked.answers(200, asked.data)
    assert all_of(asked.source, asked.file, SPAN) == asked.data[2000:5000]
    assert "Range" not in asked.headers(1)
    assert asked.mirror.serves_ranges is False


@pytest.mark.parametrize(
    "stated",
    [
        "Bytes 2000-4999/15416",
        "BYTES 2000-4999/15416",
        "bytes 2000-4999/*",
        "bytes  2000 - 4999 / 15416",
        "bytes=2000-4999/15416",
        "bytes: 2000-4999/15416",
        "bytes 002000-004999/15416",
        "bytes 2000-4999/15416, bytes 2000-4999/15416",
    ],
)
def test_every_spelling_of_a_content_range_is_understood(stated: str, asked: Asked) -> None:
    asked.gives(SPAN, stated=stated)
    assert all_of(asked.source, asked.file, SPAN) == asked.data[2000:5000]
    assert asked.mirror.serves_ranges is True


@pytest.mark.parametrize(
    "stated",
    [
        "bytes 2000-1999/15416",
        "items 2000-4999/15416",
        "bytes 2000-4999",
        "bytes */15416",
        "2000-4999/15416",
        "nonsense",
        "",
        "bytes 0-2999/15416" * 2,
        "bytes 2000-" + "9" * 5000 + "/15416",
    ],
)
def test_a_206_without_a_meaningful_range_is_taken_for_what_was_asked_for(stated: str, asked: Asked) -> None:
    asked.answers(206, asked.data[2000:5000], Content_Range=stated)
    assert all_of(asked.source, asked.file, SPAN) == asked.data[2000:5000]
    # The digest of a piece has proved it.
    assert asked.mirror.serves_ranges is True


def test_a_206_that_starts_earlier_is_read_up_to_what_was_asked_for(asked: Asked) -> None:
    asked.gives(Span(1024, 5000))
    assert all_of(asked.source, asked.file, SPAN) == asked.data[2000:5000]
    assert asked.mirror.serves_ranges is True


def test_a_200_with_a_range_and_its_length_is_a_partial_answer(asked: Asked) -> None:
    asked.answers(200, asked.data[2000:5000], Content_Range="bytes 2000-4999/15416")
    assert all_of(asked.source, asked.file, SPAN) == asked.data[2000:5000]


def test_a_206_of_a_file_of_another_size_is_data_which_the_digests_judge(asked: Asked) -> None:
    asked.gives(SPAN, stated="bytes 2000-4999/99999")
    assert all_of(asked.source, asked.file, SPAN) == asked.data[2000:5000]


def test_a_206_that_is_too_short_is_data_and_the_rest_is_asked_for_anew(asked: Asked) -> None:
    asked.gives(Span(2000, 2700))
    asked.gives(Span(2700, 5000))
    assert all_of(asked.source, asked.file, SPAN) == asked.data[2000:5000]
    assert asked.headers(1)["Range"] == "bytes=2700-4999"


def test_a_206_that_is_too_long_is_not_read_past_the_span(asked: Asked) -> None:
    asked.gives(Span(2000, 9000))
    asked.gives(Span(0, 10))
    assert all_of(asked.source, asked.file, SPAN) == asked.data[2000:5000]
    # The rest of the long answer is not taken for the next one.
    assert all_of(asked.source, asked.file, Span(0, 10)) == asked.data[:10]


def test_a_body_without_end_is_not_read_past_the_span(sample: Sample) -> None:
    file = sample.file()
    with Mirror(sample.files, faults=[Endless()]) as mirror:
        source = HttpSource(mirror.url, Tier.USER).open()
        assert all_of(source, file, SPAN) == sample.files[file.name][2000:5000]
        source.close()
        assert mirror.served < 1_000_000


def test_a_body_that_ends_early_gives_what_came_and_then_says_how_much_is_lacking(asked: Asked) -> None:
    asked.answers(206, asked.data[2000:2600], Content_Range=f"bytes 2000-4999/{asked.file.size}", Content_Length="3000")
    assert asked.read() == asked.data[2000:2600]
    error = asked.fails(Span(2600, 5000))
    assert not error.permanent
    assert "hung up" in error.message or "broke" in error.message


def test_a_200_to_a_range_from_the_start_is_used_and_no_further_connection_is_of_use(asked: Asked) -> None:
    asked.answers(200, asked.data)
    assert asked.mirror.connections == 1
    assert all_of(asked.source, asked.file, Span(0, 3000)) == asked.data[:3000]
    assert asked.mirror.connections == 1
    # The same answer continues: the file is not requested again.
    assert all_of(asked.source, asked.file, Span(3000, 4000)) == asked.data[3000:4000]


def test_a_200_to_a_range_further_on_is_read_up_to_it(asked: Asked) -> None:
    asked.answers(200, asked.data)
    assert all_of(asked.source, asked.file, SPAN) == asked.data[2000:5000]
    assert asked.source.pending == 2000
    assert asked.mirror.connections == 1


def test_a_200_from_a_server_of_ranges_is_a_surprise_once(asked: Asked) -> None:
    asked.gives(SPAN)
    assert all_of(asked.source, asked.file, SPAN) == asked.data[2000:5000]
    asked.answers(200, asked.data)
    error = asked.fails(Span(5000, 6000))
    assert f"ignored a range: {asked.file.name} came from its start" in error.message
    assert not error.permanent
    assert asked.mirror.serves_ranges is True
    assert all_of(asked.source, asked.file, Span(5000, 6000)) == asked.data[5000:6000]
    assert asked.mirror.serves_ranges is False


def test_a_206_shows_that_several_connections_are_of_use(asked: Asked) -> None:
    asked.gives(SPAN)
    asked.read()
    assert asked.mirror.connections is None


@pytest.mark.parametrize("size", [15000, 20000])
def test_a_200_of_another_size_is_data_which_the_digests_judge(size: int, asked: Asked) -> None:
    asked.answers(200, (asked.data * 2)[:size])
    assert all_of(asked.source, asked.file, Span(0, 3000)) == asked.data[:3000]


@pytest.mark.parametrize(
    ("body", "kind", "suspect"),
    [
        (LOGIN_HTML, "text/html", "looks like a login page"),
        (LOGIN_HTML, "application/gzip", "looks like a login page"),
        (ACCESS_DENIED, "application/xml", "looks like the refusal of a storage bucket"),
        (bytes(range(100)), "application/gzip", "another file, or a part of it"),
    ],
)
def test_a_200_too_small_for_a_piece_is_refused_with_a_guess_at_what_it_is(
    body: bytes, kind: str, suspect: str, asked: Asked
) -> None:
    asked.answers(200, body, Content_Type=kind)
    message = asked.fails(Span(0, 3000)).message
    assert f"has {len(body)} bytes there, wanted {asked.file.size:,}" in message
    assert suspect in message


def test_a_gzip_encoding_on_top_is_taken_off(asked: Asked) -> None:
    body = gzip.compress(asked.data[2000:5000])
    stated = f"bytes 2000-4999/{asked.file.size}"
    asked.answers(206, body, Content_Range=stated, Content_Encoding="gzip")
    assert all_of(asked.source, asked.file, SPAN) == asked.data[2000:5000]


def test_a_gzip_file_that_is_served_as_an_encoding_is_left_as_it_is(asked: Asked) -> None:
    # Some servers declare a .gz file as an encoding; its length reveals them.
    asked.answers(200, asked.data, Content_Encoding="gzip")
    assert all_of(asked.source, asked.file, Span(0, 3000)) == asked.data[:3000]


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 451])
def test_a_refusal_for_good_is_permanent(status: int, asked: Asked) -> None:
    asked.answers(status, b"no")
    error = asked.fails()
    assert (error.permanent, error.status) == (True, status)
    assert f"https://mirror.example/mine/ answered {status} for {asked.file.name}" in error.message
    assert ("Put the login into" if status == 401 else "Check the address") in error.hint


@pytest.mark.parametrize("status", [408, 416, 425, 429, 500, 502, 503, 504, 204, 304])
def test_a_refusal_for_now_is_not(status: int, asked: Asked) -> None:
    asked.answers(status, b"")
    error = asked.fails()
    assert (error.permanent, error.status, error.retry_after) == (False, status, None)


@pytest.mark.parametrize(
    ("value", "seconds"), [("7", 7.0), (" 120 ", 120.0), ("0", 0.0), ("-1", None), ("soon", None), ("", None)]
)
def test_retry_after_is_understood_as_a_number(value: str, seconds: float | None, asked: Asked) -> None:
    asked.answers(503, b"busy", Retry_After=value)
    assert asked.fails().retry_after == seconds


def test_retry_after_is_understood_as_a_date(asked: Asked) -> None:
    moment = datetime.now(UTC) + timedelta(seconds=3600)
    asked.answers(429, b"busy", Retry_After=format_datetime(moment, usegmt=True))
    assert asked.fails().retry_after == pytest.approx(3600, abs=60)


@pytest.mark.parametrize("value", ["Wed, 21 Oct 2015 07:28:00 GMT", "Wed, 21 Oct 2015 07:28:00"])
def test_a_date_that_is_past_means_at_once(value: str, asked: Asked) -> None:
    asked.answers(503, b"busy", Retry_After=value)
    assert asked.fails().retry_after == 0


def test_a_server_that_is_still_downloading_says_so(asked: Asked) -> None:
    asked.answers(503, b"not here yet", Retry_After="1", Fmnist_Fetch_State="arriving")
    error = asked.fails()
    assert (error.arriving, error.retry_after, error.permanent) == (True, 1.0, False)
    assert error.message == f"https://mirror.example/mine/ is still downloading what is missing for {asked.file.name}"
    asked.answers(503, b"busy", Retry_After="1")
    assert not asked.fails().arriving


@pytest.mark.parametrize("value", ["1e9", "9" * 400, "Wed, 99 Oct 99999 07:28:00 GMT", "\x00", "½"])
def test_no_retry_after_however_absurd_breaks_the_run(value: str, asked: Asked) -> None:
    asked.answers(503, b"busy", Retry_After=value)
    assert asked.fails().status == 503


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_followed_with_the_same_range(status: int, asked: Asked) -> None:
    asked.answers(status, b"moved", Location="https://elsewhere.example/file?key=1")
    body, stated = asked.data[2000:5000], f"bytes 2000-4999/{asked.file.size}"
    asked.answers(206, body, "https://elsewhere.example/file?key=1", Content_Range=stated)
    assert all_of(asked.source, asked.file, SPAN) == body
    assert asked.headers(1)["Range"] == "bytes=2000-4999"


def test_a_relative_redirect_is_followed(asked: Asked) -> None:
    asked.answers(302, b"", Location="/other")
    asked.answers(
        206,
        asked.data[2000:5000],
        "https://mirror.example/other",
        Content_Range=f"bytes 2000-4999/{asked.file.size}",
    )
    assert all_of(asked.source, asked.file, SPAN) == asked.data[2000:5000]


def test_a_redirect_in_a_circle_ends(asked: Asked) -> None:
    asked.answers(302, b"", Location=asked.url)
    assert "redirects in a circle" in asked.fails().message


def test_a_redirect_to_a_login_page_is_named(asked: Asked) -> None:
    asked.answers(302, b"", Location="https://portal.example/login")
    asked.answers(200, LOGIN_HTML, "https://portal.example/login", Content_Type="text/html")
    assert "looks like a login page" in asked.fails(Span(0, 3000)).message


def test_a_redirect_to_another_kind_of_address_is_an_error_of_the_source(asked: Asked) -> None:
    asked.answers(302, b"", Location="ftp://elsewhere.example/file")
    assert BASE in asked.fails().message


def test_a_refused_connection_is_reported(sample: Sample) -> None:
    with refusing() as url, pytest.raises(SourceError, match=f"{url} refuses connections") as caught:
        HttpSource(url, Tier.USER).open().read(sample.file(), SPAN)
    assert not caught.value.permanent
    assert caught.value.hint == "Check the network, then run the same command again."


@pytest.mark.parametrize("reset", [True, False])
def test_a_connection_closed_without_an_answer_is_reported(reset: bool, sample: Sample) -> None:
    with Mirror(sample.files, faults=[HangUp(reset=reset)]) as mirror:
        source = HttpSource(mirror.url, Tier.USER).open()
        with pytest.raises(SourceError, match=r"hung up without an answer|reset the connection"):
            source.read(sample.file(), SPAN)
        source.close()


def test_an_untrusted_certificate_is_permanent_and_the_hint_names_the_bundle(sample: Sample, tmp_path: Path) -> None:
    with Mirror(sample.files, certificate=self_signed(tmp_path)) as mirror:
        source = HttpSource(mirror.url, Tier.USER).open()
        with pytest.raises(SourceError, match="its certificate is not trusted") as caught:
            source.read(sample.file(), SPAN)
        source.close()
    assert caught.value.permanent
    assert "REQUESTS_CA_BUNDLE" in caught.value.hint


def test_a_certificate_in_the_users_bundle_is_trusted(
    sample: Sample, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate = self_signed(tmp_path)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate.cert))
    with Mirror(sample.files, certificate=certificate) as mirror:
        source = HttpSource(mirror.url, Tier.USER).open()
        assert all_of(source, sample.file(), SPAN) == sample.files[sample.file().name][2000:5000]
        source.close()


def test_a_proxy_of_the_environment_is_used(sample: Sample, monkeypatch: pytest.MonkeyPatch) -> None:
    with Mirror(sample.files) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        monkeypatch.setenv("http_proxy", proxy.url)
        source = HttpSource("http://dataset.invalid/", Tier.USER).open()
        assert all_of(source, sample.file(), SPAN) == sample.files[sample.file().name][2000:5000]
        source.close()
        assert proxy.served == 3000


def test_no_cookie_is_kept(asked: Asked) -> None:
    asked.answers(302, b"", Location="/other", Set_Cookie="pass=1; Path=/")
    stated = f"bytes 2000-4999/{asked.file.size}"
    asked.answers(206, asked.data[2000:5000], "https://mirror.example/other", Content_Range=stated)
    assert all_of(asked.source, asked.file, SPAN) == asked.data[2000:5000]
    assert "Cookie" not in asked.headers(1)


@pytest.mark.parametrize(
    ("location", "kept"),
    [
        ("/other", True),
        ("https://mirror.example/other", True),
        ("https://elsewhere.example/other", False),
        ("http://mirror.example/other", False),
        ("https://mirror.example:8443/other", False),
    ],
)
def test_a_login_in_the_mirrors_url_is_kept_on_a_redirect_within_its_host_only(
    location: str, kept: bool, asked: Asked
) -> None:
    asked.mirror.url = "https://me:secret@mirror.example/mine/"
    asked.answers(302, b"", asked.mirror.file_url(asked.file.name), Location=location)
    stated = f"bytes 2000-4999/{asked.file.size}"
    target = "https://me:secret@mirror.example/other" if kept else location
    asked.answers(206, asked.data[2000:5000], target, Content_Range=stated)
    assert all_of(asked.source, asked.file, SPAN) == asked.data[2000:5000]
    assert asked.headers(0)["Authorization"].startswith("Basic ")
    assert ("Authorization" in asked.headers(1)) == kept


def use_netrc(path: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Write TEXT to PATH, as the .netrc of the user."""
    path.write_text(text)
    monkeypatch.setenv("NETRC", str(path))


def test_a_login_from_netrc_is_sent_to_its_server_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: Asked
) -> None:
    use_netrc(tmp_path / "netrc", "machine mirror.example login me password secret\n", monkeypatch)
    asked.answers(302, b"", Location="https://elsewhere.example/file")
    asked.answers(206, b"x", "https://elsewhere.example/file", Content_Range=f"bytes 2000-2000/{asked.file.size}")
    assert asked.read() == b"x"
    assert asked.headers(0)["Authorization"].startswith("Basic ")
    assert "Authorization" not in asked.headers(1)


def test_a_server_that_nobody_named_gets_no_login_and_redirects_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: Asked
) -> None:
    use_netrc(tmp_path / "netrc", "default login me password secret\n", monkeypatch)
    asked.source = HttpSource(BASE, Tier.LAN).open()
    for _ in range(2):
        asked.answers(302, b"", Location="http://192.168.1.1/reboot")
    assert "answered 302" in asked.fails().message
    assert "Authorization" not in asked.headers(0)


def test_a_server_that_nobody_named_is_asked_without_a_proxy(monkeypatch: pytest.MonkeyPatch, sample: Sample) -> None:
    for name in ("HTTP_PROXY", "http_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9/")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    file = sample.file()
    with Mirror(sample.files) as mirror, contextlib.closing(HttpSource(mirror.url, Tier.LAN).open()) as source:
        assert all_of(source, file, SPAN) == sample.files[file.name][2000:5000]


def test_one_connection_serves_request_after_request(sample: Sample) -> None:
    file = sample.file()
    with Mirror(sample.files) as mirror:
        source = HttpSource(mirror.url, Tier.USER).open()
        for start in range(0, 10_000, 1000):
            span = Span(start, start + 1000)
            assert all_of(source, file, span) == sample.files[file.name][slice(*span)]
        source.close()
        assert (mirror.connections, mirror.served) == (1, 10_000)


def test_a_span_that_is_given_up_costs_little_more_than_what_was_read(sample: Sample) -> None:
    big = {"train-images-idx.gz": sample.files["train-images-idx.gz"]}
    with Mirror(big, faults=[Lockstep()]) as mirror:
        source = HttpSource(mirror.url, Tier.USER).open()
        assert source.read(sample.file(), Span(0, 100)) == big["train-images-idx.gz"][:100]
        assert [tuple(span) for span in mirror.asked] == [(0, 100)]
        source.close()


def test_a_read_under_way_is_ended_from_another_thread(sample: Sample) -> None:
    errors: list[SourceError] = []
    with Mirror(sample.files, faults=[StallAfter(100)]) as mirror:
        source = HttpSource(mirror.url, Tier.USER).open()
        assert source.read(sample.file(), SPAN) == sample.files[sample.file().name][2000:2100]

        def go_on() -> None:
            with pytest.raises(SourceError) as caught:
                source.read(sample.file(), Span(2100, 5000))
            errors.append(caught.value)

        reader = Thread(target=go_on)
        reader.start()
        reader.join(0.2)
        assert reader.is_alive()
        source.stop()
        reader.join(30)
        source.close()
    # The stop ended it before its time-out.
    assert "said nothing" not in errors[0].message


def test_a_source_that_was_stopped_asks_no_more(sample: Sample) -> None:
    with Mirror(sample.files) as mirror:
        source = HttpSource(mirror.url, Tier.USER).open()
        source.stop()
        with pytest.raises(SourceError, match="stopped"):
            source.read(sample.file(), SPAN)
        assert mirror.connections == 0


@pytest.mark.parametrize(
    ("base", "url"),
    [
        ("https://a.example", "https://a.example/x.gz"),
        ("https://a.example/", "https://a.example/x.gz"),
        ("https://a.example/b//", "https://a.example/b/x.gz"),
        ("https://a.example/b?token=1", "https://a.example/b/x.gz?token=1"),
        ("https://a.example/get?token=1&file=", "https://a.example/get?token=1&file=x.gz"),
    ],
)
def test_a_files_url_is_the_base_and_its_name(base: str, url: str) -> None:
    assert HttpSource(base, Tier.USER).file_url("x.gz") == url


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://a.example/x/", "https://a.example/x/"),
        ("https://me:secret@a.example:8000/x", "https://***@a.example:8000/x"),
        ("https://a.example/x?sig=secret&more=secret#secret", "https://a.example/x?***"),
        ("https://me:sec@ret@a.example/", "https://***@a.example/"),
    ],
)
def test_secrets_are_not_shown(url: str, shown: str) -> None:
    assert redact(url) == HttpSource(url, Tier.USER).name == shown


def test_no_secret_of_a_url_is_in_an_error(sample: Sample) -> None:
    with refusing() as url:
        secret = url.replace("http://", "http://me:secret@") + "x?token=secret"
        with pytest.raises(SourceError) as caught:
            HttpConnection(HttpSource(secret, Tier.USER)).read(sample.file(), SPAN)
    assert "secret" not in caught.value.message
