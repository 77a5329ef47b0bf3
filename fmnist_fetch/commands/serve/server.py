"""A read-only mirror for the local network. What it gives away, and in which state that is, is the shelf's business.

Source: RFC 9110, sections 13.1.2 (If-None-Match), 13.1.5 (If-Range), 14 (ranges), 10.2.3 (Retry-After).
"""

import asyncio
import os
import re
import signal
from collections.abc import Callable
from contextlib import suppress

from aiohttp import web

from fmnist_fetch.commands.serve.address import addresses, url
from fmnist_fetch.commands.serve.files import Item, ServedFiles
from fmnist_fetch.commands.serve.page import line, page, state_of
from fmnist_fetch.commands.serve.wheels import ServedWheel, WheelShelf
from fmnist_fetch.errors import UsageError
from fmnist_fetch.manifest.pieces import Span

RETRY_AFTER = 1
"""Seconds after which a piece that is not here yet may be asked for again; the client's patience takes many of them."""
PARTING = 0.1
BACKLOG = 512
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")
_HOST = re.compile(r"[A-Za-z0-9.-]{1,253}(:\d{1,5})?|\[[0-9A-Fa-f:.]{2,45}\](:\d{1,5})?")


def serve(
    shelf: ServedFiles, host: str, port: int, say: Callable[[str], None], wheels: WheelShelf | None = None
) -> None:
    """Serve SHELF, and WHEELS, at HOST and PORT (0: any that is free) until SIGINT or SIGTERM; SAY the addresses.

    Raises UsageError where it can't serve there.
    """
    asyncio.run(_serve(Counter(shelf, "", wheels), shelf, host, port, say))


class UnsatisfiableError(ValueError):
    """A range that begins behind the end of the file."""


def span_asked(header: str | None, size: int) -> Span | None:
    """The span of a file of SIZE bytes that the Range HEADER asks for; None for all of it. Raises UnsatisfiableError.

    Several ranges at once, other units and nonsense are ignored, as a server may do (RFC 9110, section 14.2).
    """
    match = _RANGE.fullmatch((header or "").replace(" ", ""))
    if not match or match[0] == "bytes=-":
        return None
    first, last = match.groups()
    if not first:
        start, stop = max(0, size - int(last)), size
    else:
        start, stop = int(first), min(int(last) + 1, size) if last else size
        if last and int(last) < int(first):
            return None
    if start >= size:
        raise UnsatisfiableError
    return Span(start, stop)


class Counter:
    """Where requests are answered."""

    def __init__(self, shelf: ServedFiles, base: str, wheels: WheelShelf | None = None) -> None:
        self._shelf = shelf
        self._wheels = wheels
        self.base = base

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """The page, a file of the catalogue, or nothing."""
        if request.method not in ("GET", "HEAD"):
            return web.Response(status=405, text="read-only\n", headers={"Allow": "GET, HEAD"})
        if request.path == "/":
            base = f"http://{request.host}/" if _HOST.fullmatch(request.host) else self.base
            text = await asyncio.to_thread(page, self._shelf, base)
            policy = "default-src 'none'; style-src 'unsafe-inline'"
            return web.Response(text=text, content_type="text/html", headers={"Content-Security-Policy": policy})
        item: Item | ServedWheel | None = self._shelf.find(request.path)
        if item is None and self._wheels is not None:
            if (index := await asyncio.to_thread(self._wheels.page, request.path)) is not None:
                return web.Response(text=index, content_type="text/html")
            item = self._wheels.find(request.path)
        if item is None:
            return web.Response(status=404, text="not in the catalogue\n")
        return await _give(request, item)


async def _give(request: web.Request, item: Item | ServedWheel) -> web.StreamResponse:
    """ITEM, or the span of it that was asked for, as far as it is verified."""
    etag = f'"{item.file.sha256}"'
    headers = {"ETag": etag, "Accept-Ranges": "bytes"}
    if _names(request.headers.get("If-None-Match"), etag):
        return web.Response(status=304, headers=headers)
    asked = None
    if request.method == "GET" and request.headers.get("If-Range", etag) == etag:
        try:
            asked = span_asked(request.headers.get("Range"), item.file.size)
        except UnsatisfiableError:
            return web.Response(status=416, headers={**headers, "Content-Range": f"bytes */{item.file.size}"})
    whole = Span(0, item.file.size)
    found = await asyncio.to_thread(item.open, asked or whole)
    if found is None:
        return _not_yet(item)
    opened, span = found
    with opened:
        if asked is None and span != whole:
            return _not_yet(item)
        response = web.StreamResponse(status=206 if asked else 200, headers=headers)
        response.content_type = "application/gzip" if item.file.packed else "application/octet-stream"
        response.content_length = span.length
        if asked:
            # A server may send less than was asked for (section 15.3.7): here, what is verified by now.
            response.headers["Content-Range"] = f"bytes {span.start}-{span.stop - 1}/{item.file.size}"
        await response.prepare(request)
        if request.method != "HEAD":
            transport = request.transport
            if transport is None:
                raise ConnectionResetError("the client has left")
            await asyncio.get_running_loop().sendfile(transport, opened, span.start, span.length)
        await response.write_eof()
        return response


def _not_yet(item: Item | ServedWheel) -> web.Response:
    if not item.under_way:
        return web.Response(status=404, text="not here\n")
    return web.Response(status=503, text="not here yet\n", headers={"Retry-After": str(RETRY_AFTER)})


def _names(header: str | None, etag: str) -> bool:
    """Whether If-None-Match names ETAG, or anything."""
    return header is not None and (header.strip() == "*" or etag in re.findall(r'"[^"]*"', header))


async def _serve(counter: Counter, shelf: ServedFiles, host: str, port: int, say: Callable[[str], None]) -> None:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", counter.answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=PARTING)
    await runner.setup()
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        with suppress(NotImplementedError):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
    try:
        try:
            await web.TCPSite(runner, host, port, backlog=BACKLOG).start()
        except (OSError, OverflowError) as exc:
            # asyncio wraps the system's reason in a longer sentence; name resolution has numbers of its own, below 0.
            code = getattr(exc, "errno", None) or 0
            reason = os.strerror(code) if code > 0 else getattr(exc, "strerror", None) or str(exc)
            hint = "Choose another one: --port 8001, --host ADDRESS; below 1024, ports are for root."
            raise UsageError(f"{host}:{port} can't be served at: {reason}", hint=hint) from exc
        served = [url(address, runner.addresses[0][1]) for address in addresses(host)]
        counter.base = served[0]
        await asyncio.to_thread(_announce, shelf, served, say)
        await stop.wait()
    finally:
        await runner.cleanup()
    say("stopped")


def _announce(shelf: ServedFiles, served: list[str], say: Callable[[str], None]) -> None:
    say(f"serving {shelf.root.absolute()}, read-only, until Ctrl-C; a page for browsers is at {served[0]}")
    for manifest in shelf.manifests:
        if (state := state_of(shelf, manifest)) != "absent" or manifest is shelf.manifests[0]:
            say(f"  {manifest.name}: {state}")
            say(f"    {line(shelf, manifest, served[0])}")
    for other in served[1:]:
        say(f"  this machine is also {other}")
