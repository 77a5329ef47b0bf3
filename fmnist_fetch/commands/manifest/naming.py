"""Guesses from the name of an IDX file: its split, and its role there."""

import re
from typing import NamedTuple

# Not compiled here: most commands do not need them, and the help of all would wait for it.
SPLITS = {"train": r"(?<![a-z])train", "test": r"(?<![a-z])(test|t10k)", "val": r"(?<![a-z])val"}
ROLES = {
    "images": r"image|img|pixel|picture|feature|(?<![a-z])(data|x)(?![a-z])",
    "labels": r"label|target|(?<![a-z])(class(es)?|y)(?![a-z])",
}
_IDX = r"(.*[^a-z0-9])?idx\d*([-_.](u?byte|u?int8|short|int|float|double))?"
_PACKED = ".gz"


class FileRole(NamedTuple):
    """The split and the role of a file; "" where its name has no word for it, or two."""

    split: str
    role: str


def payload_name(name: str) -> str:
    """Return the name of the payload of a file: its name without .gz, if it has that."""
    return name[: -len(_PACKED)] if name.lower().endswith(_PACKED) else name


def is_idx_name(name: str) -> bool:
    """Return whether a name is that of an IDX file, packed or not, such as train-images-idx3-ubyte.gz or x.idx."""
    return re.fullmatch(_IDX, payload_name(name).lower()) is not None


def guess(name: str) -> FileRole:
    """Return the role that a name suggests."""
    text = payload_name(name).lower()
    found = [[meaning for meaning, word in words.items() if re.search(word, text)] for words in (SPLITS, ROLES)]
    return FileRole(*(meanings[0] if len(meanings) == 1 else "" for meanings in found))


def family(name: str) -> str:
    """Return what a name has before the word for the split, which the files of one dataset have in common."""
    matches = [match.start() for word in SPLITS.values() if (match := re.search(word, name.lower()))]
    return name[: min(matches)] if matches else ""
