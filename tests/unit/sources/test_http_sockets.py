"""Look-ups that workers share, addresses that are tried in parallel, and waits that another thread ends."""

from __future__ import annotations

import contextlib
import http.client
import io
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from faults import blackhole, refusing
from fmnist_fetch.sources.http import sockets
from fmnist_fetch.sources.http.sockets import (
    HeadStream,
    HeadTimeoutError,
    Lookups,
    LookupTimeoutError,
    NoThreadError,
    Wire,
    connect,
)

NAME = "mirror.invalid"


def place(host: str, port: int, family: socket.AddressFamily = socket.AF_INET) -> Any:
    """Return one result of getaddrinfo."""
    return family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (host, port)


class Names:
    """A look-up of names by the test."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.found: list[Any] | Exception = []
        self.asked = 0
        self.ready = threading.Event()
        self.ready.set()
        self._real = socket.getaddrinfo
        monkeypatch.setattr(socket, "getaddrinfo", self.look_up)
        monkeypatch.setattr(sockets, "LOOKUPS", Lookups())

    def look_up(self, host: str, port: int, *settings: Any) -> Any:
        if host != NAME:
            return self._real(host, port, *settings)
        if settings[-1] == socket.AI_NUMERICHOST:
            raise socket.gaierror(socket.EAI_NONAME, "no number")
        self.asked += 1
        self.ready.wait(30)
        if isinstance(self.found, Exception):
            raise self.found
        return self.found


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Names:
    return Names(monkeypatch)


@pytest.fixture
def wire() -> Wire:
    wire = Wire()
    wire.timeout_s = 20.0
    return wire


@contextlib.contextmanager
def listening() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def port_of(url: str) -> int:
    return int(url.rstrip("/").rpartition(":")[2])


def test_dead_addresses_before_the_live_one_cost_a_moment_each(names: Names, wire: Wire) -> None:
    with blackhole() as one, blackhole() as two, listening() as port:
        names.found = [place("127.0.0.1", port_of(url)) for url in (one, two)] + [place("127.0.0.1", port)]
        # Each of the dead ones alone would take all of the time.
        with connect(NAME, 80, wire) as sock:
            assert sock.getpeername()[1] == port
    assert wire.stages >= 1


def test_an_address_that_refuses_gives_way_to_the_next_at_once(names: Names, wire: Wire) -> None:
    with refusing() as url, listening() as port:
        names.found = [place("127.0.0.1", port_of(url)), place("127.0.0.1", port)]
        with connect(NAME, 80, wire) as sock:
            assert sock.getpeername()[1] == port


def test_each_silent_address_has_the_whole_limit(names: Names, wire: Wire) -> None:
    wire.timeout_s = 0.1
    with blackhole() as one, blackhole() as two:
        names.found = [place("127.0.0.1", port_of(url)) for url in (one, two)]
        with pytest.raises(TimeoutError):
            connect(NAME, 80, wire)
    # The look-up, and each of the addresses.
    assert wire.stages == 3


def test_a_refused_address_is_reported_rather_than_a_silent_one(names: Names, wire: Wire) -> None:
    wire.timeout_s = 0.1
    with refusing() as one, blackhole() as two:
        names.found = [place("127.0.0.1", port_of(url)) for url in (one, two)]
        with pytest.raises(ConnectionRefusedError):
            connect(NAME, 80, wire)


def test_no_socket_is_left_open(names: Names, wire: Wire, recwarn: pytest.WarningsRecorder) -> None:
    with blackhole() as one, listening() as port:
        names.found = [place("127.0.0.1", port_of(one)), place("127.0.0.1", port)]
        connect(NAME, 80, wire).close()
    assert not [warning for warning in recwarn if issubclass(warning.category, ResourceWarning)]


def test_the_families_of_addresses_take_turns(names: Names) -> None:
    six = [place(f"::{n}", 1, socket.AF_INET6) for n in range(1, 4)]
    four = [place(f"127.0.0.{n}", 1) for n in range(1, 3)]
    names.found = [*six, *four]
    assert sockets.addresses(NAME, 80) == [six[0], four[0], six[1], four[1], six[2]]


def test_a_look_up_that_is_under_way_is_joined_and_its_result_is_kept(names: Names, wire: Wire) -> None:
    lookups, short = Lookups(), Wire()
    short.timeout_s = 0.05
    names.found = [place("127.0.0.1", 1)]
    names.ready.clear()
    with pytest.raises(LookupTimeoutError):
        lookups.resolve(NAME, 80, short)
    names.ready.set()
    assert lookups.resolve(NAME, 80, wire) == lookups.resolve(NAME, 80, wire) == names.found
    assert names.asked == 1


def test_a_wait_for_a_look_up_is_ended_from_another_thread(names: Names, wire: Wire) -> None:
    names.ready.clear()
    stopper = threading.Timer(0.1, wire.stop)
    stopper.start()
    with pytest.raises(ConnectionAbortedError):
        Lookups().resolve(NAME, 80, wire)
    names.ready.set()
    stopper.join()


def test_a_look_up_that_failed_is_begun_again(names: Names, wire: Wire) -> None:
    lookups = Lookups()
    names.found = socket.gaierror(socket.EAI_AGAIN, "later")
    with pytest.raises(socket.gaierror):
        lookups.resolve(NAME, 80, wire)
    names.found = [place("127.0.0.1", 1)]
    assert lookups.resolve(NAME, 80, wire) == names.found


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_an_address_is_not_looked_up(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_thread(_thread: threading.Thread) -> None:
        raise AssertionError("a thread was started")

    monkeypatch.setattr(threading.Thread, "start", no_thread)
    assert Lookups().resolve(host, 80, Wire())[0][4][0] == host


@pytest.mark.usefixtures("names")
def test_a_thread_that_cannot_be_started_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_thread(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", no_thread)
    with pytest.raises(NoThreadError):
        Lookups().resolve(NAME, 80, Wire())


def test_a_wire_that_was_stopped_takes_no_socket(wire: Wire) -> None:
    wire.stop()
    one, other = socket.socketpair()
    with other, pytest.raises(ConnectionAbortedError):
        wire.opened(one)
    assert one.fileno() == -1


# The head of an answer.


def head(sock: socket.socket, seconds: float = 20.0) -> HeadStream:
    return HeadStream(sock.makefile("rb", buffering=0), sock, seconds)


def test_a_head_is_read_line_by_line_and_the_body_is_left() -> None:
    one, other = socket.socketpair()
    with one, other, head(one) as stream, io.BufferedReader(stream) as stored:
        other.sendall(b"HTTP/1.1 200 OK\r\nA: 1\r\n\r\nbody")
        other.close()
        assert [stored.readline(100) for _ in range(3)] == [b"HTTP/1.1 200 OK\r\n", b"A: 1\r\n", b"\r\n"]
        stream.in_head = False
        assert stored.read() == b"body"


@pytest.mark.parametrize("sent", [b"", b"x"])
def test_a_head_has_a_time_in_all_and_one_that_began_is_told_from_silence(sent: bytes) -> None:
    one, other = socket.socketpair()
    done = threading.Event()

    def drip() -> None:
        while not done.wait(0.01):
            other.send(sent)

    thread = threading.Thread(target=drip)
    with one, other, head(one, 0.1) as stream:
        thread.start()
        with pytest.raises(TimeoutError) as caught:
            io.BufferedReader(stream).readline()
        done.set()
        thread.join()
    assert isinstance(caught.value, HeadTimeoutError) == bool(sent)


def test_a_head_that_arrived_while_the_process_was_suspended_is_read() -> None:
    one, other = socket.socketpair()
    with one, other, head(one, -100.0) as stream:
        other.sendall(b"HTTP/1.1 200 OK\r\n")
        assert io.BufferedReader(stream).readline() == b"HTTP/1.1 200 OK\r\n"


def test_a_head_without_an_end_is_no_longer_than_its_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets, "MAX_HEAD_BYTES", 2000)
    one, other = socket.socketpair()
    with one, other, head(one) as stream:
        other.sendall(b"HTTP/1.1 100 Continue\r\n\r\n" * 1000)
        with pytest.raises(http.client.HTTPException, match="the head of the answer has more than"):
            list(iter(io.BufferedReader(stream, 100).readline, b""))
