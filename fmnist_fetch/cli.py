"""The command line: arguments in, one command run, an exit code out; whatever fails becomes two lines on stderr."""

import argparse
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, NoReturn

from fmnist_fetch import __version__
from fmnist_fetch.commands import fetch
from fmnist_fetch.commands.arguments import PROGRAM
from fmnist_fetch.console.output import emit, flush_streams, open_streams, print_error
from fmnist_fetch.console.parser import Parser
from fmnist_fetch.console.progress import Log, ProgressState
from fmnist_fetch.errors import AGAIN, DiskError, FetchError, from_exception, interrupt_behind

INTERRUPTED = 130
TERMINATED = 143
# The last one comes where a terminal is closed or a connection to another machine ends; Windows has none.
_ENDING = [signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])]


class Terminated(KeyboardInterrupt):
    """SIGTERM or SIGHUP: the same orderly end as Ctrl-C, with another exit code."""


def run(argv: Sequence[str] | None = None) -> int:
    """Run one command line.

    Args:
        argv: The arguments; None for those of the process.

    Returns:
        The exit code. Every failure has been printed as two lines on stderr and, with --json, in the object on stdout.
    """
    words = sys.argv[1:] if argv is None else list(argv)
    options: argparse.Namespace | None = None
    state = ProgressState()
    try:
        options = parser(words).parse_args(words)
        outcome: dict[str, Any] = options.run(options, state)
        code = 0
    except (KeyboardInterrupt, Exception) as exc:
        if interrupt := interrupt_behind(exc):
            code = _interrupt_code(interrupt)
            outcome = _failed("interrupted" if code == INTERRUPTED else "terminated", state.kept())
        else:
            error = _explained(exc, options)
            code, outcome = error.exit_code, _failed(error.message, error.hint) | error.facts
    if options.json if options else "--json" in words:
        try:
            emit({"exit_code": code, **outcome})
        except FetchError as exc:
            code = _first_failure(code, exc)
    return code


def _first_failure(code: int, error: FetchError) -> int:
    """Print an error of the output, unless the command itself has failed; return the exit code for both."""
    if code == 0:
        print_error(error.message, error.hint)
    return code or error.exit_code


def _explained(exc: BaseException, options: argparse.Namespace | None) -> FetchError:
    """Return an exception as the error to print; the log gets the traceback of one that nobody expected."""
    error = from_exception(exc)
    path = getattr(options, "log", None)
    if error is not exc and path:
        with suppress(OSError, DiskError):
            Log(path).note_failure(exc)
            if error.hint.startswith("This is a bug."):
                error.hint = f"This is a bug. {path} has the traceback: report it with that file."
    return error


def _failed(message: str, hint: str) -> dict[str, Any]:
    """Print an error, and return it as the outcome of the command."""
    print_error(message, hint)
    return {"error": message, "hint": hint}


def parser(words: Sequence[str] = ()) -> Parser:
    """Return the parser of the command line; of one that begins with `fetch`, for this command only."""
    text = "Fetch Fashion-MNIST or any IDX dataset over bad networks, every byte verified."
    top = Parser(prog=PROGRAM, description=text)
    top.add_argument("--version", action="version", version=f"{PROGRAM} {__version__}")
    subparsers = top.add_subparsers(title="commands", required=True, metavar="COMMAND", prog=PROGRAM)
    fetch.add_parser(subparsers)
    # The command that is run most need not wait until the modules of the others are loaded.
    if list(words[:1]) != ["fetch"]:
        from fmnist_fetch.commands import completion, kit, manifest, script, serve, verify
        from fmnist_fetch.commands import list as list_

        for command in (verify, list_, manifest, kit, serve, script):
            command.add_parser(subparsers)
        completion.add_parser(subparsers, top)
    return top


def prepare_process() -> None:
    """Open closed streams, and let signals end the run in order; one that is ignored (nohup, &) stays so."""
    open_streams()
    for number in _ENDING:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else _terminate)


def finish_process(code: int) -> int:
    """Flush the streams, and return the exit code of the process."""
    # An interrupt while the interpreter ends would only be a traceback.
    for number in _ENDING:
        signal.signal(number, signal.SIG_IGN)
    try:
        flush_streams()
    except FetchError as exc:
        return _first_failure(code, exc)
    return code


def interrupted(exc: KeyboardInterrupt) -> int:
    """Report an interrupt that no command handles, and return its exit code."""
    print_error("interrupted", AGAIN)
    return _interrupt_code(exc)


def _interrupt_code(exc: KeyboardInterrupt) -> int:
    return TERMINATED if isinstance(exc, Terminated) else INTERRUPTED


def _terminate(_number: int, _frame: object) -> NoReturn:
    raise Terminated
