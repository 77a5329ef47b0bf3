"""The faults of networks and servers that a `Mirror` can be given; they can be combined.

    with Mirror(files, faults=[First(2, LoginPage()), CutAfter(64 * KIB)]) as mirror:
        ...
    assert mirror.served <= 1.05 * sum(map(len, files.values()))

A fault is a small value. Selectors (`First`, `Randomly`, `On`, ...) decide when it applies, `&`
joins two into one, and the faults of a list apply in its order. Numbers of bytes count bodies only;
offsets are offsets in the file. Tests import everything about mirrors from this module.
"""

from __future__ import annotations

import functools
import gzip
import time
from collections.abc import Callable, Iterator
from dataclasses import field, replace
from email.utils import formatdate
from math import ceil
from random import Random

from dead_ends import blackhole, refusing
from mirror import Mirror
from wire import BLOCK, KIB, LOGIN, LOGIN_HTML, MIB, Bucket, Ending, Fault, Reply, Request, Span, flipped, payload

# What tests import from here and is defined elsewhere.
__all__ = ["KIB", "LOGIN_HTML", "MIB", "Fault", "Mirror", "Request", "Span", "blackhole", "payload", "refusing"]

ACCESS_DENIED = (
    b'<?xml version="1.0" encoding="UTF-8"?>\n'
    b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message>"
    b"<RequestId>4442587FB7D0A2F9</RequestId></Error>"
)


# When a fault applies.


class When(Fault):
    """A fault for the requests for which TEST is true."""

    test: Callable[[Request], bool] = field(repr=False)
    fault: Fault

    def picked(self, request: Request) -> Iterator[Fault]:
        if self.test(request):
            yield from self.fault.picked(request)


class First(When):
    """A fault for the first COUNT requests."""

    def __init__(self, count: int, fault: Fault) -> None:
        super().__init__(lambda request: request.number < count, fault)


class AfterServed(When):
    """A fault for the requests that come after SIZE bytes of bodies were served."""

    def __init__(self, size: int, fault: Fault) -> None:
        super().__init__(lambda request: request.served >= size, fault)


class Every(When):
    """A fault for each NTH request, beginning with request number N."""

    def __init__(self, nth: int, fault: Fault) -> None:
        super().__init__(lambda request: request.number % nth == nth - 1, fault)


class Randomly(When):
    """A fault for a share of the requests, chosen by SEED, the kind of the fault and the number of the request."""

    def __init__(self, share: float, fault: Fault, seed: int = 0) -> None:
        place = f"{seed}/{type(fault).__name__}"
        super().__init__(lambda request: Random(f"{place}/{request.number}").random() < share, fault)


class AtMost(When):
    """A fault for the connections beyond a number of simultaneous ones."""

    def __init__(self, connections: int, fault: Fault) -> None:
        super().__init__(lambda request: request.crowd >= connections, fault)


class ToRanges(When):
    """A fault that applies only to requests with a range."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(lambda request: "range" in request.headers, fault)


class On(Fault):
    """A fault for one file; selectors inside it count the requests for this file only."""

    name: str
    fault: Fault

    def picked(self, request: Request) -> Iterator[Fault]:
        if request.name == self.name:
            yield from self.fault.picked(replace(request, number=request.turn))


# Faults of the connection.


class CutAfter(Fault):
    """Each connection is closed or reset after SIZE bytes of bodies."""

    size: int
    reset: bool = False

    def reply(self, reply: Reply) -> Reply:
        ending = Ending.RESET if self.reset else Ending.CLOSE
        return reply.ends(self.size - reply.request.passed, ending)


class CutSomewhere(Fault):
    """Each connection is closed or reset after a random number of bytes between LOW and HIGH."""

    low: int
    high: int
    seed: int = 0
    reset: bool = False

    def reply(self, reply: Reply) -> Reply:
        random = Random(f"{self.seed}/{reply.request.connection}")
        return CutAfter(random.randint(self.low, self.high), self.reset).reply(reply)


class StallAfter(Fault):
    """Each answer stops after SIZE bytes of its body, and the connection stays open."""

    size: int

    def reply(self, reply: Reply) -> Reply:
        return reply.ends(self.size, Ending.STALL)


class SayNothing(Fault):
    """The request is read and never answered."""

    def reply(self, reply: Reply) -> Reply:
        return replace(reply, mute=True, then=Ending.STALL)


class HangUp(Fault):
    """The request is read, then the connection is closed or reset without an answer."""

    reset: bool = False

    def reply(self, reply: Reply) -> Reply:
        return replace(reply, mute=True, then=Ending.RESET if self.reset else Ending.CLOSE)


class CloseEach(Fault):
    """The connection is closed after each answer, without a `Connection: close`."""

    def reply(self, reply: Reply) -> Reply:
        return replace(reply, then=Ending.CLOSE)


class Latency(Fault):
    """Every answer comes SECONDS late."""

    seconds: float

    def reply(self, reply: Reply) -> Reply:
        return replace(reply, delay=reply.delay + self.seconds)


class Drip(Fault):
    """Each connection carries RATE bytes of bodies per second."""

    rate: float

    def reply(self, reply: Reply) -> Reply:
        return replace(reply, buckets=(*reply.buckets, Bucket(self.rate)))


class DripHead(Fault):
    """The head comes at RATE bytes per second, so that no read ever times out."""

    rate: float

    def reply(self, reply: Reply) -> Reply:
        return replace(reply, head_rate=self.rate)


class Line(Fault):
    """All connections of all mirrors that share this line carry RATE bytes of bodies per second together."""

    rate: float

    def __post_init__(self) -> None:
        self.bucket = Bucket(self.rate)

    def reply(self, reply: Reply) -> Reply:
        return replace(reply, buckets=(*reply.buckets, self.bucket))


class Lockstep(Fault):
    """No block is sent before the client has read the previous one, so that `served` is what it received.

    It is exact to one BLOCK for each connection and the buffers inside the client.
    """

    block: int = BLOCK

    def reply(self, reply: Reply) -> Reply:
        return replace(reply, lockstep=True, block=self.block)


# Other answers.


class Status(Fault):
    """Another status, with another body."""

    code: int
    body: bytes = b"no\n"
    kind: str = "text/plain"

    def reply(self, reply: Reply) -> Reply:
        return reply.instead(self.code, self.body, self.kind)


class Busy(Fault):
    """503 (or 429) with this Retry-After, valid or not: "2", "-1", "1e9", "soon"."""

    retry_after: str | None = None
    code: int = 503

    def reply(self, reply: Reply) -> Reply:
        busy = reply.instead(self.code, b"busy\n", "text/plain")
        return busy.header("Retry-After", self.retry_after)


class BusyUntil(Fault):
    """503 (or 429) with a date as Retry-After, SECONDS after the answer, rounded up."""

    seconds: float
    code: int = 503

    def reply(self, reply: Reply) -> Reply:
        date = formatdate(ceil(time.time() + self.seconds), usegmt=True)
        return Busy(date, self.code).reply(reply)


class AccessDenied(Fault):
    """The answer of an object store that refuses: 403 with an XML body."""

    def reply(self, reply: Reply) -> Reply:
        return reply.instead(403, ACCESS_DENIED, "application/xml")


class LoginPage(Fault):
    """A captive portal: 200 and HTML."""

    def reply(self, reply: Reply) -> Reply:
        return reply.instead(200, LOGIN_HTML, "text/html; charset=utf-8")


class LoginRedirect(Fault):
    """A captive portal: 302 to a page of HTML, which the selectors do not count as a request."""

    def reply(self, reply: Reply) -> Reply:
        return reply.instead(302, b"", "text/html").header("Location", f"/{LOGIN}")


class Redirect(Fault):
    """A redirect to the same name under another base URL."""

    base: str

    def reply(self, reply: Reply) -> Reply:
        return reply.instead(302, b"", "text/html").header("Location", self.base + reply.request.name)


class RedirectLoop(Fault):
    """A redirect to the same file, with a new query each time."""

    def reply(self, reply: Reply) -> Reply:
        again = f"/{reply.request.name}?{reply.request.number}"
        return reply.instead(302, b"", "text/html").header("Location", again)


class Raw(Fault):
    """These bytes instead of an answer, none of them counted as body; then the connection is closed."""

    data: bytes

    def reply(self, reply: Reply) -> Reply:
        return replace(reply, raw=self.data, then=Ending.CLOSE)


# Faults of ranges.


class IgnoreRange(Fault):
    """200 and the whole file, whatever the range."""

    def span(self, span: Span | None, size: int) -> Span | None:
        return None


class OtherSpan(Fault):
    """206 with another span than the requested one; Content-Range names the requested one unless ADMITTED."""

    start: int = 0
    stop: int = 0
    admitted: bool = True

    def span(self, span: Span | None, size: int) -> Span | None:
        if span is None or span.start >= size:
            return span
        start = min(max(0, span.start + self.start), size - 1)
        return Span(start, min(max(start + 1, span.stop + self.stop), size))

    def reply(self, reply: Reply) -> Reply:
        asked = reply.request.wanted(reply.total)
        if self.admitted or reply.status != 206 or asked is None:
            return reply
        claim = f"bytes {asked.start}-{asked.stop - 1}/{reply.total}"
        return reply.header("Content-Range", claim)


class ContentRange(Fault):
    """206 with this Content-Range (a template as in CONTENT_RANGES), or None."""

    template: str | None

    def reply(self, reply: Reply) -> Reply:
        if reply.status != 206 or self.template is None:
            return reply.header("Content-Range", None)
        start, stop = reply.span
        facts = {"start": start, "stop": stop, "last": stop - 1, "total": reply.total}
        facts |= {"length": stop - start, "other_total": reply.total + 1000}
        return reply.header("Content-Range", self.template.format(**facts))


class Unsatisfiable(Fault):
    """416 to every range."""

    def reply(self, reply: Reply) -> Reply:
        if reply.status != 206:
            return reply
        whole = f"bytes */{reply.total}"
        return reply.instead(416, b"", "text/plain").header("Content-Range", whole)


class Multipart(Fault):
    """One range as multipart/byteranges."""

    def reply(self, reply: Reply) -> Reply:
        if reply.status != 206:
            return reply
        place = dict(reply.headers)["Content-Range"].encode()
        head = b"--x\r\nContent-Type: application/gzip\r\nContent-Range: " + place + b"\r\n\r\n"
        parts = replace(reply, body=head + reply.body + b"\r\n--x--\r\n")
        return parts.header("Content-Range", None).header("Content-Type", "Multipart/ByteRanges; boundary=x")


class Aligned(Fault):
    """206 that starts at the beginning of a block, as from a cache of blocks; Content-Range says so if ADMITTED."""

    block: int
    admitted: bool = True

    def span(self, span: Span | None, size: int) -> Span | None:
        if span is None or span.start >= size:
            return span
        return Span(span.start - span.start % self.block, span.stop)

    def reply(self, reply: Reply) -> Reply:
        return reply if self.admitted else OtherSpan(admitted=False).reply(reply)


class WholeAsPartial(Fault):
    """206 with the whole file; Content-Range says so if ADMITTED, is absent for None, and else names the range."""

    admitted: bool | None = True

    def span(self, span: Span | None, size: int) -> Span | None:
        return None if span is None else Span(0, size)

    def reply(self, reply: Reply) -> Reply:
        if reply.status != 206 or self.admitted:
            return reply
        return ContentRange(None).reply(reply) if self.admitted is None else OtherSpan(admitted=False).reply(reply)


class PartialAs(Fault):
    """The range under another status than 206."""

    code: int

    def reply(self, reply: Reply) -> Reply:
        return replace(reply, status=self.code) if reply.status == 206 else reply


class EmptyPartial(Fault):
    """206 with an empty body."""

    def reply(self, reply: Reply) -> Reply:
        return replace(reply, body=b"") if reply.status == 206 else reply


# Faults of the file.


class Replaced(Fault):
    """The file contains DATA from offset AT on."""

    data: bytes = field(repr=False)
    at: int = 0

    def content(self, data: bytes) -> bytes:
        return data[: self.at] + self.data


class FlipByte(Fault):
    """One byte of the file is wrong in every answer."""

    at: int

    def content(self, data: bytes) -> bytes:
        return flipped(data, self.at) if self.at < len(data) else data


class FlipSomewhere(Fault):
    """One byte of each body is wrong, at a random offset; `Randomly` makes it rarer."""

    seed: int = 0

    def reply(self, reply: Reply) -> Reply:
        random = Random(f"{self.seed}/{reply.request.number}")
        return replace(reply, body=flipped(reply.body, random.randrange(len(reply.body)))) if reply.body else reply


class Truncated(Fault):
    """The file on the server has only SIZE bytes, and the headers say so."""

    size: int

    def content(self, data: bytes) -> bytes:
        return data[: self.size]


class Longer(Fault):
    """The file on the server has MORE at its end, and the headers say so."""

    more: bytes = field(repr=False)

    def content(self, data: bytes) -> bytes:
        return data + self.more


class Unpacked(Fault):
    """A proxy has decompressed the file."""

    def content(self, data: bytes) -> bytes:
        return _unpacked(data)


# Faults of framing and coding.


class Chunked(Fault):
    """Chunks instead of a length; SIZE_LINE is a template for their size ("zz" is invalid)."""

    size_line: str = "{:x}"

    def reply(self, reply: Reply) -> Reply:
        return replace(reply, framing="chunked", chunk_size=self.size_line)


class NoLength(Fault):
    """No length: the end of the connection is the end of the body."""

    def reply(self, reply: Reply) -> Reply:
        return replace(reply, framing="none", then=Ending.CLOSE)


class Endless(Fault):
    """The body continues for ever after its right bytes, in lockstep with the client."""

    chunked: bool = False

    def reply(self, reply: Reply) -> Reply:
        framed = (Chunked() if self.chunked else NoLength()).reply(reply)
        return replace(framed, endless=True, lockstep=True)


class ContentLength(Fault):
    """This Content-Length, whatever the body is: "abc", "-1", ""."""

    value: str

    def reply(self, reply: Reply) -> Reply:
        return replace(reply.header("Content-Length", self.value), then=Ending.CLOSE)


class LengthOff(Fault):
    """A Content-Length that is wrong by BY bytes; the body is right, then the connection is closed."""

    by: int

    def reply(self, reply: Reply) -> Reply:
        return ContentLength(str(len(reply.body) + self.by)).reply(reply)


class GzipEncoding(Fault):
    """The body is compressed once more, with a gzip Content-Encoding."""

    def reply(self, reply: Reply) -> Reply:
        packed = gzip.compress(reply.body, 1, mtime=0)
        return replace(reply, body=packed).header("Content-Encoding", "gzip")


class Header(Fault):
    """One header with another value, or without the header for None."""

    name: str
    value: str | None

    def reply(self, reply: Reply) -> Reply:
        return reply.header(self.name, self.value)


class StatusLine(Fault):
    """These bytes as the status line, before the right headers and body."""

    line: bytes

    def reply(self, reply: Reply) -> Reply:
        return replace(reply, status_line=self.line)


class RawHeaders(Fault):
    """These raw lines among the headers."""

    lines: tuple[bytes, ...]

    def reply(self, reply: Reply) -> Reply:
        return replace(reply, raw_headers=reply.raw_headers + self.lines)


class Preface(Fault):
    """These bytes before the status line: an interim answer, an empty line, garbage."""

    data: bytes

    def reply(self, reply: Reply) -> Reply:
        return replace(reply, preface=self.data)


@functools.lru_cache(maxsize=16)
def _unpacked(data: bytes) -> bytes:
    return gzip.decompress(data)
