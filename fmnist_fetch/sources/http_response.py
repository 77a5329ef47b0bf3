"""What an answer to a range request really is: which bytes of the file its body holds, or why it is of no use.

A status line is not believed. Source: RFC 9110, sections 14.4 (Content-Range), 15.3.7 (206), 15.5.17 (416).
"""

import re
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import NamedTuple

import requests

from fmnist_fetch.errors import AGAIN, SourceError, WrongBytesError
from fmnist_fetch.manifest.model import DataFile
from fmnist_fetch.manifest.pieces import Span
from fmnist_fetch.sources import diagnosis

_CONTENT_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)")
_UNSATISFIED = re.compile(r"bytes \*/(\d{1,18})")
_TRANSIENT = {408, 416, 425, 429}


class Answer(NamedTuple):
    """The span of the file that a body holds, and whether a content coding lies on top that must come off.

    `oddity` is what the whole seems to be in place of the file, judged by its size: another dataset's file of the same
    name, a file that is cut off. Its pieces may be right all the same; their digests decide.
    """

    span: Span
    decode: bool
    oddity: str | None


def judge(response: requests.Response, name: str, file: DataFile, span: Span) -> Answer:
    """What RESPONSE of the mirror NAME holds, where SPAN of FILE was asked for; raises SourceError if it is of no use.

    A 200 is the whole file: the mirror ignores ranges.
    """
    if response.status_code == 206:
        return _partial(response, name, file, span)
    if response.status_code == 200:
        return _whole(response, name, file)
    raise _refusal(response, name, file)


def _partial(response: requests.Response, name: str, file: DataFile, span: Span) -> Answer:
    stated = response.headers.get("Content-Range", "")
    match = _CONTENT_RANGE.fullmatch(stated.strip())
    if not match or int(match[1]) != span.start or int(match[2]) < span.start:
        wanted = f"bytes {span.start}-{span.stop - 1}/{file.size}"
        facts = f"{name}: {file.name}: answered {stated[:80] or 'no range'}, wanted {wanted}"
        raise SourceError(facts, status=response.status_code)
    total = file.size if match[3] == "*" else int(match[3])
    stop = int(match[2]) + 1
    return Answer(Span(span.start, min(stop, span.stop)), _coded(response, stop - span.start), _oddity(file, total))


def _whole(response: requests.Response, name: str, file: DataFile) -> Answer:
    length = response.headers.get("Content-Length", "")
    decode = _coded(response, file.size)
    size = int(length) if length.isdecimal() and not decode else file.size
    if size < file.pieces[0].span.length:
        what = _suspect(response, file) or "another file, or a part of it"
        facts = f"{name}: {file.name} has {size:,} bytes there, wanted {file.size:,} ({what})"
        raise SourceError(facts, status=response.status_code, telling=2)
    return Answer(Span(0, min(size, file.size)), decode, _oddity(file, size))


def _coded(response: requests.Response, length: int) -> bool:
    """Whether a content coding lies on top of the LENGTH bytes expected.

    Many servers label a .gz file as gzip-coded and send it as it is; then the length is right, and it stays as it is.
    """
    coding = response.headers.get("Content-Encoding", "identity").strip().lower()
    return coding != "identity" and response.headers.get("Content-Length") != str(length)


def _refusal(response: requests.Response, name: str, file: DataFile) -> SourceError:
    status = response.status_code
    permanent = 400 <= status < 500 and status not in _TRANSIENT
    told = _UNSATISFIED.fullmatch(response.headers.get("Content-Range", "").strip())
    beyond = told if status == 416 else None
    what = _oddity(file, int(beyond[1])) if beyond else _suspect(response, file)
    # A range that the manifest's file has and the one there lacks: there is another file.
    kind = WrongBytesError if beyond and what else SourceError
    return kind(
        f"{name} answered {status} for {file.name}" + (f" ({what})" if what else ""),
        hint="Check the address of the mirror." if permanent else AGAIN,
        permanent=permanent,
        retry_after=retry_after(response.headers.get("Retry-After")),
        status=status,
        telling=0 if what is None else 1 if beyond else 2,
    )


def _oddity(file: DataFile, size: int) -> str | None:
    """What a file of SIZE bytes seems to be in place of FILE."""
    if size == file.size:
        return None
    what = diagnosis.by_size(file, size)
    return f"the file has {size:,} bytes there, wanted {file.size:,}" + (f": {what}" if what else "")


def _suspect(response: requests.Response, file: DataFile) -> str | None:
    """What the body of a wrong answer seems to be, judged by its first bytes."""
    start = b""
    with suppress(Exception):
        start = response.raw.read1(1024, decode_content=True)
    return diagnosis.describe(start, file, content_type=response.headers.get("Content-Type", ""))


def retry_after(value: str | None) -> float | None:
    """Retry-After in seconds from now, or None; a number or an HTTP date (RFC 9110, section 10.2.3)."""
    if not value:
        return None
    if value.strip().isdecimal():
        return float(value.strip()[:9])
    try:
        moment = parsedate_to_datetime(value)
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return max(0.0, (moment - datetime.now(UTC)).total_seconds())
    except (ValueError, OverflowError):
        return None
