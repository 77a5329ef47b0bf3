"""A request, a reply and the base class of faults, as values without sockets.

A reply is made in four steps: which faults apply (`picked`), what the file contains (`content`),
which part of it is sent (`span`), and the answer and its transmission (`reply`). In each step every
fault is called, in the order of the list.
"""

from __future__ import annotations

import functools
import hashlib
import random
import re
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from http import HTTPStatus
from itertools import chain, repeat
from typing import Literal, NamedTuple, Self, dataclass_transform
from urllib.parse import unquote, urlsplit

KIB = 1024
MIB = 1024 * KIB
BLOCK = 16 * KIB
LOGIN = "login"
LOGIN_HTML = (
    b"<!DOCTYPE html>\n<html><head><title>Campus WiFi: log in</title></head>"
    b"<body><form action='/login'>Please log in.</form></body></html>\n"
)


class Span(NamedTuple):
    """A half-open byte interval."""

    start: int
    stop: int


NOWHERE = Span(0, 0)


class Ending(Enum):
    """What happens to a connection after an answer."""

    KEEP = "kept open for the next request"
    CLOSE = "closed"
    RESET = "reset"
    STALL = "left open without another byte"


@dataclass(frozen=True)
class Request:
    """One request as the server understood it, and the state of the server at that time."""

    method: str
    target: str
    headers: Mapping[str, str]
    number: int = 0  # how many requests this mirror had before this one
    turn: int = 0  # how many of them were for this file
    when: float = 0.0  # seconds since the mirror was started
    served: int = 0  # bytes of bodies that the mirror had served
    connection: int = 0  # the connection's number
    passed: int = 0  # bytes of bodies that this connection had carried
    crowd: int = 0  # how many older connections are open

    @property
    def name(self) -> str:
        """The requested file, without slash and query."""
        # RFC 9112, 3.2.2: a client that uses this server as a proxy sends a whole URL.
        return unquote(urlsplit(self.target).path).lstrip("/")

    def wanted(self, size: int) -> Span | None:
        """Return the requested range of a file of SIZE bytes, or None for the whole; no client asks for a suffix."""
        text = self.headers.get("range", "").replace(" ", "")
        match = re.fullmatch(r"bytes=(\d+)-(\d*)", text)
        if match is None:
            return None
        first, last = match.groups()
        if last and int(last) < int(first):
            return None
        # RFC 9110, 14.1.2: an end beyond the file means its end; a start beyond it means 416.
        stop = min(int(last) + 1, size) if last else size
        return Span(int(first), max(stop, int(first) + 1))


@dataclass(frozen=True)
class Reply:
    """An answer before it is sent: its content, and how it is transmitted."""

    request: Request
    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    span: Span = NOWHERE  # the part of the file that the body contains
    total: int = 0
    framing: Literal["length", "chunked", "none"] = "length"
    chunk_size: str = "{:x}"
    endless: bool = False
    raw: bytes = b""  # sent instead of all of the above
    preface: bytes = b""
    status_line: bytes = b""
    raw_headers: tuple[bytes, ...] = ()
    mute: bool = False  # no head either
    delay: float = 0.0
    head_rate: float = 0.0  # bytes per second; 0 is no limit
    buckets: tuple[Bucket, ...] = ()
    lockstep: bool = False
    block: int = BLOCK  # the most bytes that are sent at once
    cut: tuple[int, Ending] | None = None  # the ending after a number of bytes of the body
    then: Ending = Ending.KEEP  # the ending after the whole answer

    def header(self, name: str, value: str | None) -> Self:
        """Return the same answer with one header set, or without it for None."""
        kept = tuple(pair for pair in self.headers if pair[0].lower() != name.lower())
        return replace(self, headers=kept if value is None else (*kept, (name, value)))

    def ends(self, after: int, ending: Ending) -> Self:
        """Return the same answer that ends after AFTER bytes of its body, if it does not end sooner."""
        if self.cut is not None and self.cut[0] <= after:
            return self
        return replace(self, cut=(max(0, after), ending))

    def instead(self, status: int, body: bytes, kind: str) -> Self:
        """Return another answer that is transmitted in the same way."""
        headers = (("Content-Type", kind),)
        whole = Span(0, len(body))
        return replace(self, status=status, headers=headers, body=body, span=whole, total=len(body))

    def head(self) -> bytes:
        """Return the status line and the headers as bytes."""
        if self.raw:
            return self.raw
        phrase = next((known.phrase for known in HTTPStatus if known == self.status), "Odd")
        lines = [self.status_line or f"HTTP/1.1 {self.status} {phrase}".encode()]
        named = {name.lower() for name, _ in self.headers}
        headers = list(self.headers)
        if self.framing == "chunked":
            headers.append(("Transfer-Encoding", "chunked"))
        elif self.framing == "length" and "content-length" not in named:
            headers.append(("Content-Length", str(len(self.body))))
        lines += [f"{name}: {value}".encode("latin-1") for name, value in headers]
        lines += self.raw_headers
        return self.preface + b"\r\n".join(lines) + b"\r\n\r\n"

    def blocks(self) -> Iterator[bytes]:
        """Yield the body up to its cut, in blocks that are small enough for its rate."""
        rate = min((bucket.rate for bucket in self.buckets), default=0.0)
        size = max(1, min(self.block, int(rate / 100))) if rate else self.block
        left = self.cut[0] if self.cut is not None else sys.maxsize
        for body in chain([self.body], repeat(payload(MIB, seed=7)) if self.endless else []):
            for start in range(0, min(len(body), left), size):
                yield body[start : min(start + size, left)]
            left -= min(len(body), left)
            if not left:
                return

    @property
    def length(self) -> int:
        """The number of bytes of the body that will be sent."""
        whole = sys.maxsize if self.endless else len(self.body)
        if self.request.method == "HEAD" or self.mute or self.raw:
            return 0
        return min(whole, self.cut[0]) if self.cut is not None else whole

    @property
    def ending(self) -> Ending:
        """What happens after the bytes that will be sent."""
        silent = self.mute or self.raw or self.request.method == "HEAD"
        if self.cut is not None and self.cut[0] == self.length and not silent:
            return self.cut[1]
        return self.then

    def frame(self, block: bytes) -> tuple[bytes, bytes]:
        """Return what is sent before and after BLOCK of the body."""
        if self.framing != "chunked":
            return b"", b""
        return self.chunk_size.format(len(block)).encode() + b"\r\n", b"\r\n"


@dataclass_transform(field_specifiers=(field,))
class Fault:
    """The base class: it changes nothing. A subclass is a dataclass, and overrides the step that it changes."""

    def __init_subclass__(cls) -> None:
        dataclass(cls)

    def picked(self, request: Request) -> Iterator[Fault]:
        """Yield the faults that apply to this request."""
        yield self

    def content(self, data: bytes) -> bytes:
        """Return what the file contains."""
        return data

    def span(self, span: Span | None, size: int) -> Span | None:
        """Return which part of the file is sent; None is the whole, with status 200."""
        return span

    def reply(self, reply: Reply) -> Reply:
        """Return the answer."""
        return reply

    def __and__(self, other: Fault) -> Fault:
        """Join two faults."""
        return Both(self, other)


class Both(Fault):
    """Two faults that apply together."""

    one: Fault
    other: Fault

    def picked(self, request: Request) -> Iterator[Fault]:
        yield from self.one.picked(request)
        yield from self.other.picked(request)


@dataclass
class Bucket:
    """A limit of bytes per second that applies from the first byte on, for all that share the bucket."""

    rate: float
    free: float = 0.0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def due(self, count: int) -> float:
        """Reserve COUNT bytes; return the time at which they may be sent."""
        with self.lock:
            now = time.monotonic()
            # A late wake-up must not lower the rate, and an idle time must not become a burst: allow 20 ms.
            start = max(self.free, now - 0.02) if self.free else now
            self.free = start + count / self.rate
            return self.free


@functools.lru_cache(maxsize=64)
def payload(size: int, seed: int = 0) -> bytes:
    """Return SIZE bytes of noise."""
    return random.Random(seed).randbytes(size)


@functools.lru_cache(maxsize=16)
def flipped(data: bytes, at: int) -> bytes:
    """Return DATA with one bit of the byte AT inverted."""
    at %= len(data)
    return data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :]


@functools.lru_cache(maxsize=64)
def etag(data: bytes) -> str:
    """Return a strong validator of DATA."""
    return f'"{hashlib.sha256(data).hexdigest()[:32]}"'


def healthy(request: Request, data: bytes | None, faults: Iterable[Fault] = ()) -> Reply:
    """Return the answer of a correct server (RFC 9110, 9112), with the span that FAULTS choose."""
    draft = Reply(request, 200)
    if request.method not in ("GET", "HEAD"):
        return draft.instead(405, b"no such method\n", "text/plain").header("Allow", "GET, HEAD")
    if request.name == LOGIN:
        return draft.instead(200, LOGIN_HTML, "text/html")
    if data is None:
        return draft.instead(404, b"no such file\n", "text/plain")
    size = len(data)
    # RFC 9110, 14.2: Range has a meaning for GET only.
    wanted = request.wanted(size) if request.method == "GET" else None
    for fault in faults:
        wanted = fault.span(wanted, size)
    if wanted is not None and wanted.start >= size:
        refusal = draft.instead(416, b"no such range\n", "text/plain")
        return replace(refusal, total=size).header("Content-Range", f"bytes */{size}")
    span = wanted or Span(0, size)
    headers = (("Content-Type", "application/gzip"), ("Accept-Ranges", "bytes"))
    body = data[span.start : span.stop]
    reply = replace(draft, headers=headers, body=body, span=span, total=size)
    reply = reply.header("ETag", etag(data))
    if wanted is None:
        return reply
    whole = f"bytes {span.start}-{span.stop - 1}/{size}"
    return replace(reply, status=206).header("Content-Range", whole)
