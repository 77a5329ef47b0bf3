"""The errors of the package, divided by what the caller can do about them.

This module imports nothing of the package. An error states the facts in `message` and, in `hint`, a command or an
action that helps. The command line prints both as two lines; the text of the exception has both as well.

    FetchError              1   the base class
      UsageError            2   an argument or a setting names something that does not exist
      IntegrityError        3   no source has the right bytes, or verified bytes are damaged
      SourceError           4   a source did not deliver; another source or a later attempt may succeed
        WrongBytesError          3   it delivered other bytes than the manifest pins
      DiskError             5   the disk, its permissions or a limit of the system prevent the work
        PartFileReplacedError    5   another process replaced a part file
      FormatError           6   bytes that are not what their format requires
        ManifestError       6   a manifest with faults, all of them listed
"""

import errno
import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import chain
from pathlib import Path
from typing import Any

AGAIN = "Run the same command again."
CHECK_NETWORK = "Check the network, then run the same command again."
CHECK_ADDRESS = "Check the address of the mirror."
_MOST_FAULTS_SHOWN = 100
# Blanks that str.isprintable does not count as printable: the no-break space, and the space of Chinese text.
_BLANKS = "\u00a0\u3000"


def size(count: float) -> str:
    """Return a number of bytes with its unit, such as 26.4 MB."""
    for unit in ("bytes", "kB", "MB", "GB"):
        # Not 1000: 999.95 and more would be written as 1000.0.
        if count < (1000 if unit == "bytes" else 999.95) or unit == "GB":
            break
        count /= 1000
    return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"


def escaped(text: str) -> str:
    """Return one line of text with all characters escaped that a terminal would obey, such as ESC and newlines.

    Headers of mirrors, titles in manifests and file names are text of strangers.
    """
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() or char in _BLANKS else char.encode("unicode_escape").decode("ascii")
        for char in text
    )


def escaped_lines(text: str) -> str:
    """Return text as `escaped` does, but keep the newline before an indented line, as the lists in messages have it.

    So nothing can pass for another `error:` or `hint:` line.
    """
    return "\n".join(map(escaped, re.split(r"\n(?=  )", text)))


class FetchError(Exception):
    """A failure with a message that states the facts, a hint, and the exit code of the process.

    Attributes:
        message: What is wrong.
        hint: What to do about it.
        exit_code: The exit code of the command line.
        facts: What programs may want to know in addition; part of the object that --json prints.

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
        return f"{escaped_lines(self.message)}\nhint: {escaped_lines(self.hint)}"

    def _render_traceback_(self) -> list[str]:
        """Return what IPython and notebooks show in place of a traceback."""
        return [f"error: {escaped_lines(self.message)}", f"hint: {escaped_lines(self.hint)}"]


class UsageError(FetchError):
    """The caller names a dataset, a URL, an option or a value that does not exist."""

    exit_code = 2


class IntegrityError(FetchError):
    """Bytes differ from what the manifest pins."""

    exit_code = 3


class SourceError(FetchError):
    """A source did not deliver.

    Attributes:
        permanent: Whether another request for the same file is pointless.
        retry_after: The seconds that the source asks to wait, if it does.
        status: The HTTP status code of the answer, if there was one.
        arriving: Whether the source is itself downloading what it was asked for.
        telling: How specific the message is: 2 where the bytes identify what came instead, 1 where their number does,
            else 0.
        is_local: Whether a limit of this machine is the reason: fewer connections may still work.
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
        arriving: bool = False,
        telling: int = 0,
        is_local: bool = False,
    ) -> None:
        super().__init__(message, hint=hint)
        self.permanent, self.retry_after, self.status = permanent, retry_after, status
        self.arriving, self.telling, self.is_local = arriving, telling, is_local


class WrongBytesError(SourceError):
    """A source delivered other bytes than the manifest pins."""

    exit_code = 3


class DiskError(FetchError):
    """The disk is full, read-only or gone, or permissions or a limit of the system prevent the work."""

    exit_code = 5


class PartFileReplacedError(DiskError):
    """Another process has renamed or replaced a part file of which pieces were counted as good."""

    def __init__(self, path: os.PathLike[str]) -> None:
        super().__init__(f"{os.fspath(path)}: another process has replaced it", hint=AGAIN)


class FormatError(FetchError):
    """Bytes that are not what their format requires, such as a gzip stream that ends early."""

    exit_code = 6


class ManifestError(FormatError):
    """A manifest with faults; `faults` lists each one with its place, the message the first of them."""

    def __init__(self, origin: str, faults: Sequence[str]) -> None:
        listed = "".join(f"\n  {fault}" for fault in faults[:_MOST_FAULTS_SHOWN])
        if more := len(faults[_MOST_FAULTS_SHOWN:]):
            listed += f"\n  and {more:,} more"
        noun = "1 fault" if len(faults) == 1 else f"{len(faults)} faults"
        hint = "Correct the places named above, then run the same command again."
        super().__init__(f"{origin} has {noun}:{listed}", hint=hint)
        self.faults = tuple(faults)


RAISE_LIMIT = "Raise the limit (ulimit -n 4096) or close other programs, then run the same command again."
_REASONS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "your disk quota is used up",
    errno.EFBIG: "the file is too large for this file system, or for the limit of this process (ulimit -f)",
    errno.EROFS: "the file system is read-only",
    errno.EACCES: "permission denied",
    errno.EPERM: "permission denied",
    errno.EEXIST: "a file is in the way where a folder should be",
    errno.ENOTDIR: "a part of this path is a file, not a folder",
    errno.EISDIR: "this is a folder, not a file",
    errno.ENOENT: "it does not exist (any more)",
    errno.ELOOP: "too many symbolic links, or a loop of them",
    errno.EMFILE: "this process may open no more files or connections",
    errno.ENFILE: "this machine may open no more files or connections",
    errno.ENOMEM: "the memory is used up",
}
_SIGNS_OF_A_LINK = {errno.ENOENT, errno.EEXIST, errno.ENOTDIR, errno.ELOOP}
_FREE_SPACE = "Free some space and run the same command again; every verified piece is kept."
_CHOOSE_ROOT = "Choose another folder with --root FOLDER or FMNIST_ROOT=FOLDER, or repair this one."
_HINTS = {
    errno.ENOSPC: _FREE_SPACE,
    errno.EDQUOT: _FREE_SPACE,
    errno.EMFILE: RAISE_LIMIT,
    errno.ENFILE: RAISE_LIMIT,
    errno.ENOMEM: "Close other programs, then run the same command again.",
}


@contextmanager
def disk(path: str | os.PathLike[str], needed: int | None = None) -> Iterator[None]:
    """Convert an OSError of the block to a DiskError that names the path and the reason.

    Args:
        path: The file or folder that the block works on.
        needed: The bytes that the block writes, for the message where space is short.
    """
    try:
        yield
    except OSError as exc:
        raise _disk_error(exc, os.fspath(path), needed) from exc


def reason(exc: OSError) -> str:
    """Return what the system refused, in words."""
    return _REASONS.get(exc.errno or 0, exc.strerror or str(exc))


def dangling_link(path: str | os.PathLike[str]) -> Path | None:
    """Return the symbolic link at a path, or at one of its folders, that leads to nothing or in a loop."""
    # Not the methods of Path, which raise where a folder is closed to us.
    for place in chain([Path(path)], Path(path).parents):
        if os.path.exists(place):  # noqa: PTH110
            # Then all that leads to it exists too: nearly always, this is the folder of a file that is not there yet.
            return None
        if os.path.islink(place):  # noqa: PTH114
            return place
    return None


def _disk_error(exc: OSError, path: str, needed: int | None = None) -> DiskError:
    if exc.errno in _SIGNS_OF_A_LINK and (link := dangling_link(path)):
        hint = "Correct or remove it, or choose another folder with --root FOLDER or FMNIST_ROOT=FOLDER."
        return DiskError(f"{link} is a symbolic link that leads to nothing", hint=hint)
    space = f" ({size(needed)} needed)" if needed and _HINTS.get(exc.errno or 0) is _FREE_SPACE else ""
    hint = getattr(exc, "hint", None) or _HINTS.get(exc.errno or 0, _CHOOSE_ROOT)
    return DiskError(f"{path}: {reason(exc)}{space}", hint=hint)


def interrupt_behind(exc: BaseException) -> KeyboardInterrupt | None:
    """Return the interrupt that an exception is, or to which it is due.

    A second signal can interrupt the code that handles the first one: a lock of `threading` then fails to be released.
    """
    found: BaseException | None = exc
    while found is not None and not isinstance(found, KeyboardInterrupt | FetchError):
        found = found.__context__
    return found if isinstance(found, KeyboardInterrupt) else None


def from_exception(exc: BaseException, bug_hint: str | None = None) -> FetchError:
    """Convert an exception that nothing has handled to a FetchError, for the last handler of a program.

    Args:
        exc: The exception; it becomes the cause of the error that is returned.
        bug_hint: What to do about an exception that only a bug explains, where there is no --log.

    Returns:
        The exception itself if it is a FetchError; otherwise an error with the facts that it has.
    """
    if isinstance(exc, FetchError):
        return exc
    error = _from_system(exc) or _from_import(exc) or _unexpected(exc, bug_hint)
    error.__cause__ = exc
    return error


def _from_system(exc: BaseException) -> FetchError | None:
    if isinstance(exc, MemoryError):
        return FetchError("the memory is used up", hint=_HINTS[errno.ENOMEM])
    if isinstance(exc, RuntimeError) and "interpreter shutdown" in str(exc):
        return FetchError("Python is ending, and starts no threads any more", hint="Call it before the program ends.")
    if isinstance(exc, RuntimeError) and "start new thread" in str(exc):
        return FetchError(
            "this system allows no more threads",
            hint="Close other programs or raise the limits (ulimit -u, ulimit -v), then run the same command again.",
        )
    if isinstance(exc, OSError) and exc.errno is not None and exc.filename is not None:
        return _disk_error(exc, os.fsdecode(exc.filename) if isinstance(exc.filename, bytes) else str(exc.filename))
    if isinstance(exc, FileNotFoundError):
        try:
            Path.cwd()
        except OSError:
            return DiskError("the current folder has been deleted", hint="Change to another folder: cd ~")
    return None


def _from_import(exc: BaseException) -> FetchError | None:
    if not isinstance(exc, ImportError):
        return None
    package = (exc.name or "").partition(".")[0]
    if package in ("", __package__) or _shadow():
        return None
    state = "is not installed" if isinstance(exc, ModuleNotFoundError) else f"can't be loaded ({exc})"
    if package in sys.stdlib_module_names:
        return FetchError(f"the module {package} of Python {state}", hint="Use a complete Python 3.11 or newer.")
    hint = "Run: make data" if in_clone() else "Run: python3 -m pip install --upgrade fmnist-fetch"
    return FetchError(f"the package {package} {state}", hint=hint)


def _shadow() -> Path | None:
    """Return the file beside the user's program that Python has loaded in place of a module of its own: a random.py."""
    for name in sys.stdlib_module_names & sys.modules.keys():
        path = Path(getattr(sys.modules[name], "__file__", None) or os.devnull)
        if (path.parent.parent if path.name == "__init__.py" else path.parent) == Path(sys.path[0]):
            return path
    return None


def _unexpected(exc: BaseException, hint: str | None) -> FetchError:
    if shadow := _shadow():
        return FetchError(f"{shadow} takes the place of a module of Python itself", hint="Rename it, then try again.")
    place, trace = "", exc.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        place = f" ({Path(code.co_filename).name}, line {trace.tb_lineno})"
        trace = trace.tb_next
    detail = str(exc).partition("\n")[0][:200]
    hint = hint or "This is a bug. Run the same command with --log FILE, which then has the traceback, and report it."
    return FetchError(f"unexpected {type(exc).__name__}{place}" + (f": {detail}" if detail else ""), hint=hint)


def in_clone() -> bool:
    """Return whether the current folder is the clone that this package is part of, where `make` works."""
    project = Path(__file__).parents[1]
    with suppress(OSError):
        # The current folder may have been deleted.
        return project.samefile(Path.cwd()) and (project / "Makefile").exists()
    return False
