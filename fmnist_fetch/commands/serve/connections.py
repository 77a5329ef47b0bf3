"""The open connections: how many there may be, and which of them are closed because nothing happens on them.

A connection is idle until the head of its next request is complete, so that one rule closes unused connections and
those on which a head arrives byte by byte.
"""

import asyncio
import errno
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from aiohttp import web

IDLE_TIMEOUT_S = 20.0
CHECK_INTERVAL_S = 1.0
AIOHTTP_TIMEOUT_S = 3600.0
"""For aiohttp's own rule, which some of its versions do not have for the first request."""
MIN_IDLE_BEFORE_EVICTION_S = 1.0
EVICTION_S = 0.001
"""After which aiohttp does not count an idle connection any more that was aborted."""
RETRY_ACCEPT_S = 0.1
NOTICE_INTERVAL_S = 60.0
MAX_CONNECTIONS = 2000
RESERVED_DESCRIPTORS = 64
"""What the process needs besides: streams, libraries, listening sockets, files that are being hashed."""
DESCRIPTORS_PER_CONNECTION = 2
"""The socket, and the file that is sent through it."""
_OUT_OF_RESOURCES = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}


def connection_limit() -> int:
    """Raise the soft limit of open files to the hard one, and return how many connections fit into it."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return MAX_CONNECTIONS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):  # macOS refuses an unlimited number
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        soft = hard
    if soft == resource.RLIM_INFINITY:
        return MAX_CONNECTIONS
    return max(1, min(MAX_CONNECTIONS, (soft - RESERVED_DESCRIPTORS) // DESCRIPTORS_PER_CONNECTION))


class Connection(web.RequestHandler):
    """One connection, which knows whether it serves a request, and since when it does not."""

    def __init__(self, server: web.Server, **options: Any) -> None:
        loop = asyncio.get_running_loop()
        super().__init__(server, loop=loop, keepalive_timeout=AIOHTTP_TIMEOUT_S, **options)
        # aiohttp forgets its own where it closes one, which may wait for the client.
        self._socket_transport: asyncio.BaseTransport | None = None
        self._serving = False
        self._idle_since = loop.time()

    @property
    def idle_s(self) -> float:
        """For how many seconds it has served no request; 0 while it serves one."""
        return 0.0 if self._serving else asyncio.get_running_loop().time() - self._idle_since

    @contextmanager
    def serving(self) -> Iterator[None]:
        """Serve a request in the block."""
        self._serving = True
        try:
            yield
        finally:
            self._serving = False
            self._idle_since = asyncio.get_running_loop().time()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin; asyncio calls this."""
        self._socket_transport = transport
        super().connection_made(transport)

    def abort(self) -> None:
        """Close it now, without waiting for a client that does not read."""
        if isinstance(self._socket_transport, asyncio.WriteTransport):
            self._socket_transport.abort()


class Connections:
    """The open connections of SERVER, at most LIMIT."""

    def __init__(self, server: web.Server, limit: int, print_line: Callable[[str], None]) -> None:
        self._server = server
        self._limit = limit
        self._print_line = print_line
        self._last_notice = float("-inf")

    def _open(self) -> list[Connection]:
        return [connection for connection in self._server.connections if isinstance(connection, Connection)]

    async def accept(self, listener: socket.socket, connect: Callable[[], Connection]) -> None:
        """Accept connections of LISTENER until it is cancelled; pause while there are too many."""
        loop = asyncio.get_running_loop()
        while True:
            await self._wait_for_slot()
            try:
                accepted, _ = await loop.sock_accept(listener)
            except OSError as exc:
                if exc.errno in _OUT_OF_RESOURCES:
                    self._notice()
                await asyncio.sleep(RETRY_ACCEPT_S)
                continue
            try:
                await loop.connect_accepted_socket(connect, accepted)
            except OSError:  # the client has left already
                accepted.close()

    async def close_idle(self) -> None:
        """Close connections that are idle for too long, until it is cancelled."""
        while True:
            await asyncio.sleep(CHECK_INTERVAL_S)
            for connection in self._open():
                if connection.idle_s >= IDLE_TIMEOUT_S:
                    connection.abort()

    async def _wait_for_slot(self) -> None:
        """Return once one more connection may be opened; the one that is idle for longest makes place."""
        while len(self._server.connections) >= self._limit:
            longest = max(self._open(), key=lambda connection: connection.idle_s)
            if longest.idle_s >= MIN_IDLE_BEFORE_EVICTION_S:
                longest.abort()
                await asyncio.sleep(EVICTION_S)
            else:
                self._notice()
                await asyncio.sleep(RETRY_ACCEPT_S)

    def _notice(self) -> None:
        now = asyncio.get_running_loop().time()
        if now - self._last_notice >= NOTICE_INTERVAL_S:
            self._last_notice = now
            count = len(self._server.connections)
            self._print_line(f"note: {count} connections are open; new ones wait until one is closed")
