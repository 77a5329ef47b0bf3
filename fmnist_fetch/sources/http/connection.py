"""One connection to a mirror. HTTP's inclusive ranges exist only in this package.

A body is never read past the span asked for. No validator (ETag, If-Range) is sent: a digest is a stronger one than any
that a server can offer.
"""

from contextlib import suppress
from http import HTTPStatus
from typing import TYPE_CHECKING

from urllib3 import BaseHTTPResponse
from urllib3.exceptions import DecodeError

from fmnist_fetch.errors import SourceError
from fmnist_fetch.manifest.model import DataFile
from fmnist_fetch.manifest.pieces import Span
from fmnist_fetch.sources.base import Tier
from fmnist_fetch.sources.diagnosis import LOGIN_HINT, LOGIN_PAGE, looks_like_page
from fmnist_fetch.sources.http.client import Client
from fmnist_fetch.sources.http.response import PieceCheck, RangeError, RangeResponse, Request, parse_response

if TYPE_CHECKING:
    from fmnist_fetch.sources.http.source import HttpSource

_RECEIVE_BYTES = 1024 * 1024
"""Bytes that one receive takes at most: each costs the worker the same, and all others who wait for the interpreter."""
_NOTHING = RangeResponse(Span(0, 0), coded=False, certain=True, whole=False, oddity=None)


class HttpConnection(Client):
    """One keep-alive connection to a mirror, and the answer that is being read from it."""

    def __init__(self, source: "HttpSource") -> None:
        super().__init__(source)
        self.oddity: str | None = None
        self.pending = 0
        self._response: BaseHTTPResponse | None = None
        self._file: DataFile | None = None
        self._answer = _NOTHING
        self._span = _NOTHING.span
        self._coded = False
        self._check: PieceCheck | None = None
        self._fresh = self._delivered = self._ask_whole = False

    def read(self, file: DataFile, span: Span) -> bytes:
        """Return bytes of FILE from span.start on, as many as one receive returns; raise SourceError.

        Continues with the answer under way where that is at span.start, or leads there; else asks for SPAN anew.
        """
        try:
            if not self._continues(file, span):
                self._drop()
                ranged, self._ask_whole = self._source.serves_ranges is not False and not self._ask_whole, False
                if ranged and self._source.begin_whole_try():
                    self._try_whole(file, span)
                else:
                    try:
                        self._start(file, span, ranged=ranged)
                    except SourceError as exc:
                        self._try_otherwise(file, span, exc, ranged=ranged)
            while self._span.start < span.start:
                # What comes before is read and discarded; for those who wait, it is a sign of life.
                self.pending += len(self._receive(span.start - self._span.start))
                self.stages += 1
            data = self._receive(span.stop - self._span.start)
            self._delivered = True
            return data
        except BaseException as exc:
            self._learn_from_failure(span)
            self._drop()
            if isinstance(exc, SourceError) and exc.status == HTTPStatus.NOT_FOUND and self._source.tier is Tier.LAN:
                # Nobody named this server for this dataset, and it may be about to get it.
                exc.permanent = False
            if isinstance(exc, SourceError) or not isinstance(exc, Exception):
                raise
            # Whatever an answer makes a library raise is this mirror's failure, and ends nothing else.
            raise self.translate(exc, self._source.url) from exc

    def close(self) -> None:
        """Close the connection."""
        self._drop()
        self.hang_up()

    def _continues(self, file: DataFile, span: Span) -> bool:
        here = self._span
        if self._response is None or self._file is not file or not here.start <= span.start < here.stop:
            return False
        return here.start == span.start or (self._answer.whole and not self._source.serves_ranges)

    def _try_otherwise(self, file: DataFile, span: Span, error: SourceError, *, ranged: bool) -> None:
        """Ask for the whole file where an answer to a request with a range can't be used; else raise ERROR."""
        source = self._source
        if not isinstance(error, RangeError):
            if ranged and self.requested and not (self.stopped or error.arriving):
                source.range_failures += 1
            raise error
        if not source.missed_range(error.status):
            raise error
        try:
            self._start(file, span, ranged=False)
        except SourceError as exc:
            if exc.status == error.status:
                # Refused with and without a range: ranges are not the reason.
                source.refuses_whole.add(exc.status)
            raise

    def _try_whole(self, file: DataFile, span: Span) -> None:
        """Ask for the whole file since requests with a range fail; that may have another reason."""
        succeeded = False
        try:
            self._start(file, span, ranged=False, trial=True)
            succeeded = True
        finally:
            self._source.tried_whole(succeeded=succeeded)
        if not span.start or self._source.whole_tries > 1:
            return
        # The server may just have recovered, and to skip what is there already costs more than one request.
        self._drop()
        try:
            self._start(file, span, ranged=True)
        except SourceError:
            self._start(file, span, ranged=False)

    def _start(self, file: DataFile, span: Span, *, ranged: bool, trial: bool = False) -> None:
        """Send one request, and make its answer the one that is being read; a TRIAL says nothing of ranges."""
        self._response = response = self.request(self._source.file_url(file.name), span if ranged else None)
        try:
            answer = parse_response(response, Request(self.place, file, span, ranged, self.redirected))
            if not trial:
                self._note_ranges(answer, file, span, ranged=ranged)
        except BaseException:
            # Not only `_drop`: a body that the status forbids, as of 304, would be taken for the next answer.
            self.close()
            raise
        if self._check is None or self._check.at != span.start or self._file is not file:
            self._check = self._first_piece(file, span, answer)
        self._answer, self._span, self.oddity, self._file = answer, answer.span, answer.oddity, file
        self._coded = answer.coded and (answer.certain or not self._source.coding_is_label)
        self._fresh, self._delivered = True, False

    def _end_ranges(self) -> None:
        """Remember that requests with a range are of no use; an answer through a redirect says nothing lasting."""
        if not self.redirected:
            self._source.serves_ranges = False

    def _note_ranges(self, answer: RangeResponse, file: DataFile, span: Span, *, ranged: bool) -> None:
        """Remember whether the server serves ranges; raise SourceError at the first surprise that it does not."""
        source = self._source
        if answer.whole or not ranged:
            if ranged and source.serves_ranges and span.start and not source.missed_range(None):
                raise SourceError(f"{source.name} ignored a range: {file.name} came from its start")
            self._end_ranges()
        elif answer.certain and source.serves_ranges is None:
            source.serves_ranges = True

    def _first_piece(self, file: DataFile, span: Span, answer: RangeResponse) -> PieceCheck | None:
        """Return what shows whether ANSWER holds what it is taken for; None where nothing more can be learned."""
        source = self._source
        if answer.whole and source.suspect in file.pieces:
            return PieceCheck(source.suspect)
        if answer.certain and (source.verified or not span.start):
            return None
        pieces = (piece for piece in file.pieces if span.start <= piece.span.start and piece.span.stop <= span.stop)
        # A piece without a digest shows nothing.
        first = next((piece for piece in pieces if piece.sha256), None)
        return PieceCheck(first) if first else None

    def _learn(self, check: PieceCheck, *, right: bool) -> None:
        """Remember what the first piece of this answer shows; the next answer may have to be read another way."""
        source, answer, self._check = self._source, self._answer, None
        if answer.coded and not answer.certain:
            source.coding_is_label = source.coding_is_label if right else self._coded
        elif answer.whole:
            if source.suspect is not None and not right:
                # It is wrong whichever way it is asked for.
                source.verified, source.serves_ranges = True, None
            source.suspect = None
        elif right:
            source.verified, source.suspect, source.serves_ranges = True, None, True
            source.delivered_range()
        else:
            # The first time, the piece itself may be wrong there. If the next one is too, ranges are the reason.
            if source.suspect is not None or not answer.certain:
                self._ask_whole = self.redirected
                self._end_ranges()
            source.suspect = check.piece

    def _learn_from_failure(self, span: Span) -> None:
        """Go back to ranges where a whole file ended before what is missing: it may always end there.

        A range of which not one byte came is a failure like an answer of no use.
        """
        if self.stopped:
            return
        if self._answer.whole and span.start and not (self._delivered or self.redirected):
            self._source.serves_ranges = None
        elif self._response is not None and self._fresh and not self._answer.whole:
            self._source.range_failures += 1

    def _receive(self, most: int) -> bytes:
        """Return the next bytes of the body, at least one, at most MOST; never past what was asked for."""
        response = self._response
        if response is None or self.stopped:
            raise SourceError(f"{self._source.name}: stopped")
        try:
            data = response.read1(min(most, _RECEIVE_BYTES), decode_content=self._coded)
        except DecodeError:
            self._source.coding_is_label = True
            raise
        if not data:
            if not (self._answer.certain or self._answer.whole or self.redirected):
                self._source.contradicted_range()
            raise SourceError(f"{self._source.name} hung up {self._span.length:,} bytes early")
        start = self._span.start
        if self._fresh:
            self._check_beginning(response, data)
        if self._check is not None and (right := self._check.add(start, data)) is not None:
            self._learn(self._check, right=right)
        self._span = Span(start + len(data), self._span.stop)
        if not self._span.length:
            self._finish(response)
        return data

    def _check_beginning(self, response: BaseHTTPResponse, data: bytes) -> None:
        """Raise SourceError if a body that should be the file's begins as a page: no wrong bytes, but no answer."""
        self._fresh = False
        if self._answer.certain and not self._answer.whole:
            self._source.delivered_range()
        typed = response.headers.get("Content-Type", "").startswith("text/html")
        if (typed or self._span.start == 0) and looks_like_page(data):
            raise SourceError(f"{self.place}: {LOGIN_PAGE}", hint=LOGIN_HINT, telling=2)

    def _finish(self, response: BaseHTTPResponse) -> None:
        """Give the connection back for the next request; close it where the body goes on past its end."""
        self._response = None
        if response.length_remaining == 0 and not self._coded:
            with suppress(Exception):
                # Nothing is left to drain, but it is this that lets go of the socket's file object; without it, closing
                # the connection later would wait for the garbage collector.
                response.drain_conn()
                response.release_conn()
                self._kept_alive = True
                return
        response.close()

    def _drop(self) -> None:
        response, self._response, self._answer = self._response, None, _NOTHING
        if response is not None:
            with suppress(Exception):
                response.close()
