"""A real HTTP/1.1 mirror on sockets, with faults on request and a journal of all requests."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import ssl
import struct
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple, Self

from queues import unread, unsent
from wire import BLOCK, KIB, LOGIN, Ending, Fault, Reply, Request, Span, healthy

GONE = select.POLLRDHUP | select.POLLHUP | select.POLLERR | select.POLLNVAL
ENDED = {Ending.KEEP: "complete", Ending.CLOSE: "closed", Ending.RESET: "reset", Ending.STALL: "stalled"}


class Certificate(NamedTuple):
    """A certificate and its key, as PEM files."""

    cert: Path
    key: Path


class ClientGoneError(OSError):
    """The client has left, or the mirror shuts down."""


@dataclass
class Exchange:
    """One request and its answer in the journal."""

    number: int
    method: str
    name: str
    span: Span | None  # the requested range, half-open; None without a range
    headers: Mapping[str, str]
    when: float  # seconds since the mirror was started
    connection: int
    status: int = 0  # 0: no status line was sent
    sent: int = 0  # bytes of the body, without the framing of chunks
    ending: str = "under way"  # complete, closed, reset, stalled; gone: the client or the mirror ended it


class Connection:
    """One accepted connection and the thread that serves it."""

    def __init__(self, mirror: Mirror, sock: socket.socket, number: int) -> None:
        self.mirror, self.sock, self.number = mirror, sock, number
        self._own, self._peer = sock.getsockname()[:2], sock.getpeername()[:2]
        self.passed = 0
        self.exchange: Exchange | None = None
        self.concluding = False  # the answer was sent, and the journal does not say so yet
        name = f"mirror-{number}"
        self.thread = threading.Thread(target=self._run, name=name, daemon=True)

    @property
    def left(self) -> bool:
        """Whether the client has closed the connection."""
        poll = select.poll()
        with contextlib.suppress(OSError, ValueError):
            poll.register(self.sock, select.POLLRDHUP)
            return any(event & GONE for _, event in poll.poll(0))
        return True

    def hang_up(self) -> None:
        """Wake the thread of this connection, whatever it waits for."""
        with contextlib.suppress(OSError):
            # Not SSLSocket.shutdown: it removes the TLS state that the other thread uses.
            socket.socket.shutdown(self.sock, socket.SHUT_RDWR)

    def _run(self) -> None:
        try:
            self._answer_requests()
        except (OSError, ValueError, AttributeError):
            # The client left, or TLS failed; ssl raises ValueError and AttributeError for that, too.
            pass
        finally:
            self._correct_count()
            self.sock.close()
            self.mirror.forget(self)

    def _answer_requests(self) -> None:
        """Answer requests until one side closes the connection."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BLOCK)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._shake_hands()
        buffer = b""
        while True:
            while b"\r\n\r\n" not in buffer:
                arrived = self.sock.recv(BLOCK)
                if not arrived or len(buffer) > 64 * KIB:
                    return
                buffer += arrived
            head, _, buffer = buffer.partition(b"\r\n\r\n")
            if not self._serve(head.decode("latin-1")):
                return

    def _shake_hands(self) -> None:
        if self.mirror.context is None:
            return
        if self.mirror.broken_handshakes:
            self.mirror.broken_handshakes -= 1
            self.sock.recv(BLOCK)
            raise ClientGoneError
        wrapped = self.mirror.context.wrap_socket(self.sock, server_side=True, do_handshake_on_connect=False)
        self.sock = wrapped
        # hang_up could not reach the socket between the two lines above.
        if self.mirror.closing:
            raise ClientGoneError
        wrapped.do_handshake()

    def _serve(self, head: str) -> bool:
        """Answer one request; return whether the connection can take another."""
        line, *rest = head.split("\r\n")
        method, _, tail = line.partition(" ")
        target, _, version = tail.partition(" ")
        fields = (name_value.partition(":") for name_value in rest)
        headers = {name.strip().lower(): value.strip() for name, _, value in fields}
        request = self.mirror.note(self, Request(method, target, headers))
        reply = self.mirror.reply(request)
        if version != "HTTP/1.1" or headers.get("connection", "").lower() == "close":
            reply = replace(reply, then=Ending.CLOSE) if reply.then is Ending.KEEP else reply
            reply = reply.header("Connection", "close")
        exchange = self.exchange
        assert exchange is not None
        self._transmit(reply, exchange)
        if reply.ending is not Ending.KEEP:
            self._finish(reply.ending, exchange)
        self._conclude(exchange, ENDED[reply.ending])
        return reply.ending is Ending.KEEP

    def _conclude(self, exchange: Exchange, ending: str) -> None:
        exchange.ending = ending
        self.concluding = False

    def _transmit(self, reply: Reply, exchange: Exchange) -> None:
        """Send an answer up to its ending."""
        self.pause(reply.delay)
        self.concluding = not reply.length
        if reply.mute:
            return
        exchange.status = reply.status
        self._send_head(reply.head(), reply.head_rate)
        if not reply.length:
            return
        for block in reply.blocks():
            if reply.buckets:
                due = max(bucket.due(len(block)) for bucket in reply.buckets)
                self.pause(due - time.monotonic())
            while reply.lockstep and unread(self._peer, self._own):
                self.pause(0.001)
            self.concluding = exchange.sent + len(block) == reply.length
            self._send_block(block, *reply.frame(block))
        if reply.framing == "chunked" and reply.ending is reply.then:
            self.sock.sendall(b"0\r\n\r\n")

    def _send_head(self, head: bytes, rate: float) -> None:
        if not rate:
            self.sock.sendall(head)
            return
        for index in range(len(head)):
            self.sock.sendall(head[index : index + 1])
            self.pause(1 / rate)

    def _send_block(self, block: bytes, before: bytes, after: bytes) -> None:
        """Send a block of the body; it is counted first, since the client may act on it before `send` returns."""
        self.mirror.count(self, len(block))
        wire, done = before + block + after, 0
        try:
            while done < len(wire):
                done += self.sock.send(memoryview(wire)[done:])
        except (OSError, ValueError, AttributeError):
            gone = min(max(done - len(before), 0), len(block))
            self.mirror.count(self, gone - len(block))
            raise

    def pause(self, seconds: float) -> None:
        """Wait while the client is connected and the mirror runs."""
        end = time.monotonic() + seconds
        poll = select.poll()
        poll.register(self.mirror.alarm, select.POLLIN)
        poll.register(self.sock, select.POLLRDHUP)
        while (left := end - time.monotonic()) > 0:
            # A poll counts whole milliseconds: sleep the rest.
            if poll.poll(int(min(left, 3600) * 1000)):
                raise ClientGoneError
            if left < 0.001:
                time.sleep(left)

    def _finish(self, ending: Ending, exchange: Exchange) -> None:
        """End the connection as the answer demands, after the kernel of the client has all that was sent."""
        if ending is Ending.STALL:
            self._conclude(exchange, ENDED[ending])
            self.pause(float("inf"))
        patience = time.monotonic() + 10
        while unsent(self.sock) and time.monotonic() < patience:
            self.pause(0.001)
        if ending is Ending.RESET:
            self._correct_count()
            self.reset_on_close()
        self._conclude(exchange, ENDED[ending])
        if ending is Ending.CLOSE:
            self.hang_up()

    def reset_on_close(self) -> None:
        """Make the next close a reset."""
        with contextlib.suppress(OSError):
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def _correct_count(self) -> None:
        """Subtract what was counted and never left this kernel."""
        exchange, self.exchange = self.exchange, None
        if exchange is not None:
            self.mirror.count(self, -min(unsent(self.sock), exchange.sent), exchange)
            if exchange.ending == "under way":
                self._conclude(exchange, "gone")


def _listen(host: str) -> tuple[socket.socket, int]:
    """Return a listener on a free port, bound by number: `down` would lose a port that the kernel chose."""
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        holder.bind((host, 0))
        port = int(holder.getsockname()[1])
        return socket.create_server((host, port), backlog=128, reuse_port=True), port


class Mirror:
    """A mirror of FILES (name: bytes) with FAULTS, for a `with` block.

    Files and faults may be changed while it runs; they apply from the next request on.
    """

    def __init__(
        self,
        files: Mapping[str, bytes],
        faults: Sequence[Fault] = (),
        *,
        certificate: Certificate | None = None,
        host: str = "127.0.0.1",
    ) -> None:
        self.files, self.faults, self.host = dict(files), list(faults), host
        self.context: ssl.SSLContext | None = None
        if certificate is not None:
            self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.context.load_cert_chain(certificate.cert, certificate.key)
        self.broken_handshakes = 0  # how many more TLS connections are closed in their handshake
        self.closing = self._away = False
        self._lock = threading.Lock()
        self._live: dict[int, Connection] = {}
        self._journal: list[Exchange] = []
        self._turns: dict[str, int] = {}
        self._accepted = self._served = self._number = 0

    def __enter__(self) -> Self:
        self.alarm, self._bell = os.pipe()
        self._listener, self._port = _listen(self.host)
        self._began = time.monotonic()
        self._acceptor = threading.Thread(target=self._accept, name="mirror-accept", daemon=True)
        self._acceptor.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *unused: object) -> None:
        self.closing = True
        os.write(self._bell, b"!")
        self._acceptor.join()
        self._listener.close()
        self.drop()
        threads = [connection.thread for connection in self._connections()]
        for thread in threads:
            thread.join(5)
        os.close(self._bell)
        os.close(self.alarm)
        if kind is None and any(thread.is_alive() for thread in threads):
            raise RuntimeError("a thread of the mirror is still running")

    @property
    def url(self) -> str:
        """The base URL, to which the name of a file is appended."""
        return f"{'https' if self.context else 'http'}://{self.host}:{self._port}/"

    @property
    def connections(self) -> int:
        """The number of accepted connections."""
        return self._accepted

    @property
    def served(self) -> int:
        """The number of bytes of bodies that were sent, of wrong answers too."""
        self._settle()
        return self._served

    @property
    def journal(self) -> list[Exchange]:
        """A copy of all requests so far."""
        self._settle()
        with self._lock:
            return [replace(exchange) for exchange in self._journal]

    @property
    def asked(self) -> list[Span]:
        """The requested spans in order; the whole file is one span."""
        return [
            line.span or Span(0, self.size(line.name))
            for line in self.journal
            if line.method == "GET" and line.name != LOGIN
        ]

    def of(self, name: str) -> list[Exchange]:
        """Return the journal of one file."""
        return [line for line in self.journal if line.name == name]

    def drop(self) -> None:
        """Cut every open connection."""
        for connection in self._connections():
            connection.hang_up()

    @contextlib.contextmanager
    def down(self) -> Iterator[None]:
        """Refuse and cut all connections within the block; after it the same address answers again."""
        with self._lock:
            self._away = True
        # On Linux a listener that is shut down refuses, keeps its port, and can listen again.
        self._listener.shutdown(socket.SHUT_RDWR)
        self.drop()
        try:
            yield
        finally:
            self._listener.listen(128)
            self._away = False

    def note(self, connection: Connection, request: Request) -> Request:
        """Add a request to the journal; return it with the state of the server."""
        older = [other for other in self._connections() if other.number < connection.number]
        crowd = sum(not other.left for other in older)
        with self._lock:
            turn = self._turns.get(request.name, 0)
            known = replace(
                request,
                number=self._number,
                turn=turn,
                when=time.monotonic() - self._began,
                served=self._served,
                connection=connection.number,
                passed=connection.passed,
                crowd=crowd,
            )
            self._turns[request.name] = turn + 1
            # The login page is the target of a redirect; `First` does not count it.
            self._number += request.name != LOGIN
            connection.exchange = Exchange(
                number=known.number,
                method=known.method,
                name=known.name,
                span=known.wanted(self.size(known.name)),
                headers=known.headers,
                when=known.when,
                connection=known.connection,
            )
            self._journal.append(connection.exchange)
        return known

    def reply(self, request: Request) -> Reply:
        """Return the answer to a request, with the faults that apply."""
        faults = [one for fault in self.faults for one in fault.picked(request)]
        if request.name == LOGIN:
            faults = []
        data = self.files.get(request.name)
        if data is not None:
            for fault in faults:
                data = fault.content(data)
        reply = healthy(request, data, faults)
        for fault in faults:
            reply = fault.reply(reply)
        return reply

    def count(self, connection: Connection, size: int, exchange: Exchange | None = None) -> None:
        """Add SIZE bytes of a body to all counters; SIZE may be negative."""
        exchange = exchange or connection.exchange
        assert exchange is not None
        with self._lock:
            self._served += size
            connection.passed += size
            exchange.sent += size

    def forget(self, connection: Connection) -> None:
        """Remove a connection whose thread has ended."""
        with self._lock:
            del self._live[connection.number]

    def size(self, name: str) -> int:
        """Return the size of the file NAME."""
        return len(self.files[name]) if name in self.files else sys.maxsize

    def _connections(self) -> list[Connection]:
        with self._lock:
            return list(self._live.values())

    def _settle(self) -> None:
        """Wait until the journal has what clients know already: they have the whole answer, or they have left."""
        end = time.monotonic() + 1
        while time.monotonic() < end:
            if not any(one.concluding or one.left for one in self._connections()):
                return
            time.sleep(0.001)

    def _accept(self) -> None:
        """Accept connections until the mirror is closed."""
        poll = select.poll()
        poll.register(self.alarm, select.POLLIN)
        poll.register(self._listener, select.POLLIN)
        while not self.closing:
            poll.poll()
            try:
                # Blocking, it would wait for the next client if this one left between poll and accept.
                self._listener.setblocking(False)
                sock, _ = self._listener.accept()
                sock.setblocking(True)
                connection = Connection(self, sock, self._accepted)
            except OSError:
                # The client has left, or the mirror is down.
                time.sleep(0.002)
                continue
            self._start(connection)

    def _start(self, connection: Connection) -> None:
        with self._lock:
            if self.closing or self._away:
                connection.sock.close()
                return
            self._accepted += 1
            self._live[connection.number] = connection
            connection.thread.start()
