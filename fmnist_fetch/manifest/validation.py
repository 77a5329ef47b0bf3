"""Reading a TOML table without stopping at its first fault: each value is checked, each fault noted with its place."""

import math
import re
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import urlsplit

_DIGEST = re.compile(r"[0-9a-f]{64}")
# A plain name: no separator, no leading dot, nothing that another system reads as a device, stream or wildcard.
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,99}")
_DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
_WORD = re.compile(r"[a-z][a-z0-9_]{0,39}")
# apt takes a name with a dot or a plus for a regular expression, where no package has it, and one that ends in - for a
# package to remove.
_PACKAGE = re.compile(r"(?=.{2,100})[a-z0-9]+(-[a-z0-9]+)*")
_HOSTS = ("//", "\\\\", "/\\", "\\/")
MAX_SIZE_BYTES = 2**50
"""Of a file in bytes: far from where sums of sizes and offsets end to fit into what the system takes."""
_LONGEST_KEY_SHOWN = 80


def shown(value: object, most: int = 60) -> str:
    """Return VALUE as Python writes it, in at most MOST characters."""
    try:
        return repr(value)[:most]
    except ValueError:
        # Python writes no whole number of more than 4,300 digits.
        return "a number with too many digits"


class Faults(list[str]):
    """The faults found so far."""


class Table:
    """One TOML table at PLACE, which notes in FAULTS what is wrong and goes on with a harmless value."""

    def __init__(self, values: dict[str, Any], place: str, faults: Faults) -> None:
        self.faults = faults
        self.children: list[Table] = []
        self._values = values
        self._place = place
        self._known: set[str] = set()

    def fault(self, key: str, what: str) -> None:
        """Note that KEY of this table WHAT."""
        self.faults.append(f"{self._place}{key:.{_LONGEST_KEY_SHOWN}} {what}")

    def unknown(self) -> None:
        """Note every key that nobody asked for: a misspelt one must not be passed over in silence."""
        for key in self._values.keys() - self._known:
            self.fault(key, "is not a known key")
        for child in self.children:
            child.unknown()

    def _get(self, key: str, kind: type | tuple[type, ...], noun: str, default: Any = None) -> Any:
        """Return the value of KEY if it is of KIND, else None (DEFAULT where it is absent), with a fault noted."""
        self._known.add(key)
        if key not in self._values:
            if default is None:
                self.fault(key, f"is missing: it should be {noun}")
            return default
        value = self._values[key]
        if not isinstance(value, kind) or isinstance(value, bool):
            self.fault(key, f"should be {noun}, not {shown(value)}")
            return None
        return value

    def text(self, key: str, default: str | None = None) -> str:
        """Return a string."""
        return self._get(key, str, "a string", default) or ""

    def _matching(self, key: str, pattern: re.Pattern[str], noun: str) -> str:
        value = self._get(key, str, noun)
        if value is not None and not pattern.fullmatch(value):
            self.fault(key, f"should be {noun}, not {shown(value, 80)}")
        return value or ""

    def name(self, key: str) -> str:
        """Return a plain file name, which cannot leave its folder and means the same on every system."""
        value = self._matching(key, _NAME, "a plain name (letters, digits, _ . + -)")
        if _has_a_meaning(value):
            self.fault(key, f"can't be {value!r}: systems or this program give it another meaning")
        return value

    def _folder(self, key: str, kind: str, start: str) -> str:
        value = self._get(key, str, noun := f"the {kind} path of a folder, of plain names")
        if value is not None:
            rest = value.removeprefix(start)
            if f"{start}{rest}" != value or not all(map(is_name, rest.split("/"))):
                self.fault(key, f"should be {noun}, not {shown(value, 80)}")
        return value or ""

    def word(self, key: str) -> str:
        """Return a lower-case identifier."""
        return self._matching(key, _WORD, "a lower-case word")

    def package(self, key: str) -> str:
        """Return the name of a Debian package, which apt cannot read as a pattern."""
        return self._matching(key, _PACKAGE, "the name of a package (lower-case letters, digits, -)")

    def folder(self, key: str) -> str:
        """Return an absolute folder of plain names, with / between them."""
        return self._folder(key, "absolute", "/")

    def digest(self, key: str, *, optional: bool = False) -> Any:
        """Return a SHA-256 in lower-case hex; None where it is OPTIONAL and absent."""
        if optional and key not in self._values:
            return None
        return self._matching(key, _DIGEST, "a SHA-256: 64 lower-case hex digits")

    def hexadecimal(self, key: str) -> bytes:
        """Bytes, written in hex."""
        value = self._get(key, str, "bytes in hex") or ""
        try:
            return bytes.fromhex(value)
        except ValueError:
            self.fault(key, f"should be bytes in hex, not {shown(value)}")
            return b""

    def integer(self, key: str, *, default: int | None = None, least: int = 0, most: int = MAX_SIZE_BYTES) -> int:
        """Return a whole number in [LEAST, MOST]."""
        value = self._get(key, int, "a whole number", default)
        if value is None:
            return least
        if not least <= value <= most:
            self.fault(key, f"should be from {least:,} to {most:,}, not {shown(value)}")
            return least
        return int(value)

    def integers(self, key: str, *, least: int, most: int, count: int) -> tuple[int, ...] | None:
        """Return an array of at most COUNT whole numbers in [LEAST, MOST], or None where it is absent."""
        if key not in self._values:
            return None
        values = self._get(key, list, "an array of whole numbers") or []
        if len(values) > count:
            self.fault(key, f"should have at most {count} entries, not {len(values):,}")
            return ()
        for number, value in enumerate(values, start=1):
            if type(value) is not int or not least <= value <= most:
                self.fault(
                    key, f"should have whole numbers from {least:,} to {most:,}, its entry {number} is {shown(value)}"
                )
                return ()
        return tuple(values)

    def number(self, key: str) -> float | None:
        """Return a finite number, or None where it is absent."""
        value = self._get(key, (int, float), "a number", math.nan)
        if value is None or key not in self._values:
            return None
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if not math.isfinite(number):
            self.fault(key, f"should be finite, not {shown(value)}")
        return number

    def choice(self, key: str, choices: tuple[str, ...], default: str | None = None) -> str:
        """One of CHOICES."""
        value = self._get(key, str, f"one of {', '.join(choices)}", default)
        if value is not None and value not in choices:
            self.fault(key, f"should be one of {', '.join(choices)}, not {shown(value)}")
        return value or choices[0]

    def texts(self, key: str) -> tuple[str, ...]:
        """Return an array of strings, empty where it is absent."""
        values = self._get(key, list, "an array of strings", []) or []
        for number, value in enumerate(values, start=1):
            if not isinstance(value, str):
                self.fault(key, f"entry {number} should be a string, not {shown(value)}")
        return tuple(value for value in values if isinstance(value, str))

    def urls(self, key: str) -> tuple[str, ...]:
        """Return an array of http or https URLs."""
        values = self.texts(key)
        for number, value in enumerate(values, start=1):
            if not is_url(value):
                self.fault(key, f"entry {number} should be an http:// or https:// URL, not {shown(value, 80)}")
        return values

    def places(self, key: str) -> tuple[str, ...]:
        """Return an array of paths on this machine: Windows sends the name of the user to a host in a path."""
        values = self.texts(key)
        for number, value in enumerate(values, start=1):
            if not value.isprintable() or value[:2] in _HOSTS:
                self.fault(key, f"entry {number} should be a folder on this machine, not {shown(value, 80)}")
        return values

    def digests(self, key: str) -> tuple[str, ...]:
        """Return an array of SHA-256, empty where it is absent."""
        values = self.texts(key)
        for number, value in enumerate(values, start=1):
            if not _DIGEST.fullmatch(value):
                self.fault(key, f"entry {number} should be a SHA-256 in lower-case hex, not {shown(value, 80)}")
        return values

    def table(self, key: str) -> "Table | None":
        """Return a table within this one, or None where it is absent."""
        value = self._get(key, dict, "a table", {})
        return self._child(value, f"{self._place}{key}.") if value else None

    def folders(self, key: str, names: Iterable[str]) -> dict[str, str]:
        """Return a table of relative folders of plain names, under keys that are among NAMES; {} where it is absent."""
        table = self.table(key)
        if table is None:
            return {}
        return {name: table._folder(name, "relative", "") for name in names if name in table._values}

    def tables(self, key: str) -> Iterator["Table"]:
        """Return an array of at least one table; each is named by its number, counted from one."""
        values = self._get(key, list, "an array of tables") or []
        if not values and key in self._values:
            self.fault(key, "should have at least one entry")
        for number, value in enumerate(values, start=1):
            place = f"{key.removesuffix('s')} {number}"
            if isinstance(value, dict):
                yield self._child(value, f"{place}, ")
            else:
                self.fault(place, f"should be a table, not {shown(value)}")

    def _child(self, values: dict[str, Any], place: str) -> "Table":
        child = Table(values, place, self.faults)
        self.children.append(child)
        return child


def _has_a_meaning(name: str) -> bool:
    # Where a file system ignores case, .PART is the end of a part file's name too.
    return _DEVICES.fullmatch(name) is not None or name.lower().endswith((".", ".part"))


def is_name(text: str) -> bool:
    """Whether TEXT can be the name of a file or a dataset in a manifest."""
    return _NAME.fullmatch(text) is not None and not _has_a_meaning(text)


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
