"""What can go wrong, split by what the caller can do about it.

This is the ground floor: it imports nothing of the package. An error is made from facts; it says what is wrong in
one sentence and, in a second one, what to do. Only the command line prints it.

    FetchError              1   the root of the tree
      UsageError            2   the command names something that is not there
      IntegrityError        3   no source has the right bytes, or verified bytes are damaged
      SourceError           4   a source did not deliver; another one, or a later moment, may
        WrongBytesError          3   it delivered, but not what the manifest pins
      DiskError             5   the disk or its permissions stand in the way
      FormatError           6   bytes that are not what their format says
        ManifestError       6   a manifest with faults, all of them listed
"""

import errno
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

AGAIN = "Run the same command again."
CHECK_NETWORK = "Check the network, then run the same command again."


class FetchError(Exception):
    """Any foreseeable failure: a message of facts, a hint to act on, and the exit code of the process.

    `facts` is what programs may want to know beside the message; --json tells it. The text of the exception holds both
    message and hint, so that a traceback shows what to do.

    >>> import fmnist_fetch
    >>> try:
    ...     fmnist_fetch.load(root="elsewhere")
    ... except fmnist_fetch.FetchError as error:
    ...     print(error.hint)
    Run: fmnist-fetch fetch --root ...elsewhere
    """

    exit_code = 1

    def __init__(self, message: str, *, hint: str) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.facts: dict[str, Any] = {}

    def __str__(self) -> str:
        return f"{self.message}\nhint: {self.hint}"

    def _render_traceback_(self) -> list[str]:
        """What IPython and notebooks show: the two lines, and no traceback for what could be foreseen."""
        return [f"error: {self.message}", f"hint: {self.hint}"]


class UsageError(FetchError):
    """The command names a dataset, a URL or an option that does not exist."""

    exit_code = 2


class IntegrityError(FetchError):
    """Bytes differ from what the manifest pins."""

    exit_code = 3


class SourceError(FetchError):
    """A source did not deliver.

    `permanent` says that asking it again for the same file is pointless, `retry_after` how many seconds it wants to
    be left alone, `status` what it answered (HTTP status code), where there was an answer. `telling` ranks a message
    that names what came instead: 2 judged by its bytes, 1 by its size, 0 where it names nothing.
    """

    exit_code = 4

    def __init__(
        self,
        message: str,
        *,
        hint: str = AGAIN,
        permanent: bool = False,
        retry_after: float | None = None,
        status: int | None = None,
        telling: int = 0,
    ) -> None:
        super().__init__(message, hint=hint)
        self.telling = telling
        self.permanent = permanent
        self.retry_after = retry_after
        self.status = status


class WrongBytesError(SourceError):
    """A source delivered, but other bytes than the manifest pins."""

    exit_code = 3


class DiskError(FetchError):
    """The disk is full, read-only, gone, or its permissions are in the way."""

    exit_code = 5


class PartFileReplacedError(DiskError):
    """Another process has renamed or replaced the part file at PATH, of which pieces were counted as good."""

    def __init__(self, path: os.PathLike[str]) -> None:
        super().__init__(f"{os.fspath(path)}: another process has replaced it", hint=AGAIN)


class FormatError(FetchError):
    """Bytes that are not what their format says: an IDX header that lies, a gzip stream that ends early."""

    exit_code = 6


class ManifestError(FormatError):
    """A manifest with faults; `faults` lists every one with its place."""

    def __init__(self, origin: str, faults: Sequence[str]) -> None:
        listed = "".join(f"\n  {fault}" for fault in faults)
        noun = "1 fault" if len(faults) == 1 else f"{len(faults)} faults"
        super().__init__(f"{origin} has {noun}:{listed}", hint="Mend the places named above, then run again.")
        self.faults = tuple(faults)


_REASONS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "your disk quota is used up",
    errno.EFBIG: "the file is too large for this file system",
    errno.EROFS: "the file system is read-only",
    errno.EACCES: "permission denied",
    errno.EPERM: "permission denied",
    errno.EEXIST: "a file is in the way where a folder should be",
    errno.ENOTDIR: "a part of this path is a file, not a folder",
    errno.EISDIR: "this is a folder, not a file",
    errno.ENOENT: "it is not there (any more)",
}
_SPACE = {errno.ENOSPC, errno.EDQUOT}


@contextmanager
def disk(path: str | os.PathLike[str], needed: int | None = None) -> Iterator[None]:
    """Turn the OSErrors of the block into a DiskError that names PATH and, where space is short, the NEEDED bytes."""
    try:
        yield
    except OSError as exc:
        reason = _REASONS.get(exc.errno or 0, exc.strerror or str(exc))
        if exc.errno in _SPACE:
            space = f" ({needed:,} bytes are needed)" if needed else ""
            hint = "Free some space and run the same command again; every verified piece is kept."
        else:
            space = ""
            other = "Choose another folder with --root FOLDER or FMNIST_ROOT=FOLDER, or mend this one."
            hint = getattr(exc, "hint", other)
        raise DiskError(f"{os.fspath(path)}: {reason}{space}", hint=hint) from exc
