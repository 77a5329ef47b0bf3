"""Which files of a folder are a dataset's, and the place of each in it. Guesses what names tell; asks for the rest."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from fnmatch import fnmatchcase
from pathlib import Path

from fmnist_fetch.commands.manifest.idxfile import LEAVE_OUT, begins_as_idx
from fmnist_fetch.commands.manifest.naming import FileRole, family, guess, payload_name, says_idx
from fmnist_fetch.errors import DiskError, UsageError, disk
from fmnist_fetch.manifest.validation import is_name
from fmnist_fetch.storage.layout import is_file


def home_of_files(folder: Path) -> Path:
    """FOLDER, or FOLDER/raw if the IDX files lie there, as torchvision lays them. Raises UsageError, DiskError."""
    hint = "Give the folder in which your IDX files lie."
    with _readable(folder):
        if not folder.exists():
            raise UsageError(f"the folder {folder} is not there", hint=hint)
        if not folder.is_dir():
            raise UsageError(f"{folder} is a file, not a folder", hint=hint)
        raw = folder / "raw"
        return raw if raw.is_dir() and not any(map(_is_ours, _files(folder))) else folder


def collect(folder: Path, only: Sequence[str], named: Mapping[str, FileRole]) -> tuple[dict[str, FileRole], list[str]]:
    """The places of FOLDER's IDX files by file name, and remarks on files left out.

    ONLY holds patterns that names must match, NAMED the places of files that the author gave. Where a file lies there
    packed and unpacked, it is the packed one. Raises UsageError for what can't be told, DiskError.
    """
    names = [path.name for path in _files(folder)]
    _check_there(folder, names, named)
    ours = [name for name in names if _given(name, named) or (_matches(name, only) and _is_ours(folder / name))]
    if not ours:
        raise _nothing(folder, only)
    inside = {payload_name(name) for name in ours if payload_name(name) != name}
    published = [name for name in ours if name not in inside]
    _check_names(folder, published)
    given = {name: place for name in published if (place := _given(name, named))}
    rest = [name for name in published if name not in given]
    _check_told(rest)
    taken = {place: name for name, place in given.items()}
    notes = [f"{name} is left out, {taken[guess(name)]} has its place" for name in rest if guess(name) in taken]
    places = given | {name: guess(name) for name in rest if guess(name) not in taken}
    _check_alone(places)
    return places, notes


def _files(folder: Path) -> list[Path]:
    with _readable(folder):
        return sorted(path for path in folder.iterdir() if not path.name.startswith(".") and is_file(path))


@contextmanager
def _readable(folder: Path) -> Iterator[None]:
    try:
        with disk(folder):
            yield
    except DiskError as exc:
        raise DiskError(
            exc.message, hint="Make that folder readable to you, or copy the files to one that is."
        ) from exc


def _is_ours(path: Path) -> bool:
    return says_idx(path.name) or begins_as_idx(path)


def _given(name: str, named: Mapping[str, FileRole]) -> FileRole | None:
    """The place that the author gave the file NAME, by its own name or that of what is packed in it."""
    return named.get(name) or named.get(payload_name(name))


def _matches(name: str, only: Sequence[str]) -> bool:
    return not only or any(fnmatchcase(name, pattern) for pattern in only)


def _nothing(folder: Path, only: Sequence[str]) -> UsageError:
    if only:
        asked = ", ".join(map(repr, only))
        return UsageError(
            f"no IDX file in {folder} matches {asked}", hint="Quote the pattern, so that the shell leaves it alone."
        )
    return UsageError(
        f"there is no IDX file in {folder}",
        hint="Unpack archives (zip, tar) first. An IDX file begins with two zero bytes; it may be packed with gzip.",
    )


def _check_there(folder: Path, names: Sequence[str], named: Iterable[str]) -> None:
    known = {*names, *map(payload_name, names)}
    for name in named:
        if name not in known:
            near = get_close_matches(name, names, n=1)
            hint = f"Did you mean {near[0]}?" if near else "Give the name of a file in that folder."
            raise UsageError(f"there is no file {name} in {folder}", hint=hint)


def _check_names(folder: Path, names: Iterable[str]) -> None:
    """Names that every system can hold side by side; raises UsageError."""
    seen: dict[str, str] = {}
    for name in names:
        other = seen.setdefault(payload_name(name).lower(), name)
        if other != name:
            raise UsageError(
                f"{other} and {name} differ in upper and lower case only, which not every system tells apart",
                hint="Rename or delete one of them.",
            )
        if not is_name(name) or not is_name(payload_name(name)):
            raise UsageError(
                f"{folder / name} has a name that not every system and server takes",
                hint="Rename it: a letter or digit first, then letters, digits, _ . + - (and no system's device).",
            )


def _check_told(names: Sequence[str]) -> None:
    """Every name must tell its place; raises UsageError with the very words that tell it."""
    dark = [name for name in names if not all(guess(name))]
    if dark:
        words = " ".join(f"--file {guess(name).split or 'train'}:{_likely_role(name)}={name}" for name in dark)
        raise UsageError(
            f"{' and '.join(dark[:3])}{' ...' if len(dark) > 3 else ''}: the name does not tell both split and role",
            hint=f"Say which (train, test, val ...; images or labels), such as {words}, {LEAVE_OUT}",
        )


def _likely_role(name: str) -> str:
    return guess(name).role or ("labels" if "idx1" in name.lower() else "images")


def _check_alone(places: Mapping[str, FileRole]) -> None:
    """No two files at one place; raises UsageError with the way to choose."""
    holders: dict[FileRole, str] = {}
    for name, place in places.items():
        first = holders.setdefault(place, name)
        if first == name:
            continue
        families = list(dict.fromkeys(family(other) for other in places))
        if len(families) > 1 and all(families):
            hint = "Choose one dataset: " + " or ".join(f"--only '{start}*'" for start in families)
        else:
            hint = f"Say which: --file {place.split}:{place.role}={first}"
        raise UsageError(f"both {first} and {name} seem to be the {place.split} {place.role}", hint=hint)
