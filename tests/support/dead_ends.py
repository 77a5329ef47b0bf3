"""Addresses that do not answer, and certificates that nobody trusts."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from mirror import Certificate

UNRESOLVABLE = "http://no-such-host.invalid/"


@contextlib.contextmanager
def refusing() -> Iterator[str]:
    """Yield a base URL at which connections are refused."""
    # Bound and not listening: no other process can use the port meanwhile.
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{sock.getsockname()[1]}/"


@contextlib.contextmanager
def blackhole() -> Iterator[str]:
    """Yield a base URL at which no SYN is answered."""
    with contextlib.ExitStack() as sockets:
        # The queue of this listener is full and stays so.
        listener = sockets.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(4):
            waiting = sockets.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/"


def self_signed(folder: Path, host: str = "127.0.0.1") -> Certificate:
    """Return a self-signed certificate for HOST; skip the test without openssl."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl command to make a certificate with")
    certificate = Certificate(folder / "self-signed.crt", folder / "self-signed.key")
    name = f"subjectAltName={'IP' if host.replace('.', '').isdigit() else 'DNS'}:{host}"
    key: list[str | Path] = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-keyout", certificate.key]
    _openssl(
        "req", "-x509", "-nodes", "-days", "2", *key, "-subj", f"/CN={host}", "-addext", name, "-out", certificate.cert
    )
    return certificate


def expired(folder: Path) -> Certificate:
    """Return a certificate for 127.0.0.1 that expired in 2020."""
    return _valid(folder, "20200101000000Z", "20200201000000Z")


def not_yet_valid(folder: Path) -> Certificate:
    """Return a certificate for 127.0.0.1 that is valid from 2099 on."""
    return _valid(folder, "20990101000000Z", "20990201000000Z")


def _valid(folder: Path, start: str, end: str) -> Certificate:
    """Return a self-signed certificate that is valid between two times; `openssl req` knows days from now only."""
    certificate, request, settings = self_signed(folder), folder / "request.csr", folder / "ca.settings"
    (folder / "ca.index").touch()
    settings.write_text(
        f"[ca]\ndefault_ca = own\n[own]\nnew_certs_dir = {folder}\ndatabase = {folder}/ca.index\nrand_serial = yes\n"
        "default_md = sha256\npolicy = any\n[any]\ncommonName = supplied\n[names]\nsubjectAltName = IP:127.0.0.1\n"
    )
    _openssl("req", "-new", "-key", certificate.key, "-subj", "/CN=127.0.0.1", "-out", request)
    sign: list[str | Path] = [
        "ca",
        "-batch",
        "-notext",
        "-selfsign",
        "-config",
        settings,
        "-extensions",
        "names",
        "-in",
        request,
    ]
    _openssl(*sign, "-startdate", start, "-enddate", end, "-keyfile", certificate.key, "-out", certificate.cert)
    return certificate


def _openssl(*words: str | Path) -> None:
    subprocess.run(["openssl", *words], check=True, capture_output=True, stdin=subprocess.DEVNULL, timeout=60)
