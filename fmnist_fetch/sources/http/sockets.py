"""TCP connections: a name is looked up once for all workers, and its addresses are tried side by side (RFC 8305).

Each stage has a limit of its own, and a thread can end what another thread waits for.
"""

import errno
import http.client
import os
import selectors
import socket
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from itertools import chain, zip_longest
from typing import Any, TypeAlias

Address: TypeAlias = tuple[socket.AddressFamily, socket.SocketKind, int, str, Any]
"""One result of getaddrinfo."""

ATTEMPT_DELAY_S = 0.25
"""How long the connection to one address is waited for before the next one is tried too (RFC 8305, section 5)."""
KEEP_LOOKUP_S = 60.0
MAX_ADDRESSES = 16
GLANCE_S = 0.25
"""How often a wait without a socket looks whether it is still wanted."""


class Lookup:
    """One look-up of a name, in a thread of its own: who waits can leave, and others can join."""

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port
        self._done = threading.Event()
        self._result: list[Address] | Exception = []
        self._ended = float("inf")
        threading.Thread(target=self._run, name=f"fmnist-lookup {host}", daemon=True).start()

    def stale(self, now: float) -> bool:
        """Whether its result says nothing any more: it is old, or a failure."""
        return self._done.is_set() and (isinstance(self._result, Exception) or now > self._ended + KEEP_LOOKUP_S)

    def wait(self, wire: "Wire") -> list[Address]:
        """Return the addresses; raise TimeoutError after WIRE's limit, and what the look-up raised."""
        end = time.monotonic() + wire.timeout_s
        while not self._done.wait(min(GLANCE_S, max(0.0, end - time.monotonic()))):
            wire.check()
            if time.monotonic() >= end:
                raise LookupTimeoutError(errno.ETIMEDOUT, "the look-up of the name takes too long", self._host)
        if isinstance(self._result, Exception):
            raise self._result
        return self._result

    def _run(self) -> None:
        try:
            self._result = addresses(self._host, self._port)
        except Exception as exc:
            self._result = exc
        self._ended = time.monotonic()
        self._done.set()


class LookupTimeoutError(TimeoutError):
    """The look-up of a name took too long."""


class HeadTimeoutError(TimeoutError):
    """The head of an answer began and did not end in time."""


class NoThreadError(OSError):
    """The system starts no further thread."""


class Lookups:
    """The look-ups under way and their results, for all workers of the process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lookups: dict[tuple[str, int], Lookup] = {}

    def resolve(self, host: str, port: int, wire: "Wire") -> list[Address]:
        """Return the addresses of HOST; one that is under way already is joined, not started again."""
        with suppress(OSError):
            # An address needs no look-up.
            return addresses(host, port, socket.AI_NUMERICHOST)
        with self._lock:
            lookup = self._lookups.get((host, port))
            if lookup is None or lookup.stale(time.monotonic()):
                try:
                    lookup = self._lookups[host, port] = Lookup(host, port)
                except RuntimeError as exc:
                    raise NoThreadError(errno.EAGAIN, str(exc)) from exc
        return lookup.wait(wire)


def addresses(host: str, port: int, flags: int = 0) -> list[Address]:
    """Look HOST up; the families take turns, the preferred one first (RFC 8305, section 4)."""
    found = socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM, 0, flags)
    first = [one for one in found if one[0] == found[0][0]]
    others = [one for one in found if one[0] != found[0][0]]
    mixed = (one for one in chain.from_iterable(zip_longest(first, others)) if one is not None)
    return list(dict.fromkeys(mixed))[:MAX_ADDRESSES]


class Wire:
    """The socket that one worker uses, so that another thread can end what waits for it; and its stages."""

    def __init__(self) -> None:
        self.timeout_s = 5.0
        self.stages = 0
        self.requested = False
        """Whether the request under way has been sent, so that its answer is waited for."""
        self._lock = threading.Lock()
        self._sock: socket.socket | None = None
        self._stopped = False

    def opened(self, sock: socket.socket) -> None:
        """Take note of SOCK, which is now in use; raise OSError if nothing is wanted any more."""
        with self._lock:
            self._sock = sock
        self.stages += 1
        try:
            self.check()
        except OSError:
            sock.close()
            raise

    def check(self) -> None:
        """Raise OSError if nothing is wanted any more."""
        if self._stopped:
            raise ConnectionAbortedError(errno.ECONNABORTED, "stopped")

    def stop(self) -> None:
        """End whatever waits for the socket, now and later."""
        with self._lock:
            self._stopped = True
            sock = self._sock
        if sock is not None:
            with suppress(OSError):
                # Not the method of an SSL socket, which takes the TLS state from under the thread that uses it.
                socket.socket.shutdown(sock, socket.SHUT_RDWR)


LOOKUPS = Lookups()


def connect(host: str, port: int, wire: Wire, options: Sequence[Sequence[Any]] = ()) -> socket.socket:
    """Connect to the first address of HOST that answers; each has WIRE's limit to do so.

    Raises:
        LookupTimeoutError, socket.gaierror: If the name is not found.
        OSError: What the last address failed with; TimeoutError if none answered.
    """
    found = LOOKUPS.resolve(host.strip("[]"), port, wire)
    wire.stages += 1
    race = _Race(found, options, wire)
    try:
        return race.run()
    finally:
        race.close()


class _Race:
    """Connections to several addresses of one host, begun one after the other; the first that is there is taken."""

    def __init__(self, found: Sequence[Address], options: Sequence[Sequence[Any]], wire: Wire) -> None:
        self._waiting = list(found)
        self._options = options
        self._wire = wire
        self._selector = selectors.DefaultSelector()
        self._ends: dict[socket.socket, float] = {}
        self._error: OSError = OSError("the look-up gave no address")

    def run(self) -> socket.socket:
        """Return the first connected socket; raise what the last address failed with."""
        turn = time.monotonic()
        while self._waiting or self._ends:
            if self._waiting and (time.monotonic() >= turn or not self._ends):
                self._begin(self._waiting.pop(0))
                turn = time.monotonic() + ATTEMPT_DELAY_S
            if not self._ends:
                continue
            until = min(self._ends.values())
            until = min(until, turn) if self._waiting else until
            self._wire.check()
            for key, _ in self._selector.select(min(max(0.0, until - time.monotonic()), GLANCE_S)):
                if self._succeeded(key.fileobj):
                    return self._taken(key.fileobj)
            for sock in [sock for sock, end in self._ends.items() if time.monotonic() >= end]:
                self._failed(sock, TimeoutError(errno.ETIMEDOUT, "the connection takes too long"))
        raise self._error

    def close(self) -> None:
        """Close all connections that were not taken."""
        for sock in self._ends:
            sock.close()
        self._selector.close()

    def _begin(self, address: Address) -> None:
        family, kind, protocol, _, place = address
        try:
            sock = socket.socket(family, kind, protocol)
        except OSError as exc:
            self._note(exc)
            return
        self._ends[sock] = time.monotonic() + self._wire.timeout_s
        try:
            for option in self._options:
                sock.setsockopt(*option)
            sock.setblocking(False)
            self._selector.register(sock, selectors.EVENT_WRITE)
            code = sock.connect_ex(place)
            if code not in (0, errno.EINPROGRESS, errno.EWOULDBLOCK, errno.EALREADY, errno.EISCONN):
                raise OSError(code, os.strerror(code))
        except OSError as exc:
            self._failed(sock, exc)

    def _succeeded(self, sock: Any) -> bool:
        code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            self._failed(sock, OSError(code, os.strerror(code)))
        return not code

    def _taken(self, sock: Any) -> socket.socket:
        self._selector.unregister(sock)
        del self._ends[sock]
        taken: socket.socket = sock
        taken.settimeout(self._wire.timeout_s)
        return taken

    def _failed(self, sock: socket.socket, error: OSError) -> None:
        with suppress(KeyError, ValueError):
            self._selector.unregister(sock)
        del self._ends[sock]
        sock.close()
        self._wire.stages += 1
        self._note(error)

    def _note(self, error: OSError) -> None:
        # A refusal says more than silence, and a lack of descriptors more than both.
        if not isinstance(self._error, ConnectionRefusedError) or error.errno in (errno.EMFILE, errno.ENFILE):
            self._error = error


class HeadReader:
    """Reads the head of an answer, all of which has to be there in time; its body is read without it.

    Each receive alone may be short of its time-out for ever: a head that comes a byte at a time, or informational
    answers (RFC 9110, section 15.2) without an end.
    """

    MAX_BYTES = 1024 * 1024

    def __init__(self, stored: Any, sock: socket.socket, seconds: float) -> None:
        self.stored = stored
        self._sock = sock
        self._end = time.monotonic() + seconds
        self._left = self.MAX_BYTES

    def readline(self, limit: int = -1) -> bytes:
        """Read a line as a file does; raise TimeoutError when the head's time is over."""
        line = b""
        most = self.MAX_BYTES if limit < 0 else limit
        while len(line) < most and not line.endswith(b"\n"):
            if not (ready := self._wait()):
                break
            more = self.stored.read(min(ready.find(b"\n") + 1 or len(ready), most - len(line)))
            line += more
            self._left -= len(more)
            if self._left < 0:
                raise http.client.HTTPException(f"the head of the answer has more than {self.MAX_BYTES:,} bytes")
            if time.monotonic() > self._end + 0.1 and not line.endswith(b"\n"):
                raise HeadTimeoutError(errno.ETIMEDOUT, "the head of the answer takes too long")
        return line

    def _wait(self) -> bytes:
        """Return what has arrived, without taking it; nothing at the end of the stream."""
        # One more look even if this process was suspended beyond the end.
        self._sock.settimeout(max(self._end - time.monotonic(), 0.05))
        try:
            arrived: bytes = self.stored.peek(1)
        except TimeoutError as exc:
            if self._left < self.MAX_BYTES:
                raise HeadTimeoutError(errno.ETIMEDOUT, "the head of the answer takes too long") from exc
            raise
        return arrived

    def flush(self) -> None:
        """Do nothing, as a file that is read does."""

    def close(self) -> None:
        """Close what is read from."""
        self.stored.close()
