"""What is missing, and which worker has which of it in hand. Pure: no threads, no clock, no input or output.

Every missing piece is in exactly one segment, waiting or active; in the endgame two workers may have the same one.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from fmnist_fetch.manifest.pieces import Piece, Span, missing
from fmnist_fetch.sources.base import Source
from fmnist_fetch.storage.part_file import PartFile


class FileDownload:
    """A file in transfer: its part file, and the indices of the pieces in it that are good.

    The part file looks after its own threads. The scheduler and its queue change the rest, under the lock of the
    transfer. A file without piece digests is right or wrong as a whole; its pieces are good when they are stored.
    `only_source` is the one source to ask where the whole was wrong and came from several.

    Args:
        part: The part file, whose `file` is the file of the manifest.
        good: The indices of the pieces that are there already.
        partials: The beginnings of pieces that an earlier run kept, by index.
    """

    def __init__(self, part: PartFile, good: Iterable[int] = (), partials: Mapping[int, bytes] | None = None) -> None:
        self.part = part
        self.data_file = part.file
        self.name = part.file.name
        self.size = part.file.size
        self.pieces: Sequence[Piece] = part.file.pieces
        self.piece_length = self.pieces[0].span.length
        self.good = set(good)
        self.partials = partials or {}
        self.only_source: Source | None = None

    @property
    def complete(self) -> bool:
        """Whether every piece is good."""
        return len(self.good) == len(self.pieces)

    @property
    def has_piece_digests(self) -> bool:
        """Whether each piece can be verified by itself."""
        return all(piece.sha256 for piece in self.pieces)

    @property
    def bytes_good(self) -> int:
        """The bytes of the good pieces."""
        return sum(self.length(index) for index in self.good)

    def length(self, index: int) -> int:
        """Return the length of piece INDEX in bytes."""
        return self.pieces[index].span.length


Accepts = Callable[[FileDownload, int], bool]
"""Whether the source that asks can serve the piece of this index."""

Givers = set[Source | None]
"""Who sent the bytes of a piece; None is an earlier run."""

WholePiece = tuple[int, bytearray | memoryview, Givers]
"""A piece that has all of its bytes, unverified: its index, the bytes, and who sent them."""


class Segment:
    """A run of missing pieces of one file: the bytes from POSITION to STOP are still to be received.

    `partial` are the bytes received of the first piece, unverified, and `givers` who sent them. What a broken
    connection brought is kept here, and the next connection is asked for the rest only. `stored` is how many of them
    are on the disk too.
    """

    __slots__ = ("file", "givers", "partial", "position", "stop", "stored")

    def __init__(
        self,
        file: FileDownload,
        position: int,
        stop: int,
        partial: bytes | bytearray = b"",
        givers: Iterable[Source | None] = (),
    ) -> None:
        self.file, self.position, self.stop = file, position, stop
        self.partial, self.givers, self.stored = bytearray(partial), set(givers), 0

    @property
    def span(self) -> Span:
        """What is still to be received."""
        return Span(self.position, self.stop)

    @property
    def start(self) -> int:
        """The offset of the first piece."""
        return self.position - len(self.partial)

    @property
    def index(self) -> int:
        """The index of the first piece."""
        return self.start // self.file.piece_length

    @property
    def pieces(self) -> range:
        """The indices of the pieces, from the first one that is not whole."""
        return range(self.index, -(-self.stop // self.file.piece_length))

    def discard(self) -> None:
        """Drop the partial piece, which is or may be wrong, to receive it again."""
        self.position = self.start
        self.take_partial()

    def take_partial(self) -> tuple[bytearray, Givers]:
        """Empty the partial piece; return its bytes and who sent them."""
        partial, givers = self.partial, self.givers
        self.partial, self.givers, self.stored = bytearray(), set(), 0
        return partial, givers


class SegmentQueue:
    """The missing pieces of FILES as segments, those that wait in the order in which they are checked out."""

    def __init__(self, files: Sequence[FileDownload]) -> None:
        self.files = tuple(files)
        self.waiting: list[Segment] = []
        self.active: list[Segment] = []
        self.bytes_missing = 0
        for file in files:
            self.add_file(file)

    def add_file(self, file: FileDownload) -> None:
        """Add what FILE lacks, behind all that waits."""
        for span in missing(file.pieces, file.good, file.size):
            self.waiting.extend(_segments(file, span))
            self.bytes_missing += span.length

    def restart(self, file: FileDownload) -> None:
        """Let all of FILE, which is complete and wrong as a whole, wait again."""
        file.good.clear()
        file.partials = {}
        self.add_file(file)

    @property
    def complete(self) -> bool:
        """Whether every piece of every file is good."""
        return self.bytes_missing == 0

    def partials(self) -> list[Segment]:
        """Return the segments that have a partial piece."""
        return [segment for segment in (*self.waiting, *self.active) if segment.partial]

    def wanted(self, accepts: Accepts) -> bool:
        """Return whether any piece waits that the caller ACCEPTS."""
        return any(accepts(segment.file, piece) for segment in self.waiting for piece in segment.pieces)

    def checkout(self, accepts: Accepts, length: int, alone: Accepts = lambda _file, _piece: False) -> Segment | None:
        """Make active the next waiting run of pieces that the caller ACCEPTS, of about LENGTH bytes.

        A piece that is to be requested ALONE is a run by itself. Returns None where nothing fits.
        """
        for place, segment in enumerate(self.waiting):
            file, pieces = segment.file, segment.pieces
            first = next((piece for piece in pieces if accepts(file, piece)), None)
            if first is None:
                continue
            limit = first + (1 if alone(file, first) else max(1, length // file.piece_length))
            last = first + 1
            while last < min(pieces.stop, limit) and accepts(file, last) and not alone(file, last):
                last += 1
            return self._carve(place, first, last)
        return None

    def feed(self, segment: Segment, start: int, data: bytes, giver: Source) -> Iterator[WholePiece]:
        """Add DATA, the bytes from START, to SEGMENT; yield each piece that is now whole.

        While it was read, others may have completed the piece, or stolen what follows it; such bytes are dropped.
        """
        view = memoryview(data)[: segment.stop - segment.position] if start == segment.position else memoryview(b"")
        while view:
            index = segment.index
            span = segment.file.pieces[index].span
            part = view[: span.stop - segment.position]
            view = view[len(part) :]
            segment.position += len(part)
            if len(part) == span.length:
                # Not copied to the partial piece first: on a fast line, a copy of every byte is a tenth of the work.
                yield index, part, {giver}
                continue
            segment.partial += part
            segment.givers.add(giver)
            if segment.position == span.stop:
                yield index, *segment.take_partial()

    def complete_piece(self, segment: Segment, index: int) -> bool:
        """Note that piece INDEX of SEGMENT's file is good; return whether that is new.

        Another worker that has the same piece has less to do.
        """
        file = segment.file
        if index in file.good:
            return False
        span = file.pieces[index].span
        file.good.add(index)
        self.bytes_missing -= span.length
        for other in self.active:
            if other is not segment and other.file is file and span.start <= other.start < span.stop:
                other.take_partial()
                other.position = span.stop
        return True

    def requeue(self, segment: Segment, index: int) -> None:
        """Let piece INDEX, which SEGMENT just received and which is wrong, wait behind all others."""
        span = segment.file.pieces[index].span
        if index not in segment.file.good and not self._is_active_elsewhere(segment, span.start):
            self.waiting.append(Segment(segment.file, *span))

    def cancel(self, segment: Segment, *, last: bool = False) -> None:
        """End the work on SEGMENT: what is left of it waits again, with its partial piece.

        Args:
            segment: An active segment.
            last: Whether its first piece waits behind all others. Only that is known to be hard to get; the rest need
                not wait.
        """
        self.active.remove(segment)
        if segment.position < segment.stop and not self._is_active_elsewhere(segment, segment.start):
            if last:
                self._append(segment)
            else:
                self.waiting.insert(0, segment)

    def steal(self, segment: Segment, index: int) -> Segment:
        """Make active, for another worker, the pieces of SEGMENT from INDEX on, which is not its first one."""
        start = segment.file.pieces[index].span.start
        stolen = Segment(segment.file, start, segment.stop)
        segment.stop = start
        self.active.append(stolen)
        return stolen

    def endgame(self, segment: Segment) -> Segment | None:
        """Make active once more the rest of SEGMENT's last piece; None where two workers have it already."""
        if self._is_active_elsewhere(segment, segment.start):
            return None
        twin = Segment(segment.file, segment.position, segment.stop, segment.partial, segment.givers)
        self.active.append(twin)
        return twin

    def _append(self, segment: Segment) -> None:
        """Let the first piece of SEGMENT wait behind all others, and the rest of it in front."""
        stop = segment.file.pieces[segment.index].span.stop
        if stop < segment.stop:
            self.waiting.insert(0, Segment(segment.file, stop, segment.stop))
            segment.stop = stop
        tail = self.waiting[-1] if self.waiting else segment
        if tail.file is segment.file and tail.stop == segment.position and not segment.partial:
            # Neighbours are joined: many pieces do not cost as many requests.
            tail.stop = segment.stop
        else:
            self.waiting.append(segment)

    def _is_active_elsewhere(self, segment: Segment, offset: int) -> bool:
        """Return whether another worker has the piece at OFFSET of SEGMENT's file."""
        return any(
            other is not segment and other.file is segment.file and other.start <= offset < other.stop
            for other in self.active
        )

    def _carve(self, place: int, first: int, last: int) -> Segment:
        """Make active the pieces from FIRST to before LAST of the segment at PLACE; the pieces around them wait on."""
        segment = self.waiting.pop(place)
        file = segment.file
        start, stop = file.pieces[first].span.start, file.pieces[last - 1].span.stop
        around = [Segment(file, stop, segment.stop)] if stop < segment.stop else []
        if start == segment.start:
            segment.stop, carved = stop, segment
        else:
            segment.stop, carved = start, Segment(file, start, stop)
            around.insert(0, segment)
        self.waiting[place:place] = around
        self.active.append(carved)
        return carved


def _segments(file: FileDownload, span: Span) -> Iterator[Segment]:
    """Yield SPAN of FILE as segments: one, or as many as there are partial pieces within it."""
    length = file.piece_length
    starts = [span.start, *(at for index in sorted(file.partials) if span.start < (at := index * length) < span.stop)]
    for start, stop in zip(starts, [*starts[1:], span.stop], strict=True):
        partial = file.partials.get(start // length, b"")
        segment = Segment(file, start + len(partial), stop, partial, {None} if partial else ())
        segment.stored = len(partial)
        yield segment
