"""The answers to requests.

Source: RFC 9110, sections 13.1.2 (If-None-Match), 13.1.5 (If-Range), 14 (ranges), 10.2.3 (Retry-After).
"""

import asyncio
import re
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import BinaryIO
from weakref import WeakKeyDictionary

from aiohttp import web

from fmnist_fetch.commands.serve.connections import Connection
from fmnist_fetch.commands.serve.files import ServedFile, ServedFiles
from fmnist_fetch.commands.serve.page import mirror_url, page
from fmnist_fetch.commands.serve.wheels import ServedWheels
from fmnist_fetch.download.standalone.script import script, script_name
from fmnist_fetch.errors import UsageError
from fmnist_fetch.manifest.pieces import Span
from fmnist_fetch.manifest.toml import dumps
from fmnist_fetch.sources.base import ARRIVING, STATE

RETRY_AFTER_S = 1
"""When a client should ask again for a piece that is not here yet; its patience allows many requests."""
SEND_BYTES = 1024 * 1024
SEND_TIMEOUT_S = 240.0
"""How long a client may take for SEND_BYTES; one that does not read is disconnected."""
HASHING_THREADS = 2
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
_HOST = re.compile(r"([A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(:[0-9]{1,5})?")


def requested_span(request: web.BaseRequest, size: int) -> Span | None:
    """Return the span of a file of SIZE bytes that REQUEST asks for, empty if it begins behind the end; None for all.

    Several ranges at once, other units and nonsense are ignored, as a server may do (RFC 9110, section 14.2).
    """
    with suppress(ValueError):
        requested = request.http_range
        if requested.start is not None:
            start, stop, _ = requested.indices(size)
            return Span(start, stop)
    return None


class RequestHandler:
    """Answers requests for FILES and WHEELS.

    `base_url` stands in where a request does not name the server properly.
    """

    def __init__(self, files: ServedFiles, wheels: ServedWheels) -> None:
        self.base_url = ""
        self._files = files
        self._wheels = wheels
        self._hashing = ThreadPoolExecutor(HASHING_THREADS, thread_name_prefix="hashing")
        self._locks: WeakKeyDictionary[ServedFile, asyncio.Lock] = WeakKeyDictionary()

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer REQUEST with the page, a manifest or a file."""
        assert isinstance(request.protocol, Connection)
        with request.protocol.serving():
            if request.method not in ("GET", "HEAD"):
                return web.Response(status=405, text="read-only\n", headers={"Allow": "GET, HEAD"})
            if request.path == "/":
                return await self._page(request)
            if file := self._find(request.path):
                await self.refresh([file])
                return await _send_file(request, file)
            return await self._text(request) or web.Response(status=404, text="not on this server\n")

    async def refresh(self, files: Iterable[ServedFile]) -> None:
        """Inspect those of FILES that have changed; each one once, however many clients wait for it."""
        loop = asyncio.get_running_loop()
        for file in files:
            if not file.needs_inspection():
                continue
            # A client that waits takes no thread, so that other files are inspected meanwhile.
            async with self._locks.setdefault(file, asyncio.Lock()):
                if file.needs_inspection():
                    await loop.run_in_executor(self._hashing, file.inspect)

    def _find(self, path: str) -> ServedFile | None:
        if file := self._files.find(path):
            return file
        # A mirror has wheels below its own URL, which is another one for each dataset.
        for manifest in self._files.manifests:
            path = path.removeprefix(f"/{manifest.folder}/raw")
        return self._wheels.find(path)

    async def _text(self, request: web.BaseRequest) -> web.Response | None:
        """Return the page of the package index, the manifest or the script that has the path of REQUEST."""
        path = request.path
        if (index := self._wheels.page(path)) is not None:
            return web.Response(text=index, content_type="text/html")
        for manifest in self._files.manifests:
            if path == f"/{manifest.name}.toml":
                return web.Response(text=dumps(manifest), content_type="application/toml")
            if path == f"/{script_name(manifest)}" or (path == "/get.py" and manifest is self._files.manifests[0]):
                mirror = mirror_url(self._files, manifest, self._base_url(request))
                with suppress(UsageError):  # of files that a script cannot unpack
                    text = await asyncio.to_thread(script, manifest, [mirror])
                    return web.Response(text=text, content_type="text/x-python")
        return None

    def _base_url(self, request: web.BaseRequest) -> str:
        return f"http://{request.host}/" if _HOST.fullmatch(request.host) else self.base_url

    def close(self) -> None:
        """Begin no inspection any more."""
        self._hashing.shutdown(wait=False, cancel_futures=True)

    async def _page(self, request: web.BaseRequest) -> web.Response:
        for manifest in self._files.manifests:
            await self.refresh(self._files.of(manifest))
        windows = "Windows" in request.headers.get("User-Agent", "")
        text = page(self._files, self._wheels.files(), self._base_url(request), windows=windows)
        return web.Response(text=text, content_type="text/html", headers={"Content-Security-Policy": _POLICY})


async def _send_file(request: web.BaseRequest, file: ServedFile) -> web.StreamResponse:
    """Send FILE, or the span of it that was requested, as far as it is verified."""
    etag = f'"{file.file.sha256}"'
    headers = {"ETag": etag, "Accept-Ranges": "bytes"}
    if any(known.value in (file.file.sha256, "*") for known in request.if_none_match or ()):
        return web.Response(status=304, headers=headers)
    requested, whole = None, Span(0, file.file.size)
    if request.method == "GET" and request.headers.get("If-Range", etag) == etag:
        requested = requested_span(request, file.file.size)
    if requested and not requested.length:
        return web.Response(status=416, headers={**headers, "Content-Range": f"bytes */{file.file.size}"})
    found = file.open(requested or whole)
    if found is None:
        return _not_here(file)
    opened, span = found
    with opened:
        if requested is None and span != whole:
            return _not_here(file)
        response = web.StreamResponse(status=206 if requested else 200, headers=headers)
        response.content_type = "application/gzip" if file.file.packed else "application/octet-stream"
        response.content_length = span.length
        if requested:
            # A server may send less than was requested (section 15.3.7): here, what is verified by now.
            response.headers["Content-Range"] = f"bytes {span.start}-{span.stop - 1}/{file.file.size}"
        await response.prepare(request)
        if request.method != "HEAD":
            await _send_body(request, opened, span)
        await response.write_eof()
        return response


async def _send_body(request: web.BaseRequest, opened: BinaryIO, span: Span) -> None:
    """Send SPAN of the file; raise ConnectionError, with the connection closed, where that fails."""
    loop, connection = asyncio.get_running_loop(), request.protocol
    assert isinstance(connection, Connection)
    start = span.start
    try:
        while start < span.stop:
            transport = request.transport
            if transport is None or transport.is_closing():
                raise ConnectionResetError("the client has left")
            count = min(SEND_BYTES, span.stop - start)
            async with asyncio.timeout(SEND_TIMEOUT_S):
                sent = await loop.sendfile(transport, opened, start, count)
            if sent < count:
                raise ConnectionAbortedError("the file has become shorter")
            start += sent
    except BaseException as exc:
        # A body that ends early must not look like a complete one on a connection that stays open.
        connection.abort()
        if isinstance(exc, (TimeoutError, RuntimeError)):  # asyncio's RuntimeError: the transport is closing
            raise ConnectionResetError(str(exc)) from exc
        raise


def _not_here(file: ServedFile) -> web.Response:
    if not file.expected:
        return web.Response(status=404, text="not here\n")
    headers = {"Retry-After": str(RETRY_AFTER_S)}
    if file.active:
        headers[STATE] = ARRIVING
    return web.Response(status=503, text="not here yet\n", headers=headers)
