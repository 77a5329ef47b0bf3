"""What a file's name tells of an IDX file: which split it is of, and which role it has there. Pure guesses."""

import re
from typing import NamedTuple

SPLITS = {
    "train": re.compile(r"(?<![a-z])train"),
    "test": re.compile(r"(?<![a-z])(test|t10k)"),
    "val": re.compile(r"(?<![a-z])val"),
}
ROLES = {
    "images": re.compile(r"image|img|pixel|picture|feature|(?<![a-z])(data|x)(?![a-z])"),
    "labels": re.compile(r"label|target|(?<![a-z])(class(es)?|y)(?![a-z])"),
}
_IDX = re.compile(r"(.*[^a-z0-9])?idx\d*([-_.](u?byte|u?int8|short|int|float|double))?")
_PACKED = ".gz"


class FileRole(NamedTuple):
    """Where a file belongs in its dataset; "" where its name does not tell, or tells two things."""

    split: str
    role: str


def payload_name(name: str) -> str:
    """The name of what is in the file NAME: without .gz, or NAME itself."""
    return name[: -len(_PACKED)] if name.lower().endswith(_PACKED) else name


def says_idx(name: str) -> bool:
    """Whether NAME is an IDX file's, packed or not: train-images-idx3-ubyte.gz, x.idx."""
    return _IDX.fullmatch(payload_name(name).lower()) is not None


def guess(name: str) -> FileRole:
    """The place that NAME tells of."""
    return FileRole(
        *("".join(found) if len(found) == 1 else "" for found in (_found(SPLITS, name), _found(ROLES, name)))
    )


def family(name: str) -> str:
    """What stands in NAME before the word for the split: what the files of one dataset among several share."""
    matches = [match.start() for word in SPLITS.values() if (match := word.search(name.lower()))]
    return name[: min(matches)] if matches else ""


def _found(words: dict[str, re.Pattern[str]], name: str) -> list[str]:
    return [meaning for meaning, word in words.items() if word.search(payload_name(name).lower())]
