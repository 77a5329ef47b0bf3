"""What an answer to a request for a file really is: which bytes of the file its body holds, or why it is of no use.

A status line is not believed. Source: RFC 9110, sections 14.4 (Content-Range), 15.3.7 (206), 15.5.17 (416).
"""

import hashlib
import re
import time
from contextlib import suppress
from email.utils import mktime_tz, parsedate_tz
from typing import NamedTuple

from urllib3 import BaseHTTPResponse, HTTPResponse

from fmnist_fetch.errors import AGAIN, CHECK_ADDRESS, SourceError, WrongBytesError
from fmnist_fetch.manifest.model import DataFile
from fmnist_fetch.manifest.pieces import Piece, Span
from fmnist_fetch.sources import diagnosis
from fmnist_fetch.sources.base import ARRIVING, STATE

# More lenient than the grammar: servers were seen to send "bytes=0-1/2" and "bytes: 0-1/2".
_CONTENT_RANGE = re.compile(
    r"bytes\s*[ =:]\s*([0-9]{1,18})\s*-\s*([0-9]{1,18})\s*/\s*([0-9]{1,18}|\*)", re.ASCII | re.IGNORECASE
)
_UNSATISFIED = r"(?ai)bytes\s*[ =:]\s*\*/([0-9]{1,18})"

WHOLE = (200, 203)
"""Statuses of an answer that holds the whole file; 203 is a 200 that a proxy has changed (RFC 9110, 15.3.4)."""
_LATER = {408, 425, 429}
"""Refusals of the client's kind that may pass; those of the server's kind (5xx) may pass too."""
_UNSATISFIABLE = 416
_UNAUTHORIZED = 401
_LOGIN_REQUIRED = 511
_AUTHORIZATION_HINT = "Put the login into the mirror's URL, http://USER:PASSWORD@HOST/, or into ~/.netrc."


class Request(NamedTuple):
    """What was asked for: SPAN of FILE from the mirror NAME.

    Attributes:
        ranged: Whether the request had a Range field.
        redirected: Whether a redirect led to the answer, which then says nothing lasting about the mirror.
    """

    name: str
    file: DataFile
    span: Span
    ranged: bool = True
    redirected: bool = False


class RangeResponse(NamedTuple):
    """The bytes of the file that a body holds, and how to read them.

    Attributes:
        span: The bytes of the file, from the first byte of the body on.
        coded: Whether a content coding must be removed.
        certain: Whether the header fields say all this without a contradiction. If not, the digests decide.
        whole: Whether the body is the whole file: the server ignores ranges.
        oddity: What the file there seems to be, judged by its size: another dataset's file of the same name, a
            truncated file. Its pieces may be right; their digests decide.
    """

    span: Span
    coded: bool
    certain: bool
    whole: bool
    oddity: str | None


class PieceCheck:
    """Checks one piece while the body it is in is received: whether the body holds what it was taken for."""

    def __init__(self, piece: Piece) -> None:
        self.at = piece.span.start
        self.piece = piece
        self._hash = hashlib.sha256()

    def add(self, start: int, data: bytes) -> bool | None:
        """Take note of DATA from offset START on; return whether the piece is right, or None before its end."""
        stop = min(start + len(data), self.piece.span.stop)
        if start <= self.at < stop:
            self._hash.update(memoryview(data)[self.at - start : stop - start])
            self.at = stop
        return self._hash.hexdigest() == self.piece.sha256 if self.at == self.piece.span.stop else None


class RangeError(SourceError):
    """A request with a range got an answer that can't be used; the same request without a range may succeed."""


class _Head:
    """What the header fields of RESPONSE say about its body.

    Attributes:
        length: The bytes of the body, where a number is stated that counts (RFC 9112, section 6.3).
        codings: The content codings in lower case, without `identity`.
        stated: The Content-Range field.
        claim: The range that it states; None where it states none, or an impossible one.
        total: The size of the file that it states, if it does.
    """

    def __init__(self, response: BaseHTTPResponse) -> None:
        fields = response.headers
        self.length = None if fields.get("Transfer-Encoding") else response.length_remaining
        codings = (coding.strip().lower() for coding in fields.get("Content-Encoding", "").split(","))
        self.codings = [coding for coding in codings if coding not in ("", "identity")]
        self.stated = _single(fields.get("Content-Range", ""))
        self.claim: Span | None = None
        self.total: int | None = None
        match = _CONTENT_RANGE.fullmatch(self.stated)
        if match and int(match[1]) <= int(match[2]):
            self.claim = Span(int(match[1]), int(match[2]) + 1)
            self.total = None if match[3] == "*" else int(match[3])

    def coded(self, length: int) -> bool:
        """Whether a content coding must be removed to get the LENGTH bytes expected.

        Many servers label a .gz file as gzip-coded and send it as it is; then the length is right.
        """
        return bool(self.codings) and self.length != length

    def oddity(self, file: DataFile, size: int, *, coded: bool) -> str | None:
        """Return what is odd about a file of SIZE bytes in place of FILE, or about a coding that must be removed."""
        odd = _odd_size(file, size)
        if odd is None and coded and not {*HTTPResponse.CONTENT_DECODERS}.issuperset(self.codings):
            odd = f"it has the content coding {', '.join(self.codings)[:20]}, which was not asked for"
        return odd


def parse_response(response: BaseHTTPResponse, request: Request) -> RangeResponse:
    """Find out which bytes of the file the body of RESPONSE holds.

    Raises:
        RangeError: If the answer is of no use, and a request without a range may get a better one.
        SourceError: If it is of no use.
    """
    head = _Head(response)
    if response.status not in (206, *WHOLE):
        raise _refusal(response, head, request)
    # The second is a partial answer under the wrong status.
    if response.status == 206 or (head.claim and head.length == head.claim.length < request.file.size):
        return _partial(response, head, request)
    return _whole(response, head, request)


def _partial(response: BaseHTTPResponse, head: _Head, request: Request) -> RangeResponse:
    file, span, length, claim = request.file, request.span, head.length, head.claim
    certain = claim is not None and (
        # Of a coded body the length is that of the coded bytes.
        length in (None, claim.length) or (bool(head.codings) and claim.start == span.start)
    )
    unusable = None
    if response.headers.get("Content-Type", "").strip().lower().startswith("multipart/"):
        unusable = "several parts"
    elif length == 0:
        unusable = "no bytes"
    elif claim is None and length is not None and length < span.length and length != file.size:
        # Bytes of which nothing says where they belong, and too few: the next ones would cost a request each time.
        unusable = "too few bytes, and not where they are"
    if length == file.size and not certain:
        placed = Span(0, file.size)
    elif claim is None or (length == span.length and not certain):
        # What it says is missing, malformed, or contradicts its length: read it as what was asked for.
        placed = Span(span.start, span.stop if length is None else span.start + length)
    else:
        placed = claim
    if not (unusable or placed.start <= span.start < placed.stop):
        unusable = head.stated[:80] or "no range"
    if unusable:
        wanted = f"bytes {span.start}-{span.stop - 1}/{file.size}"
        facts = f"{request.name}: {file.name}: answered {unusable}, wanted {wanted}"
        raise (RangeError if request.ranged else SourceError)(facts, status=response.status)
    whole = placed.start == 0 and placed.stop >= file.size and span.length < file.size
    coded = head.coded(placed.length)
    oddity = head.oddity(file, file.size if head.total is None else head.total, coded=coded)
    body = Span(placed.start, min(placed.stop, file.size if whole else span.stop))
    return RangeResponse(body, coded, certain and not (coded and length is None), whole, oddity)


def _whole(response: BaseHTTPResponse, head: _Head, request: Request) -> RangeResponse:
    file, length = request.file, head.length
    coded = head.coded(file.size)
    size = file.size if length is None or coded else length
    facts = f"{request.name}: {file.name} has {size:,} bytes there, wanted {file.size:,}"
    if size < file.pieces[0].span.length:
        what = _seen(response, request) or "another file, or a part of it"
        hint = diagnosis.LOGIN_HINT if what == diagnosis.LOGIN_PAGE else AGAIN
        raise SourceError(f"{facts} ({what})", hint=hint, status=response.status, telling=2)
    if size <= request.span.start:
        raise SourceError(facts, status=response.status, telling=1)
    oddity = head.oddity(file, size, coded=coded)
    return RangeResponse(Span(0, min(size, file.size)), coded, not (coded and length is None), True, oddity)


def _refusal(response: BaseHTTPResponse, head: _Head, request: Request) -> SourceError:
    status, file, fields = response.status, request.file, response.headers
    later = status >= 500 or status in _LATER or "Retry-After" in fields
    permanent = status >= 400 and not (later or status == _UNSATISFIABLE or request.redirected)
    stated = re.fullmatch(_UNSATISFIED, head.stated) if status == _UNSATISFIABLE else None
    beyond = stated if stated and int(stated[1]) <= request.span.start else None
    what = _odd_size(file, int(beyond[1])) if beyond else _seen(response, request)
    # A range that the manifest's file has and the one there lacks: there is another file.
    kind = WrongBytesError if beyond and what else SourceError
    arriving = status == 503 and fields.get(STATE) == ARRIVING
    if kind is SourceError and request.ranged and not later:
        kind = RangeError
    hint = CHECK_ADDRESS if permanent else AGAIN
    if status == _UNAUTHORIZED:
        hint = _AUTHORIZATION_HINT
    said = "is still downloading what is missing" if arriving else f"answered {status}"
    return kind(
        f"{request.name} {said} for {file.name}" + (f" ({what})" if what else ""),
        hint=diagnosis.LOGIN_HINT if what == diagnosis.LOGIN_PAGE else hint,
        permanent=permanent,
        retry_after=retry_after(fields.get("Retry-After"), fields.get("Date")),
        status=status,
        arriving=arriving,
        telling=0 if what is None else 1 if beyond else 2,
    )


def _single(value: str) -> str:
    """VALUE, which a field that occurs several times with the same value repeats (RFC 9110, section 8.6)."""
    first, *others = (part.strip() for part in value.split(","))
    return first if all(other == first for other in others) else value.strip()


def _odd_size(file: DataFile, size: int) -> str | None:
    """Return what a file of SIZE bytes seems to be in place of FILE."""
    if size == file.size:
        return None
    what = diagnosis.by_size(file, size)
    return f"the file has {size:,} bytes there, wanted {file.size:,}" + (f": {what}" if what else "")


def _seen(response: BaseHTTPResponse, request: Request) -> str | None:
    """Return what the body of a wrong answer seems to be, judged by its first bytes."""
    start = b""
    with suppress(Exception):
        start = response.read1(1024, decode_content=True)
    what = diagnosis.describe(start, request.file, content_type=response.headers.get("Content-Type", ""))
    # The page of an ordinary 404 is not a login page.
    may_log_in = response.status in (*WHOLE, _LOGIN_REQUIRED) or request.redirected
    return None if what == diagnosis.LOGIN_PAGE and not may_log_in else what


def retry_after(value: str | None, date: str | None = None) -> float | None:
    """Return the seconds of a Retry-After: a number of them, or an HTTP date (RFC 9110, section 10.2.3).

    A date is counted from DATE, the Date field of the same answer, since the two clocks may differ.
    """
    stated = _single(value or "")
    if stated.isascii() and stated.isdecimal():
        return float(stated[:9])
    moment, now = _moment(value), _moment(date)
    return None if moment is None else max(0.0, moment - (time.time() if now is None else now))


def _moment(value: str | None) -> float | None:
    """Return the moment that an HTTP date names, in seconds since the epoch."""
    with suppress(ValueError, OverflowError, TypeError, IndexError):
        if parts := parsedate_tz(value or ""):
            return mktime_tz(parts)
    return None
