"""The parser of all command lines of this project: its errors suggest what may have been meant."""

import argparse
import os
import re
from collections.abc import Sequence
from typing import Any, NoReturn

from fmnist_fetch.console.formatting import width
from fmnist_fetch.console.output import print_text
from fmnist_fetch.errors import UsageError

HELP_COLUMNS = 80


class Formatter(argparse.RawDescriptionHelpFormatter):
    """Help with lines of at most 80 columns, however wide the terminal is."""

    def __init__(self, prog: str, **more: Any) -> None:
        # Not shutil's function: importing that takes 2 ms, and argparse makes a formatter for each option it adds.
        columns = os.environ.get("COLUMNS", "")
        wide = int(columns) if columns.isdecimal() else width()
        super().__init__(
            prog, **{"width": min(HELP_COLUMNS, wide or HELP_COLUMNS) - 2, "max_help_position": 26, **more}
        )


class Parser(argparse.ArgumentParser):
    """A parser whose errors are UsageErrors that suggest what may have been meant."""

    def __init__(self, **more: Any) -> None:
        super().__init__(**{"formatter_class": Formatter, **more})

    def parse_args(  # type: ignore[override]  # the overloads of argparse say no more
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> Any:
        """Parse a command line; raise UsageError where a command, an option or a value does not exist."""
        words = list(args or ())
        self._check_command(words)
        options, unknown = self.parse_known_args(words, namespace)
        if unknown:
            raise self._unknown(words, unknown)
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
            raise UsageError("no command is given", hint=f"{listed} To begin: {self.prog} {known[0]}")
        if not words[0].startswith("-") and words[0] not in known:
            raise UsageError(f"there is no command {words[0]!r}", hint=_guess(words[0], known) + listed)
        own = [text for action in self._actions for text in action.option_strings]
        if words[0].startswith("-") and not any(text.startswith(words[0]) for text in own):
            hint = f"{_guess(words[0], own)}Other options follow a command: {self.prog} {known[0]} --help"
            raise UsageError(f"{self.prog} has no option {words[0]}", hint=hint)

    def _commands(self) -> dict[str, argparse.ArgumentParser]:
        groups = [action for action in self._actions if isinstance(action, argparse._SubParsersAction)]
        return dict(groups[0].choices) if groups else {}

    def _unknown(self, words: list[str], unknown: list[str]) -> UsageError:
        """Return the error for the UNKNOWN ones of WORDS, which no argument takes."""
        commands = self._commands()
        name, command = (words[0], commands[words[0]]) if commands else (self.prog, self)
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
