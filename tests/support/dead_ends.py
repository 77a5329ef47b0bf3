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


def expired(folder: Path, host: str = "127.0.0.1") -> Certificate:
    """Return a certificate for HOST that expired yesterday; skip the test without openssl."""
    certificate = self_signed(folder, host)
    request = folder / "expired.csr"
    make = ["req", "-new", "-key", str(certificate.key), "-subj", f"/CN={host}", "-out", str(request)]
    extension = folder / "expired.ext"
    extension.write_text(f"subjectAltName={'IP' if host.replace('.', '').isdigit() else 'DNS'}:{host}\n")
    sign = [
        "x509",
        "-req",
        "-extfile",
        str(extension),
        "-in",
        str(request),
        "-signkey",
        str(certificate.key),
        "-days",
        "-1",
    ]
    for command in (make, [*sign, "-out", str(certificate.cert)]):
        subprocess.run(["openssl", *command], check=True, capture_output=True, stdin=subprocess.DEVNULL, timeout=60)
    return certificate


def self_signed(folder: Path, host: str = "127.0.0.1") -> Certificate:
    """Return a self-signed certificate for HOST; skip the test without openssl."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("no openssl command to make a certificate with")
    certificate = Certificate(folder / "self-signed.crt", folder / "self-signed.key")
    kind = "IP" if host.replace(".", "").isdigit() else "DNS"
    command = [openssl, "req", "-x509", "-nodes", "-newkey", "ec", "-days", "2"]
    command += ["-pkeyopt", "ec_paramgen_curve:prime256v1", "-subj", f"/CN={host}"]
    command += ["-addext", f"subjectAltName={kind}:{host}"]
    command += ["-keyout", str(certificate.key), "-out", str(certificate.cert)]
    subprocess.run(command, check=True, capture_output=True, stdin=subprocess.DEVNULL, timeout=60)
    return certificate


def not_yet_valid(folder: Path, host: str = "127.0.0.1") -> Certificate:
    """Return a certificate for HOST that is valid from 2099 on; skip the test without openssl."""
    certificate = self_signed(folder, host)
    (folder / "ca.index").touch()
    settings = ["[ca]", "default_ca = own", "[own]", f"new_certs_dir = {folder}", f"database = {folder}/ca.index"]
    settings += ["rand_serial = yes", "default_md = sha256", "policy = any", "[any]", "commonName = supplied"]
    (folder / "ca.settings").write_text("\n".join([*settings, "[names]", f"subjectAltName = IP:{host}", ""]))
    request = folder / "not-yet-valid.csr"
    make = ["req", "-new", "-key", str(certificate.key), "-subj", f"/CN={host}", "-out", str(request)]
    sign = ["ca", "-batch", "-notext", "-selfsign", "-config", str(folder / "ca.settings"), "-extensions", "names"]
    sign += ["-startdate", "20990101000000Z", "-enddate", "20990201000000Z", "-keyfile", str(certificate.key)]
    for command in (make, [*sign, "-in", str(request), "-out", str(certificate.cert)]):
        subprocess.run(["openssl", *command], check=True, capture_output=True, stdin=subprocess.DEVNULL, timeout=60)
    return certificate
