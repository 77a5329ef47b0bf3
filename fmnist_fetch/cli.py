"""The command line: arguments in, two lines of error out, an exit code. Everything else is done by the rooms below."""

import argparse
import signal
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from fmnist_fetch import __version__
from fmnist_fetch.commands import fetch
from fmnist_fetch.console.formatting import size
from fmnist_fetch.console.output import close_streams, emit, open_streams, print_error
from fmnist_fetch.errors import AGAIN, FetchError
from fmnist_fetch.events import BytesInFlight, DownloadStarted, Event, Verified

INTERRUPTED = 130
TERMINATED = 143


class Terminated(KeyboardInterrupt):
    """SIGTERM: the same orderly end as Ctrl-C, with another exit code."""


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run the command line ARGV (default: the process's) and exit."""
    open_streams()
    try:
        _heed_signals()
        code = run(argv)
    except KeyboardInterrupt as exc:
        # Before the verb began, or the second one, from somebody who is in a hurry.
        code = _code(exc)
        print_error("interrupted", AGAIN)
    finally:
        _ignore_signals()
        close_streams()
    sys.exit(code)


def run(argv: Sequence[str] | None = None) -> int:
    """Run the command line ARGV and return the exit code; foreseeable failures become two lines on stderr."""
    words = sys.argv[1:] if argv is None else argv
    options = parser(words).parse_args(words)
    kept = _Kept()
    try:
        outcome: dict[str, Any] = options.run(options, kept)
        code = 0
    except FetchError as exc:
        code = exc.exit_code
        outcome = {"error": exc.message, "hint": exc.hint, **exc.facts}
        print_error(exc.message, exc.hint)
    except KeyboardInterrupt as exc:
        code = _code(exc)
        outcome = {"error": "interrupted" if code == INTERRUPTED else "terminated", "hint": kept.sentence()}
        print_error(outcome["error"], outcome["hint"])
    if options.json:
        emit({"exit_code": code, **outcome})
    return code


def parser(words: Sequence[str] = ()) -> argparse.ArgumentParser:
    """Describe the verbs and their options; where WORDS are a fetch, that one only."""
    name = "fmnist-fetch"
    text = "Fetch Fashion-MNIST (and any IDX dataset) over bad networks; every byte is verified."
    top = argparse.ArgumentParser(prog=name, description=text)
    top.add_argument("--version", action="version", version=f"{name} {__version__}")
    added = top.add_subparsers(title="verbs", required=True, metavar="VERB", prog=name)
    fetch.add_verbs(added)
    # The verb that is run most need not wait until the others' rooms are loaded.
    if words[:1] != ["fetch"]:
        from fmnist_fetch.commands import completion, kit, manifest, script, serve, verify
        from fmnist_fetch.commands import list as list_

        for command in (verify, list_, manifest, kit, serve, script):
            command.add_verbs(added)
        completion.add_verb_for(top, added)
    return top


def _code(interrupt: KeyboardInterrupt) -> int:
    return TERMINATED if isinstance(interrupt, Terminated) else INTERRUPTED


def _heed_signals() -> None:
    """Let both signals end the run in order; where Ctrl-C is ignored (nohup, &), it goes on being so."""
    signal.signal(signal.SIGTERM, _terminate)
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _ignore_signals() -> None:
    """All is said and done: an interrupt while the interpreter winds up would only be a traceback."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _terminate(_number: int, _frame: object) -> NoReturn:
    raise Terminated


class _Kept:
    """Counts the pieces that are safe, for the last words of an interrupted run."""

    def __init__(self) -> None:
        self._pieces = self._good = self._begun = 0

    def __call__(self, event: Event) -> None:
        match event:
            case DownloadStarted():
                self._pieces, self._good = event.pieces, event.good
            case Verified():
                self._good += 1
                self._begun = max(0, self._begun - event.length)
            case BytesInFlight():
                self._begun = sum(count for _, count in event.files)

    def sentence(self) -> str:
        """What is kept, and how to go on."""
        if not self._pieces:
            return "Nothing is lost. Run the same command again to go on."
        others = f", and {size(self._begun)} of others" if self._begun else ""
        return f"{self._good} of {self._pieces} pieces are good and kept{others}. Run the same command again to go on."
