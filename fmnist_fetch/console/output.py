"""What is said to people and programs: sentences and one JSON object on stdout, errors in two lines on stderr.

A reader who goes away (`| head`) is in his right: what is left to say is said to nobody, and the exit code stays true.
"""

import argparse
import json
import os
import sys
from typing import Any, TextIO


def say(options: argparse.Namespace, sentence: str) -> None:
    """Print SENTENCE, unless OPTIONS ask for silence or for JSON."""
    if not options.quiet and not options.json:
        _print(sentence, sys.stdout)


def give(text: str) -> None:
    """Print TEXT, which is what was asked for, on stdout as it is."""
    _print(text, sys.stdout, end="")


def emit(outcome: dict[str, Any]) -> None:
    """Print OUTCOME as the one JSON object on stdout."""
    _print(json.dumps(outcome), sys.stdout)


def print_error(message: str, hint: str) -> None:
    """Print the two lines of an error: the facts, and what to do."""
    _print(f"error: {message}\nhint: {hint}", sys.stderr)


def open_streams() -> None:
    """Replace closed streams (cron, >&-), which are None: what is said to them is said to nobody."""
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115 - open to the end of the process
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115


def close_streams() -> None:
    """Flush both streams now: a failure while the interpreter flushes them would become an exit code of its own."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            _to_nobody(stream)


def _print(text: str, stream: TextIO, end: str = "\n") -> None:
    try:
        print(text, file=stream, end=end, flush=True)
    except OSError:
        _to_nobody(stream)


def _to_nobody(stream: TextIO) -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
