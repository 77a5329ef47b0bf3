"""Files to a folder: what lies there already is counted in, the rest is brought."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from fmnist_fetch.concurrency import together
from fmnist_fetch.errors import PartFileReplacedError
from fmnist_fetch.events import Began, Listener, Stepped
from fmnist_fetch.manifest.model import DataFile
from fmnist_fetch.sources.base import Origin
from fmnist_fetch.storage.part_file import PartFile

if TYPE_CHECKING:
    from fmnist_fetch.download.arrivals import Arrival

MAX_RIVALS = 5


def beside_rivals(attempt: Callable[[], None]) -> None:
    """Call ATTEMPT, and again where another process replaces the part files under it: it looks anew at what is there.

    Raises what ATTEMPT raises; PartFileReplacedError only the fifth time.
    """
    for _ in range(MAX_RIVALS - 1):
        with suppress(PartFileReplacedError):
            return attempt()
    return attempt()


def deliver(
    files: Sequence[DataFile],
    folder: Path,
    found: Sequence[Origin],
    limits: tuple[int, float],
    tell: Listener,
    take: "Callable[[Arrival], None]" = lambda _arrival: None,
) -> None:
    """Complete FILES in FOLDER from the origins FOUND; TAKE gets each while it arrives.

    LIMITS are the number of connections and the seconds of patience. Raises as `complete` does.
    """
    if not files:
        return
    # Imported where it is needed: most runs find everything in its place.
    from fmnist_fetch.download.workers import complete

    parts = [PartFile(folder / file.name, file) for file in files]
    for part in parts:
        if part.path.exists():
            tell(Stepped(f"{part.path} is damaged; its good pieces are kept"))
    good = together([part.scan for part in parts])
    sizes = tuple(
        (file.name, file.size, sum(file.pieces[index].span.length for index in indices))
        for file, indices in zip(files, good, strict=True)
    )
    tell(Began(sizes, sum(len(file.pieces) for file in files), sum(map(len, good))))
    jobs, patience = limits
    complete(parts, good, found, take, jobs=jobs, patience=patience, listener=tell)
