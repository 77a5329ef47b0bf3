"""The server under many clients, and under clients that leave, send nothing, read nothing or send invalid requests."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from lan_server import Server, until
from samples import Sample, disk_of, fill, make

pytest.importorskip("aiohttp", reason="aiohttp is not installed: run make serve first")

from fmnist_fetch.commands.serve import connections, handler

IMAGES = "train-images-idx.gz"
RESET = struct.pack("ii", 1, 0)
Start = Callable[..., Server]


@pytest.fixture(scope="module")
def large() -> Sample:
    """Return a dataset whose largest file does not fit into the buffers of a socket."""
    return make(shape=(512, 512), counts=(100, 1), length=4_000_000)


@pytest.fixture(scope="module")
def complete(large: Sample, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a root with the published files, which the tests do not change."""
    root = tmp_path_factory.mktemp("complete")
    fill(large.layout(root).raw, large.files)
    return root


@pytest.fixture
def start(large: Sample, complete: Path, tmp_path: Path) -> Iterator[Start]:
    """Run a server on a root, by default the complete one."""
    with ExitStack() as stack:

        def run(root: Path = complete, *, code: str = "", descriptors: int | None = None) -> Server:
            return stack.enter_context(Server(root, large.write(tmp_path), code=code, descriptors=descriptors))

        yield run


def request(path: str = f"/{IMAGES}") -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: here\r\n\r\n".encode()


def closed(client: socket.socket) -> bool:
    """Return whether the server has closed the connection, on which nothing was sent."""
    client.settimeout(0.01)
    try:
        return client.recv(1) == b""
    except TimeoutError:
        return False
    except OSError:
        return True


def test_eleven_hundred_idle_connections_do_not_keep_others_from_being_served(large: Sample, start: Start) -> None:
    # Here no connection is closed for its age.
    code = "from fmnist_fetch.commands.serve import connections as c; c.IDLE_TIMEOUT_S = 1e9"
    server = start(descriptors=1024, code=code)
    with ExitStack() as stack:
        for _ in range(1100):
            stack.enter_context(server.connect())
        assert server.ask(f"/{IMAGES}").body == large.files[IMAGES]
        assert server.ask("/").status == 200


def test_accepting_pauses_with_one_line_where_every_connection_is_busy(start: Start) -> None:
    # This number of descriptors allows 8 connections.
    server = start(descriptors=connections.RESERVED_DESCRIPTORS + 8 * connections.DESCRIPTORS_PER_CONNECTION)
    with ExitStack() as stack:
        busy = [stack.enter_context(server.connect()) for _ in range(8)]
        for client in busy:
            client.sendall(request())
            assert client.recv(1000).startswith(b"HTTP/1.1 200 OK")
        waiting = stack.enter_context(server.connect())
        waiting.sendall(request("/"))
        assert server.line_with("note: 8 connections are open")
        assert not closed(waiting)
        busy[0].close()
        waiting.settimeout(20)
        assert waiting.recv(1000).startswith(b"HTTP/1.1 200 OK")
    assert server.end() == (0, "")
    assert "note:" not in server.rest


def test_the_soft_limit_of_open_files_is_raised_to_the_hard_one(start: Start) -> None:
    server = start(code="import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (100, 200))")
    limits = Path(f"/proc/{server.process.pid}/limits")
    if not limits.exists():
        pytest.skip("this system has no /proc")
    row = next(line for line in limits.read_text().splitlines() if line.startswith("Max open files"))
    assert row.split()[3:5] == ["200", "200"]


def test_idle_connections_and_slow_heads_are_closed(start: Start) -> None:
    server = start(code="from fmnist_fetch.commands.serve import connections as c; c.IDLE_TIMEOUT_S = 1.0")
    with server.connect() as idle, server.connect() as slow, server.connect() as used:
        used.sendall(request("/absent"))
        assert used.recv(1000).startswith(b"HTTP/1.1 404")
        head = iter(request())

        def drips() -> bool:
            with suppress(OSError):
                slow.sendall(bytes([next(head)]))
            return closed(slow)

        until(drips)
        until(lambda: closed(idle))
        until(lambda: closed(used))


def test_a_client_that_reads_nothing_is_disconnected(start: Start) -> None:
    server = start(code="from fmnist_fetch.commands.serve import handler as h; h.SEND_TIMEOUT_S = 0.5")
    with server.connect() as client:
        client.sendall(request())
        until(lambda: server.connections() == 1)
        until(lambda: server.connections() == 0)


def test_clients_that_leave_in_the_middle_of_a_download_print_nothing(large: Sample, start: Start) -> None:
    server = start()
    for number in range(12):
        with server.connect() as client:
            client.sendall(request() * (number % 3 + 1))
            assert client.recv(1000).startswith(b"HTTP/1.1 200 OK")
            if number % 2:  # a reset instead of an orderly end
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    assert server.ask(f"/{IMAGES}").body == large.files[IMAGES]
    assert server.end() == (0, "")
    assert "error" not in server.rest


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500),
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 5000 + b"\r\n",
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Encoding: gzip\r\nContent-Length: 9\r\n\r\nnot a gzip",
    ],
)
def test_nonsense_is_answered_or_closed_and_prints_nothing(garbage: bytes, large: Sample, start: Start) -> None:
    server = start()
    with server.connect() as client, suppress(OSError):
        client.sendall(garbage)
        client.shutdown(socket.SHUT_WR)
        while client.recv(65536):
            pass
    assert server.ask(f"/{IMAGES}").body == large.files[IMAGES]


def test_the_connection_is_closed_where_a_file_becomes_shorter_while_it_is_sent(
    large: Sample, tmp_path: Path, start: Start
) -> None:
    path = fill(large.layout(tmp_path).raw, large.files) / IMAGES
    server = start(tmp_path)
    with server.connect() as client:
        client.sendall(request())
        received = client.recv(65536)
        with path.open("r+b") as file:
            file.truncate(1000)
        with suppress(ConnectionResetError):
            while data := client.recv(65536):
                received += data
    head, _, body = received.partition(b"\r\n\r\n")
    assert f"Content-Length: {len(large.files[IMAGES])}".encode() in head
    assert len(body) < len(large.files[IMAGES])


def test_a_client_that_waits_for_a_file_to_be_hashed_keeps_no_other_one_waiting(
    large: Sample, tmp_path: Path, start: Start
) -> None:
    slow = (
        "import threading, fmnist_fetch.commands.serve.files as f; inspect = f.ServedFile.inspect; seen = set()\n"
        "def hang(self):\n"
        "    inspect(self)\n"
        "    if self.file.name.startswith('train-images') and self in seen: threading.Event().wait()\n"
        "    seen.add(self)\n"
        "f.ServedFile.inspect = hang"
    )
    path = fill(large.layout(tmp_path).raw, large.files) / IMAGES
    server = start(tmp_path, code=slow)
    assert server.ask(f"/{IMAGES}").status == 200
    path.write_bytes(large.files[IMAGES])  # the next request must hash it again, which never ends here
    with ExitStack() as stack:
        for _ in range(40):
            client = stack.enter_context(server.connect())
            client.sendall(request())
        assert server.ask("/test-labels-idx.gz").body == large.files["test-labels-idx.gz"]
    server.process.kill()
    server.process.communicate()


def test_an_unexpected_error_is_two_lines_and_the_server_continues(complete: Path, start: Start) -> None:
    broken = (
        "import fmnist_fetch.commands.serve.handler as h\n"
        "def fail(*_, **__): raise LookupError('no such thing')\n"
        "h.page = fail"
    )
    server, before = start(code=broken), disk_of(complete)
    for _ in range(3):
        assert server.ask("/").status == 500
    assert server.ask("/test-labels-idx.gz").status == 200
    code, errors = server.end()
    assert code == 0
    assert [line.partition(" ")[0] for line in errors.splitlines()] == ["error:", "hint:"]
    assert "LookupError: no such thing" in errors
    assert disk_of(complete) == before


def test_a_server_that_cannot_accept_any_more_ends_with_an_error(start: Start) -> None:
    broken = (
        "import fmnist_fetch.commands.serve.connections as c\n"
        "async def fail(self): raise LookupError('no such thing')\n"
        "c.Connections.close_idle = fail"
    )
    server = start(code=broken)
    errors = server.process.communicate(timeout=20)[1]
    assert "FetchError: the server stopped: LookupError: no such thing" in errors  # the command line prints two lines


def test_slow_clients_are_not_taken_for_dead_ones() -> None:
    assert (
        handler.SEND_BYTES / handler.SEND_TIMEOUT_S < 5_000
    )  # bytes per second: a slow network is no reason to be cut
    assert connections.MIN_IDLE_BEFORE_EVICTION_S < connections.IDLE_TIMEOUT_S
