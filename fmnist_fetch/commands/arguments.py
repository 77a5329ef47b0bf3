"""The arguments of the command line: the parser, the options that all commands have, and the parsers of values."""

import argparse
import os
import re
from collections.abc import Callable
from typing import Any

from fmnist_fetch.console.progress import KINDS, ProgressState
from fmnist_fetch.download.backoff import FOREVER
from fmnist_fetch.errors import UsageError
from fmnist_fetch.manifest.catalog import DATASET
from fmnist_fetch.storage.layout import checked_path

PROGRAM = "fmnist-fetch"
Run = Callable[[argparse.Namespace, ProgressState], dict[str, Any]]
"""A function that runs a command with its options, records its progress, and returns the object for --json."""


def add_command(subparsers: Any, name: str, run: Run, summary: str, *examples: str) -> argparse.ArgumentParser:
    """Add a command with the options that all commands have, and return its parser, for its own arguments.

    Its help begins with the summary and ends with the examples, of which the arguments are given.
    """
    shown = "\n".join(f"  {PROGRAM} {name} {words}".rstrip() for words in examples)
    epilog = f"example{'s' if len(examples) > 1 else ''}:\n{shown}" if examples else None
    description = summary[0].upper() + summary[1:] + "."
    command: argparse.ArgumentParser = subparsers.add_parser(name, help=summary, description=description, epilog=epilog)
    command.set_defaults(run=run)
    add = command.add_argument
    text = "the folder of the data (default: $FMNIST_ROOT or ./data)"
    add("--root", type=path_text, metavar="FOLDER", help=text)
    add("--quiet", action="store_true", help="print nothing but errors")
    add("--json", action="store_true", help="print one JSON object on stdout at the end")
    add("--progress", choices=KINDS, default="auto", help="how to show progress (default auto)")
    text = "append attempts and unexpected failures to FILE, as JSON lines"
    add("--log", type=checked_path, metavar="FILE", help=text)
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


def rate(text: str) -> float:
    """Parse an option that takes bytes per second, such as 500k or 1.5M, in the units of the display (1 kB = 1000)."""
    match = re.fullmatch(r"([0-9]{1,12}(?:\.[0-9]{1,6})?)([KMG]?)B?(?:/s)?", text, re.IGNORECASE)
    count = float(match[1]) * 1000 ** " KMG".index(match[2].upper() or " ") if match else 0.0
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
    """Return whether FMNIST_OFFLINE asks for no network; raise UsageError where it is neither a yes nor a no."""
    text = os.environ.get("FMNIST_OFFLINE", "").strip().lower()
    if text in ("", "0", "false", "no", "off", "n", "f"):
        return False
    if text in ("1", "true", "yes", "on", "y", "t"):
        return True
    raise UsageError(f"FMNIST_OFFLINE={text} is neither yes nor no", hint="Set FMNIST_OFFLINE=1 or FMNIST_OFFLINE=0.")
