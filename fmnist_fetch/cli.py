"""The command line: arguments in, two lines of error out, an exit code. Everything else is done by the rooms below."""

import argparse
import signal
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from fmnist_fetch import lab, own, verbs, view
from fmnist_fetch.errors import FetchError
from fmnist_fetch.events import Arriving, Began, Event, Verified
from fmnist_fetch.phrases import size
from fmnist_fetch.screen import close_streams, complain, open_streams, tell_result
from fmnist_fetch.version import __version__

INTERRUPTED = 130
TERMINATED = 143
ROOMS = (verbs, view, own, lab)
"""The rooms that have verbs: each has `add_verbs`."""


class Terminated(KeyboardInterrupt):
    """SIGTERM: the same orderly end as Ctrl-C, with another exit code."""


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run the command line ARGV (default: the process's) and exit."""
    signal.signal(signal.SIGTERM, _terminate)
    open_streams()
    code = run(argv)
    close_streams()
    sys.exit(code)


def run(argv: Sequence[str] | None = None) -> int:
    """Run the command line ARGV and return the exit code; foreseeable failures become two lines on stderr."""
    options = parser().parse_args(argv)
    kept = _Kept()
    try:
        outcome: dict[str, Any] = options.run(options, kept)
        code = 0
    except FetchError as exc:
        code = exc.exit_code
        outcome = {"error": exc.message, "hint": exc.hint, **exc.facts}
        complain(exc.message, exc.hint)
    except KeyboardInterrupt as exc:
        code = TERMINATED if isinstance(exc, Terminated) else INTERRUPTED
        outcome = {"error": "interrupted" if code == INTERRUPTED else "terminated", "hint": kept.sentence()}
        complain(outcome["error"], outcome["hint"])
    if options.json:
        tell_result({"exit_code": code, **outcome})
    return code


def parser() -> argparse.ArgumentParser:
    """Describe the verbs and their options."""
    top = argparse.ArgumentParser(
        prog="fmnist-fetch",
        description="Fetch Fashion-MNIST (and any IDX dataset) over bad networks; every byte is verified.",
    )
    top.add_argument("--version", action="version", version=f"fmnist-fetch {__version__}")
    added = top.add_subparsers(title="verbs", required=True, metavar="VERB")
    for room in ROOMS:
        room.add_verbs(added)
    return top


def _terminate(_number: int, _frame: object) -> NoReturn:
    raise Terminated


class _Kept:
    """Counts the pieces that are safe, for the last words of an interrupted run."""

    def __init__(self) -> None:
        self._pieces = self._good = self._begun = 0

    def __call__(self, event: Event) -> None:
        match event:
            case Began():
                self._pieces, self._good = event.pieces, event.good
            case Verified():
                self._good += 1
            case Arriving():
                self._begun = sum(count for _, count in event.files)

    def sentence(self) -> str:
        """What is kept, and how to go on."""
        if not self._pieces:
            return "Nothing is lost. Run the same command again to go on."
        others = f", and {size(self._begun)} of others" if self._begun else ""
        return f"{self._good} of {self._pieces} pieces are good and kept{others}. Run the same command again to go on."
