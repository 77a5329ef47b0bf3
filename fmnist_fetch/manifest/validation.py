"""Reading a TOML table without stopping at its first fault: each value is checked, each fault noted with its place."""

import re
import sys
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Self
from urllib.parse import urlsplit

_DIGEST = re.compile(r"[0-9a-f]{64}")
# A plain name: no separator, no leading dot, nothing that another system reads as a stream or wildcard.
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,99}")
_DEVICES = {"con", "prn", "aux", "nul", *(f"{port}{number}" for port in ("com", "lpt") for number in range(10))}
_WORD = re.compile(r"[a-z][a-z0-9_]{0,39}")
# apt takes a name with a dot or a plus for a regular expression, where no package has it, and one that ends in - for a
# package to remove.
_PACKAGE = re.compile(r"(?=.{2,100})[a-z0-9]+(-[a-z0-9]+)*")
# Windows sends the name of the user to a host in a path.
_HOSTS = ("//", "\\\\", "/\\", "\\/")
MAX_SIZE_BYTES = 2**50
"""Of a file in bytes: far from where sums of sizes and offsets end to fit into what the system takes."""
_LONGEST_SHOWN = 80
_MISSING: Any = object()


def is_name(text: str) -> bool:
    """Whether TEXT can be the name of a file or a dataset: it stays in its folder, and is a file's on every system."""
    # Where a file system ignores case, .PART is the end of a part file's name too.
    special = text.lower().split(".")[0] in _DEVICES or text.lower().endswith((".", ".part"))
    return _NAME.fullmatch(text) is not None and not special


def is_word(text: str) -> bool:
    """Whether TEXT can be the name of a split."""
    return _WORD.fullmatch(text) is not None


def is_url(text: str) -> bool:
    """Whether TEXT is an absolute http or https URL with a host."""
    if not text.isprintable() or " " in text:
        return False
    try:
        parts = urlsplit(text)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        return False


def _is_folder(text: str) -> bool:
    return all(map(is_name, text.split("/")))


class Check(NamedTuple):
    """What a value should be, in words and as a test, and the harmless value in place of one that is not."""

    noun: str
    accepts: Callable[[Any], Any]
    harmless: Any


def _text(noun: str, accepts: Callable[[str], Any]) -> Check:
    return Check(noun, lambda value: isinstance(value, str) and accepts(value), "")


def whole(least: int = 0, most: int = MAX_SIZE_BYTES) -> Check:
    """Return the check for a whole number in [LEAST, MOST]."""
    # A truth value is a whole number too, for Python.
    noun = f"a whole number from {least:,} to {most:,}"
    return Check(noun, lambda value: type(value) is int and least <= value <= most, least)


def one_of(*choices: str) -> Check:
    """Return the check for one of CHOICES."""
    return Check(f"one of {', '.join(choices)}", lambda value: isinstance(value, str) and value in choices, choices[0])


TEXT = _text("a string", lambda _: True)
NAME = _text("a plain name (letters, digits, _ . + -) with no other meaning to a system or this program", is_name)
WORD = _text("a lower-case word", is_word)
DIGEST = _text("a SHA-256: 64 lower-case hex digits", _DIGEST.fullmatch)
BYTES = _text("bytes in hex", lambda text: re.fullmatch(r"(\s*[0-9a-fA-F]{2})*\s*", text, re.ASCII))
URL = _text("an http:// or https:// URL", is_url)
PLACE = _text("a folder on this machine", lambda text: text.isprintable() and text[:2] not in _HOSTS)
FOLDER = _text(
    "the absolute path of a folder, of plain names", lambda text: text[:1] == "/" and _is_folder(text.removeprefix("/"))
)
RELATIVE_FOLDER = _text("the relative path of a folder, of plain names", _is_folder)
PACKAGE = _text("the name of a package (lower-case letters, digits, -)", _PACKAGE.fullmatch)
NUMBER = Check("a finite number", lambda value: type(value) in (int, float) and abs(value) <= sys.float_info.max, 0.0)
_ARRAY = Check("an array", lambda value: isinstance(value, list), [])
_TABLES = _ARRAY._replace(noun="an array of tables")
_TABLE = Check("a table", lambda value: isinstance(value, dict), {})


class Table:
    """One TOML table at PLACE, which notes in FAULTS what is wrong and goes on with a harmless value."""

    def __init__(self, values: dict[str, Any], place: str, faults: list[str]) -> None:
        self.faults = faults
        self._children: list[Self] = []
        self._values = values
        self._place = place
        self._known: set[str] = set()

    def __bool__(self) -> bool:
        return bool(self._values)

    def fault(self, key: str, what: str) -> None:
        """Note that KEY of this table WHAT."""
        self.faults.append(f"{self._place}{key:.{_LONGEST_SHOWN}} {what}")

    def unknown(self) -> None:
        """Note every key that nobody asked for: a misspelt one must not be passed over in silence."""
        for key in self._values.keys() - self._known:
            self.fault(key, "is not a known key")
        for child in self._children:
            child.unknown()

    def get(self, key: str, check: Check, default: Any = _MISSING) -> Any:
        """Return the value of KEY, or DEFAULT where it is absent and there is one."""
        self._known.add(key)
        if key in self._values:
            return self._values[key] if self._accepts(key, self._values[key], check) else check.harmless
        if default is _MISSING:
            self.fault(key, f"is missing: it should be {check.noun}")
            return check.harmless
        return default

    def array(self, key: str, check: Check, default: Any = ()) -> Any:
        """Return the array of KEY as a tuple, or DEFAULT where it is absent."""
        if (values := self.get(key, _ARRAY, default)) is default:
            return default
        return tuple(
            value if self._accepts(f"{key} entry {number}", value, check) else check.harmless
            for number, value in enumerate(values, start=1)
        )

    def table(self, key: str) -> Self:
        """Return a table within this one, which is empty where it is absent."""
        return self._child(self.get(key, _TABLE, {}), f"{self._place}{key}.")

    def tables(self, key: str) -> Iterator[Self]:
        """Return an array of at least one table; each is named by its number, counted from one."""
        values = self.get(key, _TABLES)
        if self._values.get(key) == []:
            self.fault(key, "should have at least one entry")
        for number, value in enumerate(values, start=1):
            place = f"{key.removesuffix('s')} {number}"
            if self._accepts(place, value, _TABLE):
                yield self._child(value, f"{place}, ")

    def _accepts(self, key: str, value: object, check: Check) -> bool:
        if accepted := bool(check.accepts(value)):
            return accepted
        try:
            shown = repr(value)[:_LONGEST_SHOWN]
        except ValueError:
            # Python writes no whole number of more than 4,300 digits.
            shown = "a number with too many digits"
        self.fault(key, f"should be {check.noun}, not {shown}")
        return False

    def _child(self, values: dict[str, Any], place: str) -> Self:
        child = type(self)(values, place, self.faults)
        self._children.append(child)
        return child
