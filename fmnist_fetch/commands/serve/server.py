"""A read-only mirror for the local network: its sockets, its start and its end."""

import asyncio
import errno
import logging
import os
import signal
import socket
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from typing import Any

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from fmnist_fetch.commands.serve.connections import Connection, Connections, connection_limit
from fmnist_fetch.commands.serve.files import ServedFiles
from fmnist_fetch.commands.serve.handler import RequestHandler
from fmnist_fetch.commands.serve.page import State, command_line
from fmnist_fetch.commands.serve.wheels import ServedWheels
from fmnist_fetch.console.formatting import counted
from fmnist_fetch.console.output import print_error
from fmnist_fetch.errors import AGAIN, FetchError, UsageError, size
from fmnist_fetch.sources.lan import own_addresses

PrintLine = Callable[[str], None]
Announce = Callable[[Sequence[socket.socket], PrintLine], Coroutine[Any, Any, None]]
"""What announces the server that listens on these sockets, until it is cancelled."""
SHUTDOWN_TIMEOUT_S = 0.1
BACKLOG = 512
MAX_ERRORS = 20
_OF_CLIENTS = (
    ConnectionError, TimeoutError, asyncio.CancelledError, HttpProcessingError,
    web.RequestPayloadError, web.PayloadAccessError,
)  # fmt: skip
"""What clients that leave or make mistakes cause; the person at the server cannot act on it."""
_OF_NETWORKS = {errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ENETDOWN, errno.ENOTCONN}


def listens_everywhere(host: str) -> bool:
    """Return whether a server that listens on HOST is reached through every network of this machine."""
    return host in ("", "0.0.0.0", "::")


def addresses(host: str) -> list[str]:
    """Return the addresses to print for a server that listens on HOST, the most likely one first; send no packet."""
    return [host] if not listens_everywhere(host) else own_addresses() or ["127.0.0.1"]


def url(address: str, port: int) -> str:
    """Return the base URL of a server at ADDRESS and PORT."""
    return f"http://{f'[{address}]' if ':' in address else address}:{port}/"


def serve(
    files: ServedFiles,
    wheels: ServedWheels,
    host: str,
    port: int,
    print_line: PrintLine,
    announce: Announce | None = None,
) -> None:
    """Serve FILES and WHEELS at HOST and PORT until SIGINT or SIGTERM.

    HOST may be 0.0.0.0 or ::, for every address of this machine, and PORT 0, for any that is free. `print_line` is
    called with each line for the person at the server.

    Raises:
        UsageError: The server cannot listen there, or cannot be announced.
    """
    with suppress(KeyboardInterrupt):  # where signals have no handlers in the loop: Windows
        asyncio.run(_Server(files, wheels, host, print_line).run(port, announce))
    print_line("stopped")


class _Server:
    """A server of FILES and WHEELS on HOST, which prints what the person at it should know."""

    def __init__(self, files: ServedFiles, wheels: ServedWheels, host: str, print_line: PrintLine) -> None:
        self._files = files
        self._wheels = wheels
        self._host = host
        self._print_line = print_line
        self._handler = RequestHandler(files, wheels)

    async def run(self, port: int, announce: Announce | None) -> None:
        """Serve until a signal or the failure of a task."""
        loop, stopped, errors = asyncio.get_running_loop(), asyncio.Event(), _UnexpectedErrors()
        for number in (signal.SIGINT, signal.SIGTERM):
            with suppress(NotImplementedError):
                loop.add_signal_handler(number, stopped.set)
        loop.set_exception_handler(errors.of_loop)
        logging.getLogger("asyncio").setLevel(logging.CRITICAL)
        server = web.Server(self._handler.handle)
        connections = Connections(server, connection_limit(), self._print_line)
        connection = partial(Connection, server, access_log=None, logger=errors.logger)
        with _listening(self._host, port) as listeners:
            jobs = [connections.accept(listener, connection) for listener in listeners]
            jobs += [connections.close_idle(), self._describe(listeners[0].getsockname()[1])]
            jobs += [announce(listeners, self._print_line)] if announce else []
            try:
                async with asyncio.TaskGroup() as group:
                    tasks = [group.create_task(job) for job in jobs]
                    await stopped.wait()
                    for task in tasks:
                        task.cancel()
            except ExceptionGroup as failures:
                failure = failures.exceptions[0]
                if isinstance(failure, FetchError):
                    raise failure from None
                raise FetchError(f"the server stopped: {type(failure).__name__}: {failure}", hint=AGAIN) from failure
            finally:
                await server.shutdown(SHUTDOWN_TIMEOUT_S)
                self._handler.close()

    async def _describe(self, port: int) -> None:
        """Print what is served where, and the commands that others run; then hash the wheels, before a client waits."""
        files, notify = self._files, self._print_line
        base, *others = [url(address, port) for address in addresses(self._host)]
        self._handler.base_url = base
        notify(f"serving {files.root.absolute()}, read-only, until Ctrl-C; a page for browsers is at {base}")
        for other in others:
            notify(f"  this machine is also {other}")
        if listens_everywhere(self._host):
            notify("  everybody in the network can read this; --host 127.0.0.1 keeps it to this machine")
        empty = True
        for manifest in files.manifests:
            served = files.of(manifest)
            await self._handler.refresh(served)
            if any(file.good_bytes for file in served):
                empty = False
                notify(f"  {manifest.name}: {State.of(served)}")
                notify(f"    {command_line(files, manifest, base)}")
        if empty:
            notify(f"  no data is in {files.root} yet; what arrives there is served at once. To download it, run in")
            command = f'make data ROOT="{files.root}", or fmnist-fetch fetch --root "{files.root}"'
            notify(f"  another terminal: {command}")
        if here := self._wheels.files():
            total = sum(file.file.size for file in here)
            notify(f"  {counted(len(here), 'wheel')} for make train and make data, {size(total)}")
            await self._handler.refresh(here)


class _UnexpectedErrors(logging.Handler):
    """Prints errors that were not foreseen in two lines, each one once; aiohttp and asyncio would print tracebacks."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.logger = logging.Logger("fmnist_fetch.serve")
        self.logger.addHandler(self)
        self._printed: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        """Report what aiohttp logs."""
        self._report(record.exc_info[1] if record.exc_info else None, record.getMessage())

    def of_loop(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Report what fails in a callback or a task that nothing waits for."""
        self._report(context.get("exception"), str(context.get("message")))

    def _report(self, exc: BaseException | None, message: str) -> None:
        if isinstance(exc, _OF_CLIENTS) or (isinstance(exc, OSError) and exc.errno in _OF_NETWORKS):
            return
        fact = f"{type(exc).__name__}: {exc}" if exc else message
        if fact not in self._printed and len(self._printed) < MAX_ERRORS:
            self._printed.add(fact)
            print_error(f"a request failed: {fact}", "The server goes on. If this comes again, please report it.")


@contextmanager
def _listening(host: str, port: int) -> Iterator[list[socket.socket]]:
    """Listen on all addresses that HOST has; raise UsageError where that is impossible."""
    with ExitStack() as stack:
        listeners: list[socket.socket] = []
        failure = OSError(errno.EADDRNOTAVAIL, "")
        try:
            found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
            for family, address in dict.fromkeys((entry[0], entry[4]) for entry in found):
                # The port that the system chose for the first address is taken for all of them.
                chosen = (address[0], listeners[0].getsockname()[1] if listeners else port, *address[2:])
                try:
                    listener = stack.enter_context(socket.create_server(chosen, family=family, backlog=BACKLOG))
                except OSError as exc:
                    if exc.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                        raise
                    failure = exc  # a name may have an address of a protocol that this machine lacks
                    continue
                listener.setblocking(False)
                listeners.append(listener)
            if not listeners:
                raise failure
        except (OSError, UnicodeError) as exc:
            raise _cannot_listen(host, port, exc) from exc
        yield listeners


def _cannot_listen(host: str, port: int, exc: OSError | UnicodeError) -> UsageError:
    code = getattr(exc, "errno", None) or 0  # name resolution has numbers of its own, below 0
    reason = os.strerror(code) if code > 0 else getattr(exc, "strerror", None) or "not the name of a machine"
    if code in (errno.EADDRINUSE, errno.EACCES):
        other = port + 1 if 1024 <= port < 65535 else 8000
        hint = f"Choose another port: --port {other}, or make serve SERVE='--port {other}'"
    else:
        hint = "Name an address of this machine with --host, or leave --host out to listen on all of them."
    return UsageError(f"cannot listen on {host}:{port}: {reason[:1].lower()}{reason[1:]}", hint=hint)
