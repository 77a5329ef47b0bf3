"""The IDX files of a folder and their roles in the dataset: guessed from their names, or asked for."""

import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from fnmatch import fnmatchcase
from pathlib import Path

from fmnist_fetch.commands.manifest.idxfile import LEAVE_OUT, begins_as_idx, hint_for
from fmnist_fetch.commands.manifest.naming import FileRole, family, guess, is_idx_name, payload_name
from fmnist_fetch.errors import DiskError, UsageError, disk
from fmnist_fetch.manifest.validation import is_name
from fmnist_fetch.storage.layout import is_file


def folder_of_files(folder: Path) -> Path:
    """Return a folder, or its subfolder `raw` if the IDX files are there, as torchvision has them.

    Raises UsageError where there is no such folder, DiskError where it can't be read.
    """
    hint = "Give the folder of your IDX files."
    with _readable(folder):
        if not folder.exists():
            raise UsageError(f"the folder {folder} does not exist", hint=hint)
        if not folder.is_dir():
            raise UsageError(f"{folder} is a file, not a folder", hint=hint)
        raw = folder / "raw"
        return raw if raw.is_dir() and not any(map(_is_ours, _files(folder))) else folder


def collect(folder: Path, only: Sequence[str], named: Mapping[str, FileRole]) -> tuple[dict[str, FileRole], list[str]]:
    """Find the IDX files of a folder. Of a file that is there packed and unpacked, take the packed one.

    Args:
        folder: The folder.
        only: Patterns that the names must match; empty for all.
        named: The roles on the command line, by the names of files or of their payloads.

    Returns:
        The role of each file by its name, and notes on files that are left out.

    Raises:
        UsageError: The role of a file is not known, or two files have the same.
        DiskError: The folder can't be read.
    """
    names = [path.name for path in _files(folder)]
    _check_there(folder, names, named)
    given = {name: role for name in names if (role := named.get(name) or named.get(payload_name(name)))}
    wanted = {name for name in names for pattern in only or ("*",) if fnmatchcase(name, pattern)}
    ours = [name for name in names if name in given or (name in wanted and _is_ours(folder / name))]
    if not ours:
        raise _nothing(folder, only)
    inside = {payload_name(name) for name in ours if payload_name(name) != name}
    published = [name for name in ours if name not in inside]
    _check_names(folder, published)
    roles = {name: given[name] for name in published if name in given}
    guesses = {name: guess(name) for name in published if name not in given}
    _check_guesses(guesses)
    taken = {role: name for name, role in roles.items()}
    notes = [f"{name} is left out: {taken[role]} has its role" for name, role in guesses.items() if role in taken]
    roles |= {name: role for name, role in guesses.items() if role not in taken}
    _check_unique(roles)
    return roles, notes


def _files(folder: Path) -> list[Path]:
    with _readable(folder):
        return sorted(path for path in folder.iterdir() if not path.name.startswith(".") and is_file(path))


@contextmanager
def _readable(folder: Path) -> Iterator[None]:
    hint = "Make that folder readable to you, or copy the files to one that is."
    with hint_for(DiskError, hint), disk(folder):
        yield


def _is_ours(path: Path) -> bool:
    return is_idx_name(path.name) or begins_as_idx(path)


def _nothing(folder: Path, only: Sequence[str]) -> UsageError:
    if only:
        hint = "Quote the pattern, so that the shell leaves it alone."
        return UsageError(f"no IDX file in {folder} matches {', '.join(map(repr, only))}", hint=hint)
    hint = "Unpack archives (zip, tar) first. An IDX file begins with two zero bytes; it may be packed with gzip."
    return UsageError(f"there is no IDX file in {folder}", hint=hint)


def _check_there(folder: Path, names: Sequence[str], named: Iterable[str]) -> None:
    known = {*names, *map(payload_name, names)}
    if absent := [name for name in named if name not in known]:
        near = get_close_matches(absent[0], names, n=1)
        hint = f"Did you mean {near[0]}?" if near else "Give the name of a file in that folder."
        raise UsageError(f"there is no file {absent[0]} in {folder}", hint=hint)


def _check_names(folder: Path, names: Iterable[str]) -> None:
    """Raise UsageError unless every system can have files with these names in one folder."""
    seen: dict[str, str] = {}
    for name in names:
        other = seen.setdefault(payload_name(name).lower(), name)
        if other != name:
            message = f"{other} and {name} differ in upper and lower case only, which some systems ignore"
            raise UsageError(message, hint="Rename or delete one of them.")
        if not is_name(name) or not is_name(payload_name(name)):
            hint = "Rename it: a letter or digit first, then letters, digits, _ . + - (and no system's device)."
            raise UsageError(f"{folder / name} has a name that some systems and servers refuse", hint=hint)


def _check_guesses(guesses: Mapping[str, FileRole]) -> None:
    """Raise UsageError, with the options to add, unless every name shows its role."""
    if unclear := [name for name, role in guesses.items() if not all(role)]:
        words = []
        for name in unclear:
            split, role = guesses[name]
            likely = role or ("labels" if "idx1" in name.lower() else "images")
            words.append(f"--file {split or 'train'}:{likely}={shlex.quote(name)}")
        listed = f"{' and '.join(unclear[:3])}{' ...' if len(unclear) > 3 else ''}"
        hint = f"Say them (train, test, val ...; images or labels), such as {' '.join(words)}, {LEAVE_OUT}"
        raise UsageError(f"{listed}: the name does not say both split and role", hint=hint)


def _check_unique(roles: Mapping[str, FileRole]) -> None:
    """Raise UsageError, with the way to choose, if two files have the same role."""
    holders: dict[FileRole, str] = {}
    for name, role in roles.items():
        first = holders.setdefault(role, name)
        if first == name:
            continue
        families = list(dict.fromkeys(family(other) for other in roles))
        if len(families) > 1 and all(families):
            hint = "Choose one dataset: " + " or ".join(f"--only {shlex.quote(f'{start}*')}" for start in families)
        else:
            hint = f"Say which: --file {role.split}:{role.role}={shlex.quote(first)}"
        raise UsageError(f"both {first} and {name} seem to be the {role.split} {role.role}", hint=hint)
