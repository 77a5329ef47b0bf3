"""The arguments of the command line: the parser, the options that all commands have, and the parsers of values."""

import argparse
import os
import re
import shutil
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from fmnist_fetch.console.output import print_text
from fmnist_fetch.console.progress import KINDS, ProgressState
from fmnist_fetch.download.backoff import FOREVER
from fmnist_fetch.errors import UsageError
from fmnist_fetch.manifest.catalog import DATASET
from fmnist_fetch.storage.layout import checked_path

PROGRAM = "fmnist-fetch"
HELP_COLUMNS = 80
_BINARY_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30}
_DECIMAL_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9}
Run = Callable[[argparse.Namespace, ProgressState], dict[str, Any]]
"""A function that runs a command with its options, records its progress, and returns the object for --json."""


class Formatter(argparse.RawDescriptionHelpFormatter):
    """Help with lines of at most 80 columns, however wide the terminal is."""

    def __init__(self, prog: str, **more: Any) -> None:
        columns = min(HELP_COLUMNS, shutil.get_terminal_size().columns)
        super().__init__(prog, **{"width": columns - 2, "max_help_position": 26, **more})


class Parser(argparse.ArgumentParser):
    """A parser whose errors are UsageErrors that suggest what may have been meant."""

    def __init__(self, **more: Any) -> None:
        super().__init__(**{"formatter_class": Formatter, **more})

    def parse_args(  # type: ignore[override]  # the overloads of argparse say no more
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> Any:
        """Parse a command line.

        Raises:
            UsageError: A command, an option or a value does not exist.
        """
        words = list(args or ())
        self._check_command(words)
        options, unknown = self.parse_known_args(words, namespace)
        if unknown:
            raise self._unknown(words[0], unknown)
        return options

    def error(self, message: str) -> NoReturn:
        """Raise a UsageError for a message of argparse."""
        message = re.sub(r"^argument ", "", message)
        if match := re.fullmatch(r"(\S+): invalid choice: (.+?) \(choose from (.*)\)", message, re.DOTALL):
            choices = match[3].replace("'", "")
            hint = f"{_guess(match[2], choices)}Choose from: {choices}."
            raise UsageError(f"{match[1]} can't be {match[2]}", hint=hint)
        raise UsageError(message, hint=_help(self))

    def _print_message(self, message: str, file: Any = None) -> None:  # noqa: ARG002
        """Print the help or the version; argparse itself passes over a stdout that can't be written to."""
        print_text(message)

    def _check_command(self, words: list[str]) -> None:
        """Raise a UsageError unless the words begin with a command or an option of the program itself."""
        known = list(self._commands())
        if not known:
            return
        listed = f"Commands: {', '.join(known)}."
        if not words:
            raise UsageError("no command is given", hint=f"{listed} To begin: {PROGRAM} fetch")
        if not words[0].startswith("-") and words[0] not in known:
            raise UsageError(f"there is no command {words[0]!r}", hint=_guess(words[0], known) + listed)
        own = [text for action in self._actions for text in action.option_strings]
        if words[0].startswith("-") and not any(text.startswith(words[0]) for text in own):
            hint = f"{_guess(words[0], own)}Other options follow a command: {PROGRAM} fetch --help"
            raise UsageError(f"{PROGRAM} has no option {words[0]}", hint=hint)

    def _commands(self) -> dict[str, argparse.ArgumentParser]:
        groups = [action for action in self._actions if isinstance(action, argparse._SubParsersAction)]
        return dict(groups[0].choices) if groups else {}

    def _unknown(self, name: str, unknown: list[str]) -> UsageError:
        """Return the error for the words that the command NAME does not take."""
        command = self._commands()[name]
        options = [word for word in unknown if word.startswith("-")]
        if not options:
            return UsageError(f"unexpected argument {unknown[0]!r}", hint=_help(command))
        option = options[0].partition("=")[0]
        guess = _guess(option, [text for action in command._actions for text in action.option_strings])
        return UsageError(f"{name} has no option {option}", hint=guess + _help(command))


def _help(parser: argparse.ArgumentParser) -> str:
    return f"All options: {parser.prog} --help"


def _guess(word: str, known: str | Sequence[str]) -> str:
    from difflib import get_close_matches

    names = known.split(", ") if isinstance(known, str) else known
    near = get_close_matches(word.strip("'\"").lower(), names, n=1)
    return f"Did you mean {near[0]}? " if near else ""


def add_command(subparsers: Any, name: str, run: Run, summary: str, *examples: str) -> argparse.ArgumentParser:
    """Add a command with the options that all commands have.

    Args:
        subparsers: The commands, as `add_subparsers` returns them.
        name: The name of the command.
        run: The function that runs it.
        summary: What it does, in one line.
        examples: The arguments of the examples at the end of its help.

    Returns:
        The parser of the command, for its own arguments.
    """
    shown = "\n".join(f"  {PROGRAM} {name} {words}".rstrip() for words in examples)
    command: argparse.ArgumentParser = subparsers.add_parser(
        name,
        help=summary,
        description=summary[0].upper() + summary[1:] + ".",
        epilog=f"example{'s' if len(examples) > 1 else ''}:\n{shown}" if examples else None,
    )
    command.set_defaults(run=run)
    command.add_argument(
        "--root", type=path_text, metavar="FOLDER", help="the folder of the data (default: $FMNIST_ROOT or ./data)"
    )
    command.add_argument("--quiet", action="store_true", help="print nothing but errors")
    command.add_argument("--json", action="store_true", help="print one JSON object on stdout at the end")
    command.add_argument("--progress", choices=KINDS, default="auto", help="how to show progress (default auto)")
    command.add_argument(
        "--log",
        type=checked_path,
        metavar="FILE",
        help="append attempts and unexpected failures to FILE, as JSON lines",
    )
    return command


def add_dataset(command: argparse.ArgumentParser) -> None:
    """Add the argument DATASET to a command."""
    text = f"a name from the catalogue, or the path of a manifest (FILE.toml); default: {DATASET}"
    command.add_argument("dataset", nargs="?", default=DATASET, metavar="DATASET", help=text)


def path_text(text: str) -> str:
    """Check a path as `checked_path` does, and return it as the user wrote it, for the commands in hints."""
    if text:
        checked_path(text)
    return text


def whole(least: int, most: int, noun: str = "number") -> Callable[[str], int]:
    """Return the parser of an option that takes a whole number in a range."""

    def parse(text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,12}", text) or not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"{text!r} is not a {noun} from {least} to {most}")
        return int(text)

    return parse


def size(least: int, most: int | None = None) -> Callable[[str], int]:
    """Return the parser of an option that takes a number of bytes in a range, such as 700M or 2G (powers of 1024)."""

    def parse(text: str) -> int:
        match = re.fullmatch(r"([0-9]{1,12})([KMG]?)i?B?", text, re.IGNORECASE)
        count = int(match[1]) * _BINARY_UNITS[match[2].upper()] if match else 0
        if count < least or (most is not None and count > most):
            kind = f"from {least:,} to {most:,} bytes" if most else "such as 2G or 700M"
            raise argparse.ArgumentTypeError(f"{text!r} is not a size {kind}")
        return count

    return parse


def rate(text: str) -> float:
    """Parse an option that takes bytes per second, such as 500k or 1.5M, in the units of the display (1 kB = 1000)."""
    match = re.fullmatch(r"([0-9]{1,12}(?:\.[0-9]{1,6})?)([KMG]?)B?(?:/s)?", text, re.IGNORECASE)
    count = float(match[1]) * _DECIMAL_UNITS[match[2].upper()] if match else 0.0
    if count < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of bytes per second such as 500k or 2M")
    return count


def patience(text: str) -> float:
    """Parse the option --patience: seconds, or FOREVER."""
    if text == "forever":
        return FOREVER
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < FOREVER:
        raise argparse.ArgumentTypeError(f'{text!r} is neither a number of seconds nor "forever"')
    return seconds


def offline_by_environment() -> bool:
    """Return whether FMNIST_OFFLINE asks for no network.

    Raises:
        UsageError: Its value is neither a yes nor a no.
    """
    text = os.environ.get("FMNIST_OFFLINE", "").strip().lower()
    if text in ("", "0", "false", "no", "off", "n", "f"):
        return False
    if text in ("1", "true", "yes", "on", "y", "t"):
        return True
    raise UsageError(f"FMNIST_OFFLINE={text} is neither yes nor no", hint="Set FMNIST_OFFLINE=1 or FMNIST_OFFLINE=0.")
