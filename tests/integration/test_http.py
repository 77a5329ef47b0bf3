"""The answers of an HTTP mirror: every part of one is checked, and every deviation has its message."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest
import responses

from faults import ACCESS_DENIED, LOGIN_HTML, refusing
from fmnist_fetch.errors import SourceError
from fmnist_fetch.manifest.pieces import Span
from fmnist_fetch.sources.base import Tier
from fmnist_fetch.sources.http.source import HttpSource
from fmnist_fetch.sources.mirror import redact
from samples import Sample, all_of

BASE = "https://mirror.example/mine/"
SPAN = Span(2000, 5000)
START = Span(0, 3000)
STATED = "bytes 2000-4999/15416"


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
        self.mirror = HttpSource(BASE, Tier.MIRROR)
        self.source = self.mirror.open()
        self._wire = wire

    def answers(self, status: int, body: bytes | Exception = b"", url: str = "", **headers: str) -> None:
        """Prepare one answer; underscores in the names of headers become hyphens."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        if isinstance(body, bytes):
            named.setdefault("Content-Length", str(len(body)))
        url = url or self.mirror.file_url(self.file.name)
        self._wire.add(responses.GET, url, status=status, body=body, headers=named)

    def gives(self, span: Span, *, stated: str = "", status: int = 206, url: str = "") -> None:
        """Prepare an answer with SPAN under its range, or one that STATES another range."""
        stated = stated or f"bytes {span.start}-{span.stop - 1}/{self.file.size}"
        self.answers(status, self.data[slice(*span)], url, Content_Range=stated)

    def assert_read(self, span: Span = SPAN) -> None:
        """Assert that the right bytes of SPAN come."""
        assert all_of(self.source, self.file, span) == self.data[slice(*span)]

    def fails(self, span: Span = SPAN) -> SourceError:
        with pytest.raises(SourceError) as caught:
            self.source.read(self.file, span)
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
    assert asked.mirror.connections == 1
    asked.assert_read()
    headers = asked.headers()
    assert headers["Range"] == "bytes=2000-4999"
    assert headers["Accept-Encoding"] == "identity"
    assert headers["User-Agent"].startswith("fmnist-fetch/")
    assert not {"If-Range", "If-None-Match", "If-Match"} & headers.keys()
    assert asked.source.status == 206
    # A 206 shows that several connections are of use.
    assert asked.mirror.connections is None


def test_a_206_that_is_too_short_is_data_and_the_rest_is_asked_for_anew(asked: Asked) -> None:
    asked.gives(Span(2000, 2700))
    asked.gives(Span(2700, 5000))
    asked.assert_read()
    assert asked.headers(1)["Range"] == "bytes=2700-4999"


def test_a_206_that_is_too_long_is_not_read_past_the_span(asked: Asked) -> None:
    asked.gives(Span(2000, 9000))
    asked.gives(Span(0, 10))
    asked.assert_read()
    # The rest of the long answer is not taken for the next one.
    asked.assert_read(Span(0, 10))


def test_a_body_that_ends_early_gives_what_came_and_then_says_how_much_is_lacking(asked: Asked) -> None:
    asked.answers(206, asked.data[2000:2600], Content_Range=STATED, Content_Length="3000")
    assert asked.source.read(asked.file, SPAN) == asked.data[2000:2600]
    error = asked.fails(Span(2600, 5000))
    assert not error.permanent
    assert "hung up" in error.message or "broke" in error.message


def test_a_200_to_a_range_from_the_start_is_used_and_no_further_connection_is_of_use(asked: Asked) -> None:
    asked.answers(200, asked.data)
    asked.assert_read(START)
    assert asked.mirror.connections == 1
    # The same answer continues: the file is not requested again.
    asked.assert_read(Span(3000, 4000))


def test_a_200_to_a_range_further_on_is_read_up_to_it(asked: Asked) -> None:
    asked.answers(200, asked.data)
    asked.assert_read()
    assert asked.source.pending == 2000
    assert asked.mirror.connections == 1


def test_a_200_from_a_server_of_ranges_is_a_surprise_once(asked: Asked) -> None:
    asked.gives(SPAN)
    asked.assert_read()
    asked.answers(200, asked.data)
    error = asked.fails(Span(5000, 6000))
    assert f"ignored a range: {asked.file.name} came from its start" in error.message
    assert not error.permanent
    assert asked.mirror.serves_ranges is True
    asked.assert_read(Span(5000, 6000))
    assert asked.mirror.serves_ranges is False


@pytest.mark.parametrize("size", [15000, 20000])
def test_a_200_of_another_size_is_data_which_the_digests_judge(size: int, asked: Asked) -> None:
    asked.answers(200, (asked.data * 2)[:size])
    asked.assert_read(START)


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
    message = asked.fails(START).message
    assert f"has {len(body)} bytes there, wanted {asked.file.size:,}" in message
    assert suspect in message


def test_a_gzip_encoding_on_top_is_taken_off(asked: Asked) -> None:
    asked.answers(206, gzip.compress(asked.data[2000:5000]), Content_Range=STATED, Content_Encoding="gzip")
    asked.assert_read()


def test_a_gzip_file_that_is_served_as_an_encoding_is_left_as_it_is(asked: Asked) -> None:
    # Some servers declare a .gz file as an encoding; its length reveals them.
    asked.answers(200, asked.data, Content_Encoding="gzip")
    asked.assert_read(START)


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
    ("value", "seconds"),
    [
        *(("7", 7.0), (" 120 ", 120.0), ("0", 0.0), ("-1", None), ("soon", None), ("", None), ("\x00", None)),
        *(("Wed, 21 Oct 2015 07:28:00 GMT", 0), ("Wed, 21 Oct 2015 07:28:00", 0)),
        *(("9" * 400, 999_999_999.0), ("1e9", None), ("Wed, 99 Oct 99999 07:28:00 GMT", None), ("½", None)),
    ],
)
def test_retry_after_is_understood_or_left_aside(value: str, seconds: float | None, asked: Asked) -> None:
    asked.answers(503, b"busy", Retry_After=value)
    assert asked.fails().retry_after == seconds


def test_retry_after_is_understood_as_a_date(asked: Asked) -> None:
    moment = datetime.now(UTC) + timedelta(seconds=3600)
    asked.answers(429, b"busy", Retry_After=format_datetime(moment, usegmt=True))
    assert asked.fails().retry_after == pytest.approx(3600, abs=60)


def test_a_server_that_is_still_downloading_says_so(asked: Asked) -> None:
    asked.answers(503, b"not here yet", Retry_After="1", Fmnist_Fetch_State="arriving")
    error = asked.fails()
    assert (error.arriving, error.retry_after, error.permanent) == (True, 1.0, False)
    assert error.message == f"https://mirror.example/mine/ is still downloading what is missing for {asked.file.name}"
    asked.answers(503, b"busy", Retry_After="1")
    assert not asked.fails().arriving


# Redirects and logins.


@pytest.mark.parametrize("location", ["https://elsewhere.example/file?key=1", "/other"])
def test_a_redirect_is_followed_with_the_same_range_and_no_cookie(location: str, asked: Asked) -> None:
    asked.answers(302, b"moved", Location=location, Set_Cookie="pass=1; Path=/")
    asked.gives(SPAN, url=location.replace("/other", "https://mirror.example/other"))
    asked.assert_read()
    assert asked.headers(1)["Range"] == "bytes=2000-4999"
    assert "Cookie" not in asked.headers(1)


@pytest.mark.parametrize(
    ("location", "said"),
    [
        (f"{BASE}train-images-idx.gz", "redirects in a circle"),
        ("ftp://elsewhere.example/file", BASE),
        ("https://portal.example/login", "looks like a login page"),
    ],
)
def test_a_redirect_to_no_file_is_named(location: str, said: str, asked: Asked) -> None:
    asked.answers(302, b"", Location=location)
    if "login" in location:
        asked.answers(200, LOGIN_HTML, location, Content_Type="text/html")
    assert said in asked.fails(START).message


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
    asked.answers(302, b"", Location=location)
    asked.gives(SPAN, url="https://me:secret@mirror.example/other" if kept else location)
    asked.assert_read()
    assert asked.headers(0)["Authorization"].startswith("Basic ")
    assert ("Authorization" in asked.headers(1)) == kept


@pytest.fixture
def netrc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the path of the .netrc of the user."""
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    return tmp_path / "netrc"


def test_a_login_from_netrc_is_sent_to_its_server_only(netrc: Path, asked: Asked) -> None:
    netrc.write_text("machine mirror.example login me password secret\n")
    asked.answers(302, b"", Location="https://elsewhere.example/file")
    asked.gives(SPAN, url="https://elsewhere.example/file")
    asked.assert_read()
    assert asked.headers(0)["Authorization"].startswith("Basic ")
    assert "Authorization" not in asked.headers(1)


def test_a_server_that_nobody_named_gets_no_login_and_redirects_nobody(netrc: Path, asked: Asked) -> None:
    netrc.write_text("default login me password secret\n")
    asked.source = HttpSource(BASE, Tier.LAN).open()
    for _ in range(2):
        asked.answers(302, b"", Location="http://192.168.1.1/reboot")
    assert "answered 302" in asked.fails().message
    assert "Authorization" not in asked.headers(0)


# URLs.


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
        source = HttpSource(url.replace("http://", "http://me:secret@") + "x?token=secret", Tier.USER).open()
        with pytest.raises(SourceError, match="refuses connections") as caught:
            source.read(sample.file(), SPAN)
    assert "secret" not in caught.value.message
