"""What the environment and a redirect mean, in the spellings that are seen, and how an answer is received."""

from __future__ import annotations

import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from urllib3 import HTTPResponse

from fmnist_fetch.sources.base import Tier
from fmnist_fetch.sources.http.client import Client
from fmnist_fetch.sources.http.source import HttpSource

URL = "https://mirror.example/data/name.gz"


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Client:
    for variable in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(variable, raising=False)
    return Client(HttpSource(URL, Tier.MIRROR))


@pytest.mark.parametrize(
    ("text", "proxy"),
    [
        ("http://proxy.example:3128", "http://proxy.example:3128"),
        (" http://proxy.example:3128 ", "http://proxy.example:3128"),
        ('"http://proxy.example:3128"', "http://proxy.example:3128"),
        ("socks://proxy.example:1080/", "socks5h://proxy.example:1080/"),
        ("SOCKS://proxy.example:1080", "socks5h://proxy.example:1080"),
        ("socks5://proxy.example:1080", "socks5://proxy.example:1080"),
        ("", None),
        (" ", None),
        ('""', None),
    ],
)
def test_a_proxy_is_taken_as_it_can_be_meant(
    text: str, proxy: str | None, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", text)
    assert client.surroundings(URL) == (proxy, None)


@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"])
def test_every_usual_variable_names_the_ca_bundle(
    variable: str, client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = tmp_path / "ca.pem"
    bundle.touch()
    monkeypatch.setenv(variable, str(bundle))
    assert client.surroundings(URL) == (None, str(bundle))


def test_a_bundle_of_openssl_that_is_not_there_is_ignored(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", "/nonexistent/ca.pem")
    assert client.surroundings(URL) == (None, None)


def redirect(location: bytes, status: int = 302) -> HTTPResponse:
    return HTTPResponse(headers={"Location": location.decode("latin-1")}, status=status)


@pytest.mark.parametrize(
    ("location", "target"),
    [
        (b"/other/name.gz", "https://mirror.example/other/name.gz"),
        (b"name.gz?x=1", "https://mirror.example/data/name.gz?x=1"),
        (b"  http://b.example/x\t", "http://b.example/x"),
        ("/é".encode(), "https://mirror.example/é"),
        (b"/\xe9", "https://mirror.example/%E9"),
        (b"", None),
    ],
)
def test_a_location_is_resolved_in_every_spelling(location: bytes, target: str | None, client: Client) -> None:
    assert client.redirect_target(URL, redirect(location)) == target


@pytest.mark.parametrize("status", [300, 301, 302, 303, 307, 308])
def test_every_status_of_a_redirect_is_followed(status: int, client: Client) -> None:
    assert client.redirect_target(URL, redirect(b"/x", status)) == "https://mirror.example/x"


@pytest.mark.parametrize("status", [200, 201, 304, 305, 404])
def test_a_location_with_another_status_is_no_redirect(status: int, client: Client) -> None:
    assert client.redirect_target(URL, redirect(b"/x", status)) is None


def test_a_small_file_that_came_with_the_head_of_its_answer_is_read_at_once() -> None:
    # More than the usual buffer of 8 KiB; little enough that the system sends it with its head as one segment.
    body = b"x" * 16_000

    def serve() -> None:
        with server.accept()[0] as sock:
            sock.recv(65536)
            sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))

    with socket.create_server(("127.0.0.1", 0)) as server, ThreadPoolExecutor() as pool:
        served = pool.submit(serve)
        url = f"http://127.0.0.1:{server.getsockname()[1]}/"
        client = Client(HttpSource(url, Tier.USER))
        response = client.request(url, None)
        served.result()
        assert response.read1(len(body)) == body
        response.close()
