"""What an answer to a request for a file really is: which bytes of the file its body holds, or why it is of no use.

A status line is not believed. Source: RFC 9110, sections 14.4 (Content-Range), 15.3.7 (206), 15.5.17 (416).
"""

import hashlib
import re
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import NamedTuple

import requests

from fmnist_fetch.errors import AGAIN, SourceError, WrongBytesError
from fmnist_fetch.manifest.model import DataFile
from fmnist_fetch.manifest.pieces import Piece, Span
from fmnist_fetch.sources import diagnosis
from fmnist_fetch.sources.base import ARRIVING, STATE

# More lenient than the grammar: servers were seen to send "bytes=0-1/2" and "bytes: 0-1/2".
_CONTENT_RANGE = re.compile(
    r"bytes\s*[ =:]\s*([0-9]{1,18})\s*-\s*([0-9]{1,18})\s*/\s*([0-9]{1,18}|\*)", re.ASCII | re.IGNORECASE
)
_UNSATISFIED = re.compile(r"bytes\s*[ =:]\s*\*/([0-9]{1,18})", re.ASCII | re.IGNORECASE)
_LENGTH = re.compile(r"[0-9]{1,18}", re.ASCII)

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


def parse_response(response: requests.Response, request: Request) -> RangeResponse:
    """Find out which bytes of the file the body of RESPONSE holds.

    Raises:
        RangeError: If the answer is of no use, and a request without a range may get a better one.
        SourceError: If it is of no use.
    """
    if response.status_code == 206:
        return _partial(response, request)
    if response.status_code in WHOLE:
        claim = _content_range(response)
        if claim is not None and _length(response) == claim.span.length < request.file.size:
            # A partial answer under the wrong status.
            return _partial(response, request)
        return _whole(response, request)
    raise _refusal(response, request)


class _Claim(NamedTuple):
    """What a Content-Range field says."""

    span: Span
    total: int | None


def _partial(response: requests.Response, request: Request) -> RangeResponse:
    file, span, length = request.file, request.span, _length(response)
    claim = _content_range(response)
    content_type = response.headers.get("Content-Type", "").strip().lower()
    if content_type.startswith("multipart/"):
        raise _unusable(response, request, "several parts")
    if length == 0:
        raise _unusable(response, request, "no bytes")
    if claim is not None and length in (None, claim.span.length):
        placed, certain = claim.span, True
    elif _coding(response) and claim is not None and claim.span.start == span.start:
        # The length is that of the coded bytes.
        placed, certain = claim.span, True
    elif length == file.size:
        placed, certain = Span(0, file.size), False
    elif claim is None and length is not None and length < span.length:
        # Bytes of which nothing says where they belong, and too few: the next ones would cost a request each time.
        raise _unusable(response, request, "too few bytes, and not where they are")
    elif claim is None or length == span.length:
        # What it says is missing, malformed, or contradicts its length: read it as what was asked for.
        placed, certain = Span(span.start, span.stop if length is None else span.start + length), False
    else:
        placed, certain = claim.span, False
    if not placed.start <= span.start < placed.stop:
        raise _unusable(response, request, response.headers.get("Content-Range", "")[:80] or "no range")
    total = claim.total if claim and claim.total is not None else file.size
    whole = placed.start == 0 and placed.stop >= file.size and span.length < file.size
    stop = min(placed.stop, file.size if whole else span.stop)
    coded = _is_coded(response, placed.length)
    certain = certain and not (coded and length is None)
    oddity = _oddity(file, total) or _unknown_coding(response, coded=coded)
    return RangeResponse(Span(placed.start, stop), coded, certain, whole, oddity)


def _whole(response: requests.Response, request: Request) -> RangeResponse:
    file = request.file
    coded = _is_coded(response, file.size)
    length = _length(response)
    size = file.size if length is None or coded else length
    if size < file.pieces[0].span.length:
        what = _suspect(response, file) or "another file, or a part of it"
        facts = f"{request.name}: {file.name} has {size:,} bytes there, wanted {file.size:,} ({what})"
        hint = diagnosis.LOGIN_HINT if what == diagnosis.LOGIN_PAGE else AGAIN
        raise SourceError(facts, hint=hint, status=response.status_code, telling=2)
    if size <= request.span.start:
        facts = f"{request.name}: {file.name} has {size:,} bytes there, wanted {file.size:,}"
        raise SourceError(facts, status=response.status_code, telling=1)
    certain = not (coded and length is None)
    oddity = _oddity(file, size) or _unknown_coding(response, coded=coded)
    return RangeResponse(Span(0, min(size, file.size)), coded, certain, True, oddity)


def _unusable(response: requests.Response, request: Request, what: str) -> SourceError:
    span, file = request.span, request.file
    wanted = f"bytes {span.start}-{span.stop - 1}/{file.size}"
    facts = f"{request.name}: {file.name}: answered {what}, wanted {wanted}"
    return (RangeError if request.ranged else SourceError)(facts, status=response.status_code)


def _content_range(response: requests.Response) -> _Claim | None:
    """Return the range that RESPONSE states; None where it states none, or an impossible one."""
    match = _CONTENT_RANGE.fullmatch(_single(response.headers.get("Content-Range", "")))
    if match is None or int(match[2]) < int(match[1]):
        return None
    return _Claim(Span(int(match[1]), int(match[2]) + 1), None if match[3] == "*" else int(match[3]))


def _length(response: requests.Response) -> int | None:
    """Return the length of the body in bytes, where RESPONSE states one that counts (RFC 9112, section 6.3)."""
    if response.headers.get("Transfer-Encoding"):
        return None
    stated = _single(response.headers.get("Content-Length", ""))
    return int(stated) if _LENGTH.fullmatch(stated) else None


def _single(value: str) -> str:
    """VALUE, which a field that occurs several times with the same value repeats (RFC 9110, section 8.6)."""
    first, *others = (part.strip() for part in value.split(","))
    return first if all(other == first for other in others) else value.strip()


def _coding(response: requests.Response) -> str:
    """Return the content codings of RESPONSE in lower case, without `identity`."""
    codings = (coding.strip().lower() for coding in response.headers.get("Content-Encoding", "").split(","))
    return ", ".join(coding for coding in codings if coding not in ("", "identity"))


def _is_coded(response: requests.Response, length: int) -> bool:
    """Whether a content coding must be removed to get the LENGTH bytes expected.

    Many servers label a .gz file as gzip-coded and send it as it is; then the length is right.
    """
    return bool(_coding(response)) and _length(response) != length


def _unknown_coding(response: requests.Response, *, coded: bool) -> str | None:
    """Return what is wrong with a body whose content coding can't be removed here."""
    coding = _coding(response)
    unknown = coded and not set(coding.split(", ")) <= {*response.raw.CONTENT_DECODERS}
    return f"it has the content coding {coding[:20]}, which was not asked for" if unknown else None


def _refusal(response: requests.Response, request: Request) -> SourceError:
    status, file = response.status_code, request.file
    later = status >= 500 or status in _LATER or "Retry-After" in response.headers
    permanent = status >= 400 and not (later or status == _UNSATISFIABLE or request.redirected)
    stated = _UNSATISFIED.fullmatch(_single(response.headers.get("Content-Range", "")))
    beyond = stated if status == 416 and stated and int(stated[1]) <= request.span.start else None
    what = _oddity(file, int(beyond[1])) if beyond else _suspect_refusal(response, request)
    # A range that the manifest's file has and the one there lacks: there is another file.
    kind = WrongBytesError if beyond and what else SourceError
    arriving = status == 503 and response.headers.get(STATE) == ARRIVING
    if kind is SourceError and request.ranged and not later:
        kind = RangeError
    said = "is still downloading what is missing" if arriving else f"answered {status}"
    return kind(
        f"{request.name} {said} for {file.name}" + (f" ({what})" if what else ""),
        hint=_hint(status, what, permanent=permanent),
        permanent=permanent,
        retry_after=retry_after(response.headers.get("Retry-After"), response.headers.get("Date")),
        status=status,
        arriving=arriving,
        telling=0 if what is None else 1 if beyond else 2,
    )


def _hint(status: int, what: str | None, *, permanent: bool) -> str:
    if what == diagnosis.LOGIN_PAGE:
        return diagnosis.LOGIN_HINT
    if status == _UNAUTHORIZED:
        return _AUTHORIZATION_HINT
    return "Check the address of the mirror." if permanent else AGAIN


def _oddity(file: DataFile, size: int) -> str | None:
    """Return what a file of SIZE bytes seems to be in place of FILE."""
    if size == file.size:
        return None
    what = diagnosis.by_size(file, size)
    return f"the file has {size:,} bytes there, wanted {file.size:,}" + (f": {what}" if what else "")


def _suspect(response: requests.Response, file: DataFile) -> str | None:
    """Return what the body of a wrong answer seems to be, judged by its first bytes."""
    start = b""
    with suppress(Exception):
        start = response.raw.read1(1024, decode_content=True)
    return diagnosis.describe(start, file, content_type=response.headers.get("Content-Type", ""))


def _suspect_refusal(response: requests.Response, request: Request) -> str | None:
    """Return what the body of a refusal seems to be. The page of an ordinary 404 is not a login page."""
    what = _suspect(response, request.file)
    if what == diagnosis.LOGIN_PAGE and not request.redirected and response.status_code != _LOGIN_REQUIRED:
        return None
    return what


def retry_after(value: str | None, date: str | None = None) -> float | None:
    """Parse Retry-After: a number of seconds, or an HTTP date (RFC 9110, section 10.2.3).

    Args:
        value: The field's value, if there is one.
        date: The Date field of the same answer. A date is counted from it, since the two clocks may differ.

    Returns:
        Seconds from now, or None.
    """
    stated = _single(value or "")
    if stated.isascii() and stated.isdecimal():
        return float(stated[:9])
    moment = _moment(value)
    if moment is None:
        return None
    return max(0.0, (moment - (_moment(date) or datetime.now(UTC))).total_seconds())


def _moment(value: str | None) -> datetime | None:
    """Return the moment that an HTTP date names."""
    if not value:
        return None
    try:
        moment = parsedate_to_datetime(value)
    except (ValueError, OverflowError, TypeError, IndexError):
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
