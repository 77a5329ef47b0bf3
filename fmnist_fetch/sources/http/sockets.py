"""TCP connections: a name is looked up once for all workers, and its addresses are tried side by side (RFC 8305).

Each stage has a limit of its own, and a thread can end what another thread waits for.
"""

import errno
import http.client
import io
import os
import selectors
import socket
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from itertools import chain, zip_longest
from typing import Any, TypeAlias

from fmnist_fetch.sources.base import STAGE_TIMEOUT_S

Address: TypeAlias = tuple[socket.AddressFamily, socket.SocketKind, int, str, Any]
"""One result of getaddrinfo."""

ATTEMPT_DELAY_S = 0.25
"""How long the connection to one address is waited for before the next one is tried too (RFC 8305, section 5)."""
KEEP_LOOKUP_S = 60.0
MAX_ADDRESSES = 16
GLANCE_S = 0.25
"""How often a wait for something else than bytes looks whether it is still wanted."""
MAX_HEAD_BYTES = 1024 * 1024
_UNDER_WAY = (0, errno.EINPROGRESS, errno.EWOULDBLOCK, errno.EALREADY, errno.EISCONN)


class LookupTimeoutError(TimeoutError):
    """The look-up of a name took too long."""


class HeadTimeoutError(TimeoutError):
    """The head of an answer began and did not end in time."""


class NoThreadError(OSError):
    """The system starts no further thread."""


class Wire:
    """The socket that one worker uses, so that another thread can end what waits for it; and its stages."""

    def __init__(self) -> None:
        self.timeout_s = STAGE_TIMEOUT_S
        self.stages = 0
        self.stopped = False
        self._sock: socket.socket | None = None

    def opened(self, sock: socket.socket) -> None:
        """Take note of SOCK, which is now in use; raise OSError if nothing is wanted any more."""
        # In this order, and the other way round in `stop`: one of the two sees what the other one did.
        self._sock = sock
        self.stages += 1
        try:
            self.check()
        except OSError:
            sock.close()
            raise

    def check(self) -> None:
        """Raise OSError if nothing is wanted any more."""
        if self.stopped:
            raise ConnectionAbortedError(errno.ECONNABORTED, "stopped")

    def stop(self) -> None:
        """End whatever waits for the socket, now and later."""
        self.stopped = True
        if (sock := self._sock) is not None:
            with suppress(OSError):
                # Not the method of an SSL socket, which takes the TLS state from under the thread that uses it.
                socket.socket.shutdown(sock, socket.SHUT_RDWR)


class _Lookup(threading.Thread):
    """One look-up of a name: who waits can leave, and others can join."""

    def __init__(self, host: str, port: int) -> None:
        super().__init__(name=f"fmnist-lookup {host}", daemon=True)
        self._place = host, port
        self._began = time.monotonic()
        self._result: list[Address] | Exception = []
        self.start()

    def run(self) -> None:
        """Look the name up."""
        try:
            self._result = addresses(*self._place)
        except Exception as exc:
            self._result = exc

    @property
    def stale(self) -> bool:
        """Whether its result says nothing any more: it is old, or a failure."""
        old = time.monotonic() > self._began + KEEP_LOOKUP_S
        return not self.is_alive() and (old or isinstance(self._result, Exception))

    def wait(self, wire: Wire) -> list[Address]:
        """Return the addresses; raise LookupTimeoutError after WIRE's limit, and what the look-up raised."""
        end = time.monotonic() + wire.timeout_s
        while self.is_alive():
            if (left := end - time.monotonic()) <= 0:
                raise LookupTimeoutError(errno.ETIMEDOUT, "the look-up of the name takes too long", self._place[0])
            self.join(min(GLANCE_S, left))
            wire.check()
        if isinstance(self._result, Exception):
            raise self._result
        return self._result


class Lookups:
    """The look-ups under way and their results, for all workers of the process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lookups: dict[tuple[str, int], _Lookup] = {}

    def resolve(self, host: str, port: int, wire: Wire) -> list[Address]:
        """Return the addresses of HOST; one that is under way already is joined, not started again."""
        with suppress(OSError):
            # An address needs no look-up.
            return addresses(host, port, socket.AI_NUMERICHOST)
        with self._lock:
            lookup = self._lookups.get((host, port))
            if lookup is None or lookup.stale:
                try:
                    lookup = self._lookups[host, port] = _Lookup(host, port)
                except RuntimeError as exc:
                    raise NoThreadError(errno.EAGAIN, str(exc)) from exc
        return lookup.wait(wire)


LOOKUPS = Lookups()


def addresses(host: str, port: int, flags: int = 0) -> list[Address]:
    """Look HOST up; the families take turns, the preferred one first (RFC 8305, section 4)."""
    found = socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM, 0, flags)
    first = [one for one in found if one[0] == found[0][0]]
    others = [one for one in found if one[0] != found[0][0]]
    mixed = (one for one in chain.from_iterable(zip_longest(first, others)) if one is not None)
    return list(dict.fromkeys(mixed))[:MAX_ADDRESSES]


def connect(host: str, port: int, wire: Wire, options: Sequence[Sequence[Any]] = ()) -> socket.socket:
    """Connect to the first address of HOST that answers; each has WIRE's limit to do so.

    Raises:
        LookupTimeoutError, socket.gaierror: If the name is not found.
        OSError: What the last address failed with; TimeoutError if none answered.
    """
    found = LOOKUPS.resolve(host.strip("[]"), port, wire)
    wire.stages += 1
    race = _Race(options, wire)
    try:
        return race.run(found)
    finally:
        race.close()


class _Race:
    """Connections to several addresses of one host, begun one after the other; the first that is there is taken.

    The selector has all that are under way, each with the moment at which it has taken too long.
    """

    def __init__(self, options: Sequence[Sequence[Any]], wire: Wire) -> None:
        self._options = options
        self._wire = wire
        self._selector = selectors.DefaultSelector()
        self._error: OSError = OSError("the look-up gave no address")

    def run(self, found: Sequence[Address]) -> socket.socket:
        """Return the first connected socket of the addresses FOUND; raise what the last one failed with."""
        waiting, turn = list(found), time.monotonic()
        while waiting or self._selector.get_map():
            if waiting and (time.monotonic() >= turn or not self._selector.get_map()):
                self._begin(waiting.pop(0))
                turn = time.monotonic() + ATTEMPT_DELAY_S
            if not (ends := [key.data for key in self._selector.get_map().values()]):
                continue
            self._wire.check()
            until = min([*ends, turn] if waiting else ends)
            for key, _ in self._selector.select(min(max(0.0, until - time.monotonic()), GLANCE_S)):
                sock: Any = key.fileobj
                if not (code := sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)):
                    self._selector.unregister(sock)
                    sock.settimeout(self._wire.timeout_s)
                    return sock  # type: ignore[no-any-return]
                self._failed(sock, OSError(code, os.strerror(code)))
            for key in list(self._selector.get_map().values()):
                if time.monotonic() >= key.data:
                    self._failed(key.fileobj, TimeoutError(errno.ETIMEDOUT, "the connection takes too long"))
        raise self._error

    def close(self) -> None:
        """Close all connections that were not taken."""
        for key in list(self._selector.get_map().values()):
            self._drop(key.fileobj)
        self._selector.close()

    def _begin(self, address: Address) -> None:
        family, kind, protocol, _, place = address
        try:
            sock = socket.socket(family, kind, protocol)
        except OSError as exc:
            self._note(exc)
            return
        self._selector.register(sock, selectors.EVENT_WRITE, time.monotonic() + self._wire.timeout_s)
        try:
            for option in self._options:
                sock.setsockopt(*option)
            sock.setblocking(False)
            if (code := sock.connect_ex(place)) not in _UNDER_WAY:
                raise OSError(code, os.strerror(code))
        except OSError as exc:
            self._failed(sock, exc)

    def _failed(self, sock: Any, error: OSError) -> None:
        self._drop(sock)
        self._wire.stages += 1
        self._note(error)

    def _drop(self, sock: Any) -> None:
        self._selector.unregister(sock)
        sock.close()

    def _note(self, error: OSError) -> None:
        # A refusal says more than silence, and a lack of descriptors more than both.
        if not isinstance(self._error, ConnectionRefusedError) or error.errno in (errno.EMFILE, errno.ENFILE):
            self._error = error


class HeadStream(io.RawIOBase):
    """An answer that RAW receives from SOCK: its head has to be there within a number of SECONDS.

    Each receive alone may be short of its time-out for ever: a head that comes a byte at a time, or informational
    answers (RFC 9110, section 15.2) without an end.
    """

    def __init__(self, raw: io.RawIOBase, sock: socket.socket, seconds: float) -> None:
        super().__init__()
        self.in_head = True
        self._raw = raw
        self._sock = sock
        self._end = time.monotonic() + seconds
        self._late = False
        self._received = 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: Any) -> int | None:
        """Receive some bytes; raise TimeoutError when the head's time is over."""
        if not self.in_head:
            return self._raw.readinto(buffer)
        left = self._end - time.monotonic()
        try:
            if self._late:
                raise TimeoutError
            # One more look even if this process was suspended beyond the end.
            self._late = left < 0
            self._sock.settimeout(max(left, 0.05))
            received = self._raw.readinto(buffer)
        except TimeoutError as exc:
            if self._received:
                raise HeadTimeoutError(errno.ETIMEDOUT, "the head of the answer takes too long") from exc
            raise
        self._received += received or 0
        if self._received > MAX_HEAD_BYTES:
            raise http.client.HTTPException(f"the head of the answer has more than {MAX_HEAD_BYTES:,} bytes")
        return received

    def close(self) -> None:
        """Close what is read from."""
        self._raw.close()
        super().close()
