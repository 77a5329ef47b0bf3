"""The output of a command: sentences and one JSON object on stdout, errors in two lines on stderr.

A reader that closes the pipe (`| head`) is no failure: the rest of the output is discarded. Any other failure to write
a result is a DiskError, since the caller would take an empty output for the result.
"""

import argparse
import errno
import io
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO

from fmnist_fetch.console.formatting import encodable
from fmnist_fetch.errors import DiskError, escaped, escaped_lines, reason

_STDERR = 2


def print_line(options: argparse.Namespace, *sentences: str) -> None:
    """Print each sentence as one line on stdout, unless the options ask for silence or for JSON."""
    if not options.quiet and not options.json:
        for sentence in sentences:
            write_line(sentence)


def write_line(sentence: str) -> None:
    """Print one line on stdout."""
    _print(escaped(sentence) + "\n")


def print_text(text: str) -> None:
    """Print a text that the user asked for, such as a script, on stdout as it is.

    A file or a pipe receives UTF-8, which Python expects in a program, whatever the language of the system is. That
    stdout was closed before the program began is an error here.
    """
    if isinstance(sys.stdout, _ClosedStream):
        raise _unwritable("it is closed")
    if isinstance(sys.stdout, io.TextIOWrapper) and not sys.stdout.isatty():
        sys.stdout.reconfigure(encoding="utf-8")
    _print(text)


def emit(outcome: dict[str, Any]) -> None:
    """Print the outcome of a command as one JSON object on stdout, as `print_text` does."""
    print_text(json.dumps(outcome) + "\n")


def print_error(message: str, hint: str) -> None:
    """Print an error as its two lines on stderr. Nothing is left to do where that fails."""
    with suppress(Exception):
        write(sys.stderr, f"error: {escaped_lines(message)}\nhint: {escaped_lines(hint)}\n")


def write(stream: TextIO, text: str) -> None:
    """Write a text to a stream, which may be any object with a method `write`, and flush it."""
    try:
        stream.write(text)
    except UnicodeEncodeError:
        stream.write(encodable(text, getattr(stream, "encoding", None)))
    if flush := getattr(stream, "flush", None):
        flush()


class _ClosedStream(io.TextIOBase):
    """A stream in place of one that was closed before the program began: what is written to it goes nowhere."""

    def write(self, text: str) -> int:
        return len(text)


def open_streams() -> None:
    """Replace closed streams (cron, >&-), which are None, and let the others wait for a reader that is slow."""
    # No file that is opened later gets the number of a stream, to which a child process would write.
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= _STDERR:
        pass
    os.close(descriptor)
    sys.stdout = sys.stdout or _ClosedStream()
    sys.stderr = sys.stderr or _ClosedStream()
    for stream in (sys.stdout, sys.stderr):
        # One that the parent made non-blocking fails as soon as a pipe is full.
        with suppress(OSError, ValueError, AttributeError):
            os.set_blocking(stream.fileno(), True)


def flush_streams() -> None:
    """Flush both streams: a failure while the interpreter does it would become an exit code of its own."""
    with suppress(Exception):
        sys.stderr.flush()
    with _writing():
        sys.stdout.flush()


def _print(text: str) -> None:
    with _writing():
        write(sys.stdout, text)


@contextmanager
def _writing() -> Iterator[None]:
    """Convert a failure of stdout to a DiskError; a closed pipe is none."""
    try:
        yield
    except OSError as exc:
        # What is left in the buffer goes nowhere.
        try:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        except (OSError, ValueError, AttributeError):
            sys.stdout = open(os.devnull, "w")  # noqa: SIM115
        # Windows reports a closed pipe as an invalid argument.
        if not isinstance(exc, BrokenPipeError) and not (os.name == "nt" and exc.errno == errno.EINVAL):
            raise _unwritable(reason(exc)) from exc


def _unwritable(why: str) -> DiskError:
    hint = "Send the output to another place, then run the same command again."
    return DiskError(f"the output can't be written: {why}", hint=hint)
