"""The words of the command line: how a verb is added, the options that all verbs have, what values may look like."""

import argparse
import re
from collections.abc import Callable
from typing import Any

from fmnist_fetch.download.backoff import FOREVER
from fmnist_fetch.events import Listener
from fmnist_fetch.manifest.catalog import DATASET

_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30}
Act = Callable[[argparse.Namespace, Listener], dict[str, Any]]
"""What a verb does: options and a listener in; what happened, as one JSON object, out. Raises FetchError."""


def add_verb(verbs: Any, name: str, act: Act, summary: str, *examples: str) -> argparse.ArgumentParser:
    """Add the verb NAME to argparse's VERBS, with the options that all have; EXAMPLES are shown by its --help."""
    shown = "\n".join(f"  fmnist-fetch {name} {words}".rstrip() for words in examples)
    verb: argparse.ArgumentParser = verbs.add_parser(
        name,
        help=summary,
        description=summary[0].upper() + summary[1:] + ".",
        epilog=f"example{'s' if len(examples) > 1 else ''}:\n{shown}" if examples else None,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verb.set_defaults(run=act)
    verb.add_argument("--root", metavar="FOLDER", help="where the data lies (default: $FMNIST_ROOT or ./data)")
    verb.add_argument("--quiet", action="store_true", help="say nothing but errors")
    verb.add_argument("--json", action="store_true", help="print one JSON object on stdout at the end")
    verb.add_argument(
        "--progress", choices=("auto", "bar", "log", "none"), default="auto", help="how to show progress (default auto)"
    )
    return verb


def add_dataset(verb: argparse.ArgumentParser) -> None:
    """Add the argument DATASET to VERB."""
    text = f"a name from the catalogue, or the path of a manifest (FILE.toml); default: {DATASET}"
    verb.add_argument("dataset", nargs="?", default=DATASET, metavar="DATASET", help=text)


def whole(least: int, most: int, noun: str = "number") -> Callable[[str], int]:
    """The type of an option that takes a whole NOUN from LEAST to MOST."""

    def parse(text: str) -> int:
        if not text.isdecimal() or not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"{text!r} is not a {noun} from {least} to {most}")
        return int(text)

    return parse


def size(least: int, most: int | None = None) -> Callable[[str], int]:
    """The type of an option that takes bytes, such as 700M or 2G, from LEAST to MOST."""

    def parse(text: str) -> int:
        match = re.fullmatch(r"(\d{1,12})([KMG]?)i?B?", text, re.IGNORECASE)
        count = int(match[1]) * _UNITS[match[2].upper()] if match else 0
        if count < least or (most is not None and count > most):
            kind = f"from {least:,} to {most:,} bytes" if most else "such as 2G or 700M"
            raise argparse.ArgumentTypeError(f"{text!r} is not a size {kind}")
        return count

    return parse


def patience(text: str) -> float:
    """The type of --patience: seconds, or FOREVER."""
    if text == "forever":
        return FOREVER
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < FOREVER:
        raise argparse.ArgumentTypeError(f'{text!r} is neither a number of seconds nor "forever"')
    return seconds
