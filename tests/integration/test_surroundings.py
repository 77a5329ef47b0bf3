"""Whole runs behind slow name servers, dead addresses, proxies and limits: what succeeds, and what is said."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from pathlib import Path
from socketserver import StreamRequestHandler, ThreadingTCPServer

import pytest

from dead_ends import self_signed
from faults import Mirror, Redirect
from fmnist_fetch.errors import SourceError
from fmnist_fetch.manifest.pieces import Span
from fmnist_fetch.sources.base import Tier
from fmnist_fetch.sources.http.source import HttpSource
from processes import PYTHONPATH, Outcome, Run, command, environment_of, fetch
from worlds import World, small

NAME = "mirror.invalid"


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path, small())


LOOK_UP = """
import pathlib, socket, time
real = socket.getaddrinfo
def look_up(host, *rest):
    if host != {name!r}:
        return real(host, *rest)
    if rest[-1] == socket.AI_NUMERICHOST:
        raise socket.gaierror(socket.EAI_NONAME, "no number")
    with pathlib.Path({asked!r}).open("a+") as file:
        file.write("x")
        if file.tell() < 4:
            raise socket.gaierror(socket.EAI_AGAIN, "try again")
    time.sleep(7)
    return [one for place in ("127.0.0.2", "127.0.0.3", "127.0.0.1") for one in real(place, *rest)]
socket.getaddrinfo = look_up
"""


def test_look_ups_that_fail_or_are_slow_and_dead_addresses_before_the_live_one_only_cost_time(world: World) -> None:
    (world.folder / "sitecustomize.py").write_text(LOOK_UP.format(name=NAME, asked=str(world.folder / "asked")))
    env = {"PYTHONPATH": f"{world.folder}:{PYTHONPATH}"}
    with Mirror(small().files) as mirror:
        outcome = fetch(world, mirror.url.replace("127.0.0.1", NAME), env=env, code=0)
    assert any("its name does not resolve" in verdict for verdict in outcome.verdicts)


def test_the_log_says_once_that_a_redirect_leaves_https(world: World, tmp_path: Path) -> None:
    certificate = self_signed(tmp_path)
    with Mirror(small().files) as plain, Mirror({}, [Redirect(plain.url)], certificate=certificate) as mirror:
        outcome = fetch(world, mirror.url, env={"REQUESTS_CA_BUNDLE": str(certificate.cert)}, code=0)
    notes = [line["note"] for line in outcome.log if "note" in line]
    assert notes == [f"{mirror.url} redirects from https to {plain.url}; the digests verify what comes"]


# SOCKS.


class SocksProxy(ThreadingTCPServer):
    """A SOCKS5 proxy (RFC 1928, 1929) on loopback, to which mirror.invalid is 127.0.0.1."""

    daemon_threads = True

    def __init__(self, login: tuple[bytes, bytes] | None = None, refusal: int = 0) -> None:
        super().__init__(("127.0.0.1", 0), SocksHandler)
        self.connections, self.login, self.refusal = 0, login, refusal
        self.address = f"127.0.0.1:{self.server_address[1]}"
        threading.Thread(target=self.serve_forever, args=(0.05,)).start()

    def __exit__(self, *unused: object) -> None:
        self.shutdown()
        self.server_close()


class SocksHandler(StreamRequestHandler):
    """One connection of a client to the proxy."""

    server: SocksProxy

    def handle(self) -> None:
        with contextlib.suppress(OSError):
            if not self._greet():
                return
            kind = self.rfile.read(4)[3]
            host = socket.inet_ntoa(self.rfile.read(4)) if kind == 1 else self._text().decode()
            (port,) = struct.unpack(">H", self.rfile.read(2))
            self.wfile.write(bytes([5, self.server.refusal, 0, 1, 0, 0, 0, 0, 0, 0]))
            if self.server.refusal:
                return
            self.server.connections += 1
            with socket.create_connection(("127.0.0.1" if host == NAME else host, port)) as target:
                back = threading.Thread(target=_pump, args=(target, self.connection), daemon=True)
                back.start()
                _pump(self.connection, target)
                back.join()

    def _text(self) -> bytes:
        return self.rfile.read(self.rfile.read(1)[0])

    def _greet(self) -> bool:
        methods = self.rfile.read(self.rfile.read(2)[1])
        if self.server.login is None:
            self.wfile.write(b"\5\0")
            return True
        if 2 not in methods:
            self.wfile.write(b"\5\xff")
            return False
        self.wfile.write(b"\5\2")
        self.rfile.read(1)
        accepted = (self._text(), self._text()) == self.server.login
        self.wfile.write(b"\1\0" if accepted else b"\1\1")
        return accepted


def _pump(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)


def through(proxy: SocksProxy, world: World, form: str, **more: str) -> Outcome:
    """Fetch through PROXY, which ALL_PROXY names in this FORM."""
    with Mirror(small().files) as mirror:
        env = {"ALL_PROXY": form.format(proxy.address), "NO_PROXY": "", **more}
        url = mirror.url.replace("127.0.0.1", NAME)
        return fetch(world, url, options=["--patience", "8"], env=env)


@pytest.mark.parametrize("form", ["socks5h://{}", "socks5h://me:s%40cret@{}", "socks://{}/"])
def test_a_socks_proxy_is_used(form: str, world: World) -> None:
    pytest.importorskip("socks")
    with SocksProxy((b"me", b"s@cret") if "@" in form else None) as proxy:
        outcome = through(proxy, world, form)
        assert proxy.connections
    assert outcome.code == 0, outcome.err
    world.assert_complete()


@pytest.mark.parametrize("login", ["", "me:secret@"])
def test_a_socks_proxy_that_wants_another_login_is_named_without_it(login: str, world: World) -> None:
    pytest.importorskip("socks")
    with SocksProxy((b"me", b"other")) as proxy:
        outcome = through(proxy, world, "socks5h://" + login + "{}", FMNIST_OFFLINE="")
    shown = f"socks5h://***@{proxy.address}" if login else f"socks5h://{proxy.address}"
    assert outcome.code == 4
    assert outcome.reasons[0].endswith(f"the proxy {shown} requires a login")
    assert outcome.hint.startswith("Put the login into the proxy's URL: ALL_PROXY=socks5h://")
    assert not world.raw.exists() or not list(world.raw.glob("*.gz"))


def test_what_a_socks_proxy_refuses_is_said_in_its_words(world: World) -> None:
    pytest.importorskip("socks")
    with SocksProxy(refusal=2) as proxy:
        outcome = through(proxy, world, "socks5h://{}")
    assert outcome.code == 4
    assert "gives no connection to it (0x02: Connection not allowed by ruleset)" in outcome.message


# Limits and settings of this machine.


def limited(world: World, url: str, descriptors: int) -> Outcome:
    """Fetch with so many file descriptors at most."""
    words = ["bash", "-c", f'ulimit -n {descriptors}; exec "$0" "$@"', *command(world, [url])]
    with Run(words, world, environment_of(world)) as run:
        return run.wait()


def test_too_few_descriptors_for_one_connection_are_told_at_once(world: World) -> None:
    with Mirror(small().files) as mirror:
        outcome = limited(world, mirror.url, 8)
    assert outcome.code == 5
    # The connection or the part file, whichever is opened last.
    assert "this process may open no more files or connections" in outcome.message
    assert "ulimit -n" in outcome.hint


def test_a_netrc_that_is_no_text_is_ignored(world: World) -> None:
    (world.home / ".netrc").write_bytes(b"\xff\xfe\x80machine")
    with Mirror(small().files) as mirror:
        fetch(world, mirror.url, code=0)


@pytest.mark.parametrize("secure", [False, True])
def test_a_wait_behind_a_socks_proxy_is_ended_from_another_thread(
    secure: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("socks")
    # One that says nothing to a request, and nothing to the greeting of TLS.
    with SocksProxy() as proxy, socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("ALL_PROXY", f"socks5h://{proxy.address}")
        url = f"http{'s' if secure else ''}://{NAME}:{silent.getsockname()[1]}/"
        connection = HttpSource(url, Tier.USER).open()
        connection.timeout_s = 60.0
        stopper = threading.Timer(0.5, connection.stop)
        stopper.start()
        began = time.monotonic()
        with pytest.raises(SourceError):
            connection.read(small().manifest.files[0], Span(0, 100))
        assert time.monotonic() - began < 10
        stopper.join()
        connection.close()
