"""A failure is named by its structure; an unknown one keeps the words of the library."""

from __future__ import annotations

import errno
import http.client
import itertools
import socket
import ssl
from pathlib import Path

import pytest
import requests
from urllib3 import exceptions as urllib3

from fmnist_fetch.errors import CHECK_NETWORK, SourceError
from fmnist_fetch.sources.http.failures import translate
from fmnist_fetch.sources.http.sockets import LookupTimeoutError, NoThreadError
from fmnist_fetch.sources.mirror import redact

NAME = "https://mirror.example/"
PROXY = "http://me:secret@proxy.example:3128"


def caused(*causes: BaseException) -> BaseException:
    """Return the first of CAUSES, each raised from the next one."""
    for outer, inner in itertools.pairwise(causes):
        outer.__cause__ = inner
    return causes[0]


def in_requests(inner: BaseException, kind: type[Exception] = requests.ConnectionError) -> BaseException:
    """Return INNER as requests raises it: as an argument of an exception of urllib3 that is an argument itself."""
    return kind(urllib3.MaxRetryError(None, "/x?token=secret", urllib3.ProtocolError("aborted", inner)))  # type: ignore[arg-type]


def new_connection(inner: OSError) -> BaseException:
    return caused(requests.ConnectionError(), urllib3.NewConnectionError(None, "failed"), inner)  # type: ignore[arg-type]


def verification(code: int, words: str) -> BaseException:
    failure = ssl.SSLCertVerificationError(1, "certificate verify failed")
    failure.verify_code, failure.verify_message = code, words
    return in_requests(urllib3.SSLError(failure), requests.exceptions.SSLError)


@pytest.mark.parametrize(
    ("failure", "said"),
    [
        (new_connection(socket.gaierror(socket.EAI_NONAME, "Name or service not known")), "its name does not resolve"),
        # macOS has EAI_AGAIN = 2, which is ENOENT as an errno.
        (new_connection(socket.gaierror(errno.ENOENT, "Try again")), "its name does not resolve (Try again)"),
        (in_requests(LookupTimeoutError(errno.ETIMEDOUT, "slow")), "the look-up of its name takes long"),
        (new_connection(ConnectionRefusedError(errno.ECONNREFUSED, "refused")), "refuses connections"),
        (new_connection(OSError(errno.ENETUNREACH, "unreachable")), "no route to it"),
        (new_connection(OSError(errno.EHOSTUNREACH, "no route")), "no route to it"),
        (in_requests(ConnectionResetError(errno.ECONNRESET, "reset")), "reset the connection"),
        (in_requests(BrokenPipeError(errno.EPIPE, "pipe")), "reset the connection"),
        (new_connection(PermissionError(errno.EPERM, "no")), "this machine does not permit the connection"),
        (in_requests(http.client.RemoteDisconnected("gone")), "hung up without an answer"),
        (in_requests(http.client.IncompleteRead(b"", 5)), "hung up in the middle of an answer"),
        (in_requests(ssl.SSLEOFError(8, "EOF occurred")), "broke off the TLS connection"),
        (in_requests(ssl.SSLZeroReturnError(6, "closed")), "broke off the TLS connection"),
        (requests.ReadTimeout(), "said nothing for several seconds"),
        (in_requests(TimeoutError("timed out")), "said nothing for several seconds"),
        (requests.ConnectTimeout(), "accepted no connection for several seconds"),
        (in_requests(http.client.BadStatusLine("SSH-2.0")), "sent no valid HTTP answer (BadStatusLine: SSH-2.0)"),
        (requests.exceptions.ContentDecodingError(urllib3.DecodeError("x")), "a broken content coding"),
        (requests.RequestException("something new"), ": RequestException: something new"),
        (in_requests(ValueError("Exceeds the limit (4300 digits)")), ": ValueError: Exceeds the limit (4300 digits)"),
        (KeyError("odd"), ": KeyError: 'odd'"),
    ],
)
def test_a_failure_of_the_network_is_named_and_passes(failure: BaseException, said: str) -> None:
    error = translate(failure, NAME)
    assert error.message.startswith(NAME)
    assert said in error.message
    assert (error.permanent, error.hint) == (False, CHECK_NETWORK)


@pytest.mark.parametrize(
    "words", ["Connection refused", "timed out", "certificate verify failed", "Failed to resolve", "ProxyError"]
)
def test_words_in_a_message_decide_nothing(words: str) -> None:
    error = translate(requests.RequestException(words), NAME, proxy=PROXY)
    assert error.message == f"{NAME}: RequestException: {words}"
    assert not error.permanent


@pytest.mark.parametrize(
    ("code", "said", "hint"),
    [
        (10, "it has expired", "this machine's clock. It says "),
        (9, "it is not yet valid", "this machine's clock. It says "),
        (18, "it is self-signed", "REQUESTS_CA_BUNDLE"),
        (20, "an unknown authority issued it", "REQUESTS_CA_BUNDLE"),
        (62, "it belongs to another name", "Check the address of the mirror"),
        (64, "it belongs to another address", "Check the address of the mirror"),
        (24, "invalid CA certificate", "REQUESTS_CA_BUNDLE"),
    ],
)
def test_a_certificate_is_blamed_where_its_verification_failed_with_the_reason(code: int, said: str, hint: str) -> None:
    error = translate(verification(code, "invalid CA certificate"), NAME)
    assert error.message == f"{NAME}: its certificate is not trusted: {said}"
    assert hint in error.hint
    assert error.permanent


def test_a_server_without_tls_is_no_matter_of_its_certificate() -> None:
    failure = ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong version number")
    failure.reason = "WRONG_VERSION_NUMBER"
    error = translate(in_requests(failure), NAME)
    assert "does not speak TLS" in error.message
    assert "http:// or https://" in error.hint


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE])
def test_a_lack_of_descriptors_is_local_and_reported_at_once(number: int) -> None:
    error = translate(new_connection(OSError(number, "Too many open files")), NAME)
    assert "may open no more files or connections" in error.message
    assert "ulimit -n" in error.hint
    assert error.permanent
    assert error.is_local


def test_a_lack_of_threads_is_local_and_reported_at_once() -> None:
    error = translate(new_connection(NoThreadError(errno.EAGAIN, "can't start new thread")), NAME)
    assert "starts no further thread" in error.message
    assert error.permanent


# Proxies.


def test_a_proxy_that_refuses_connections_is_named_without_its_login() -> None:
    failure = urllib3.ProxyError("Cannot connect to proxy.", ConnectionRefusedError(errno.ECONNREFUSED, "refused"))
    error = translate(in_requests(failure, requests.exceptions.ProxyError), NAME, proxy=PROXY)
    expected = f"{NAME} can't be reached through the proxy http://***@proxy.example:3128, which refuses connections"
    assert error.message == expected
    assert not error.permanent


@pytest.mark.parametrize(
    ("refusal", "said", "permanent"),
    [
        ("407 Proxy Authentication Required", "the proxy http://***@proxy.example:3128 requires a login", True),
        ("502 Bad Gateway", "gives no connection to it (502 Bad Gateway)", False),
    ],
)
def test_a_proxy_that_refuses_a_tunnel_is_named(refusal: str, said: str, permanent: bool) -> None:
    failure = urllib3.ProxyError("Cannot connect", OSError(f"Tunnel connection failed: {refusal}"))
    error = translate(in_requests(failure, requests.exceptions.ProxyError), NAME, proxy=PROXY)
    assert said in error.message
    assert error.permanent is permanent
    if permanent:
        assert "USER:PASSWORD" in error.hint


def test_a_socks_proxy_without_its_package_names_the_extra() -> None:
    failure = requests.exceptions.InvalidSchema("Missing dependencies for SOCKS support.")
    error = translate(failure, NAME, proxy="socks5h://localhost:1080")
    assert error.message == f"{NAME}: the proxy socks5h://localhost:1080 needs the package PySocks"
    assert "fmnist-fetch[socks]" in error.hint
    assert error.permanent


@pytest.mark.parametrize("proxy", ["http://", "ftp://proxy.example:1", "http://[::1"])
def test_a_proxy_that_is_no_url_is_blamed_and_not_the_mirror(proxy: str) -> None:
    error = translate(requests.exceptions.InvalidProxyURL("malformed"), NAME, proxy=proxy)
    assert "the proxy" in error.message
    assert "is not a usable URL" in error.message
    assert "HTTPS_PROXY" in error.hint
    assert error.permanent


def test_a_url_that_is_none_is_the_mirrors() -> None:
    error = translate(requests.exceptions.InvalidURL("x"), NAME, proxy=PROXY)
    assert error.message == f"{NAME}: not a usable URL"


# The CA bundle.


@pytest.mark.parametrize(("content", "said"), [(None, "is not there"), (b"no certificate", "can't be read")])
def test_a_ca_bundle_that_is_none_is_named_with_its_variable(
    content: bytes | None, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = tmp_path / "ca.pem"
    if content is not None:
        bundle.write_bytes(content)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(bundle))
    error = translate(OSError("Could not find a suitable TLS CA certificate bundle"), NAME, bundle=str(bundle))
    assert f"the CA bundle {bundle} (REQUESTS_CA_BUNDLE) {said}" in error.message
    assert error.permanent


# Secrets.


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("host='x', url: /a?token=secret (Caused by y)", "host='x', url: /a?*** (Caused by y)"),
        ("https://me:secret@host/a", "https://***@host/a"),
        ("line\nhint: forged\x1b[2J", "line hint: forged [2J"),
    ],
)
def test_words_of_a_library_are_shown_without_secrets_and_on_one_line(text: str, shown: str) -> None:
    assert translate(requests.RequestException(text), NAME).message == f"{NAME}: RequestException: {shown}"


@pytest.mark.parametrize(
    "url", ["htp://me:secret@host/", "http:/me:secret@host/", "me:secret@host", "http://me:secret@[/"]
)
def test_a_mistyped_url_is_shown_without_its_login(url: str) -> None:
    assert "secret" not in redact(url)


def test_a_chain_that_is_a_circle_ends() -> None:
    one, other = ValueError("one"), ValueError("other")
    one.__cause__, other.__cause__ = other, one
    assert isinstance(translate(one, NAME), SourceError)
