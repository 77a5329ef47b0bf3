"""What is missing, and which worker has which of it in hand. Pure: no threads, no clock, no bytes from anywhere.

Every missing piece is in exactly one task, waiting or in hand, but for the last ones, which two workers may race for.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set

from fmnist_fetch.manifest.model import DataFile
from fmnist_fetch.manifest.pieces import Piece, Span, missing

Accepts = Callable[[int, int], bool]
"""Whether the one who asks can bring the piece of this index of the file of this index."""

Whole = tuple[int, bytearray | memoryview, set[int]]
"""A piece that has all of its bytes, unverified: its index, the bytes, and who gave them."""

EARLIER_RUN = -1
"""The giver of what an earlier run held."""


class Segment:
    """A run of missing pieces of one file: bytes AT to STOP are still to come.

    `held` are the bytes, unverified, that have come of the piece under way, and `givers` those who gave them. What a
    broken connection brought is kept here, and the next one is asked for the rest only. `stored` is how many of them
    are on the disk too.
    """

    __slots__ = ("at", "file", "givers", "held", "stop", "stored")

    def __init__(
        self, file: int, at: int, stop: int, held: bytes | bytearray = b"", givers: Iterable[int] = (), stored: int = 0
    ) -> None:
        self.file, self.at, self.stop = file, at, stop
        self.held, self.givers, self.stored = bytearray(held), set(givers), stored

    @property
    def span(self) -> Span:
        """What is still to be asked for."""
        return Span(self.at, self.stop)

    @property
    def start(self) -> int:
        """Where the piece under way begins."""
        return self.at - len(self.held)

    def forget(self) -> None:
        """Throw away what is held: it is known, or suspected, to be wrong."""
        self.at = self.start
        self.clear()

    def clear(self) -> tuple[bytearray, set[int]]:
        """Hold nothing any more; returns what was held, and who gave it."""
        held, givers = self.held, self.givers
        self.held, self.givers, self.stored = bytearray(), set(), 0
        return held, givers


class SegmentQueue:
    """The missing pieces of FILES, of which GOOD (sets of piece indices) are there already."""

    def __init__(
        self, files: Sequence[DataFile], good: Sequence[Set[int]], held: Sequence[Mapping[int, bytes]] | None = None
    ) -> None:
        self.files = files
        self.good = [set(indices) for indices in good]
        self.todo = [
            task
            for number, file in enumerate(files)
            for span in missing(file.pieces, self.good[number], file.size)
            for task in self._tasks(number, span, held[number] if held else {})
        ]
        self.in_hand: list[Segment] = []
        self.bytes_missing = sum(
            piece.span.length
            for number, file in enumerate(files)
            for index, piece in enumerate(file.pieces)
            if index not in self.good[number]
        )

    def _tasks(self, number: int, span: Span, held: Mapping[int, bytes]) -> Iterator[Segment]:
        """SPAN of file NUMBER as tasks: one, or as many as there are held beginnings within it."""
        length = self._piece_length(number)
        starts = [span.start, *(index * length for index in sorted(held) if span.start < index * length < span.stop)]
        for start, stop in zip(starts, [*starts[1:], span.stop], strict=True):
            beginning = held.get(start // length, b"")
            givers = {EARLIER_RUN} if beginning else set()
            yield Segment(number, start + len(beginning), stop, beginning, givers, len(beginning))

    def held(self) -> list[Segment]:
        """The tasks that hold the beginning of a piece."""
        return [task for task in (*self.todo, *self.in_hand) if task.held]

    def index(self, task: Segment) -> int:
        """The index of the piece under way."""
        return task.start // self._piece_length(task.file)

    @property
    def complete(self) -> bool:
        """Whether every piece of every file is good."""
        return self.bytes_missing == 0

    def file_complete(self, file: int) -> bool:
        """Whether every piece of this file is good."""
        return len(self.good[file]) == len(self.files[file].pieces)

    def length(self, file: int, piece: int) -> int:
        """The length of this piece in bytes."""
        return self._piece(file, piece).span.length

    def pieces(self, task: Segment) -> range:
        """The indices of the pieces of TASK, from the one under way on."""
        length = self._piece_length(task.file)
        return range(task.start // length, -(-task.stop // length))

    def take(self, accepts: Accepts, most: int, alone: Accepts = lambda _file, _piece: False) -> Segment | None:
        """Put in hand the next waiting run of pieces that the caller ACCEPTS, of about MOST bytes; None: nothing.

        A piece that is to be asked for ALONE is a run by itself.
        """
        for place, task in enumerate(self.todo):
            pieces = self.pieces(task)
            first = next((piece for piece in pieces if accepts(task.file, piece)), None)
            if first is None:
                continue
            enough = first + (1 if alone(task.file, first) else max(1, most // self._piece_length(task.file)))
            last = first + 1
            while last < min(pieces.stop, enough) and accepts(task.file, last) and not alone(task.file, last):
                last += 1
            return self._carve(place, first, last)
        return None

    def wanted(self, accepts: Accepts) -> bool:
        """Whether anything waits that the caller ACCEPTS."""
        return any(accepts(task.file, piece) for task in self.todo for piece in self.pieces(task))

    def feed(self, task: Segment, start: int, data: bytes, giver: int) -> Iterator[Whole]:
        """Add DATA from START on to TASK; yield each piece that is now whole.

        While it was read, others may have brought what it belongs to, or taken over what lies behind; that is dropped.
        """
        view = memoryview(data)[: task.stop - task.at] if start == task.at else memoryview(b"")
        while view:
            index = self.index(task)
            span = self._piece(task.file, index).span
            part = view[: span.stop - task.at]
            view = view[len(part) :]
            task.at += len(part)
            if len(part) == span.length:
                # Not held first: on a fast line, to copy every byte would be a tenth of the work.
                yield index, part, {giver}
                continue
            task.held += part
            task.givers.add(giver)
            if task.at == span.stop:
                yield index, *task.clear()

    def keep(self, task: Segment, index: int) -> bool:
        """Piece INDEX of TASK's file is good; tell whether that is news. Who raced for it has less to do."""
        if index in self.good[task.file]:
            return False
        span = self._piece(task.file, index).span
        self.good[task.file].add(index)
        self.bytes_missing -= span.length
        for other in self.in_hand:
            if other is not task and other.file == task.file and span.start <= other.start < span.stop:
                other.clear()
                other.at = span.stop
        return True

    def reject(self, task: Segment, index: int) -> None:
        """Piece INDEX, which TASK had just brought, is wrong: it is missing still, and must not keep others waiting."""
        span = self._piece(task.file, index).span
        if index in self.good[task.file] or self._elsewhere(task, span):
            return
        self.todo.append(Segment(task.file, *span))

    def release(self, task: Segment, *, last: bool = False) -> None:
        """TASK is no longer in hand: what is left of it waits again, with what it holds.

        LAST: its first piece behind all others. Only that is known to be hard to get, and the rest need not wait.
        """
        self.in_hand.remove(task)
        if task.at < task.stop and not self._elsewhere(task, Span(task.start, task.stop)):
            if last:
                self._put_last(task)
            else:
                self.todo.insert(0, task)

    def _put_last(self, task: Segment) -> None:
        stop = self._piece(task.file, self.index(task)).span.stop
        if stop < task.stop:
            self.todo.insert(0, Segment(task.file, stop, task.stop))
            task.stop = stop
        tail = self.todo[-1] if self.todo else task
        if (tail.file, tail.stop) == (task.file, task.at) and not task.held:
            # Neighbours are joined, so that many pieces do not cost as many requests.
            tail.stop = task.stop
        else:
            self.todo.append(task)

    def split(self, task: Segment, index: int) -> Segment:
        """Put in hand, for another worker, the pieces of TASK from INDEX on; they must lie behind what it holds."""
        start = self._piece(task.file, index).span.start
        tail = Segment(task.file, start, task.stop)
        task.stop = start
        self.in_hand.append(tail)
        return tail

    def race(self, task: Segment) -> Segment | None:
        """Put in hand the rest of TASK's last piece once more; None where two work on it already."""
        if self._elsewhere(task, Span(task.start, task.stop)):
            return None
        twin = Segment(task.file, task.at, task.stop, task.held, task.givers)
        self.in_hand.append(twin)
        return twin

    def _elsewhere(self, task: Segment, span: Span) -> bool:
        """Whether another worker has the piece at the start of SPAN in hand."""
        return any(
            other is not task and other.file == task.file and other.start <= span.start < other.stop
            for other in self.in_hand
        )

    def _carve(self, place: int, first: int, last: int) -> Segment:
        """Put in hand the pieces FIRST to LAST of the waiting task at PLACE; what is around them goes on waiting."""
        task = self.todo.pop(place)
        start, stop = self._piece(task.file, first).span.start, self._piece(task.file, last - 1).span.stop
        around = [Segment(task.file, stop, task.stop)] if stop < task.stop else []
        if start == task.start:
            task.stop, carved = stop, task
        else:
            task.stop, carved = start, Segment(task.file, start, stop)
            around.insert(0, task)
        self.todo[place:place] = around
        self.in_hand.append(carved)
        return carved

    def _piece(self, file: int, index: int) -> Piece:
        return self.files[file].pieces[index]

    def _piece_length(self, file: int) -> int:
        return self.files[file].pieces[0].span.length
