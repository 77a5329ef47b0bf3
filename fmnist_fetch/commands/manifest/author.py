"""From a folder of IDX files to the manifest that pins them, once everything in it fits together."""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple
from urllib.parse import urlsplit

from fmnist_fetch.commands.manifest.collect import collect
from fmnist_fetch.commands.manifest.idxfile import IdxFile
from fmnist_fetch.commands.manifest.naming import FileRole
from fmnist_fetch.errors import FormatError, UsageError
from fmnist_fetch.manifest.catalog import find, names
from fmnist_fetch.manifest.model import PIECE_LENGTH, Manifest
from fmnist_fetch.manifest.toml import dumps, loads
from fmnist_fetch.manifest.validation import is_name, is_url
from fmnist_fetch.tensors.statistics import statistics

MOST_CLASSES_GUESSED = 1000


class ManifestOptions(NamedTuple):
    """What the author says of the dataset.

    `only` holds patterns of the names of its files, all if it is empty; `places` the places of files whose names do not
    tell them. No `classes` means the numbers from 0 to the greatest label.
    """

    name: str
    title: str = ""
    licence: str = ""
    classes: tuple[str, ...] = ()
    mirrors: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    places: Mapping[str, FileRole] = MappingProxyType({})
    piece_length: int = PIECE_LENGTH


class Draft(NamedTuple):
    """A manifest, the files that it was made from, and remarks for its author."""

    manifest: Manifest
    files: tuple[IdxFile, ...]
    notes: tuple[str, ...]


def suggest_name(folder: Path, only: Sequence[str]) -> str:
    """A name for the dataset: what its file names begin with, if a pattern says so, or else that of its FOLDER."""
    begin = re.split(r"[*?\[]", only[0])[0] if len(only) == 1 else ""
    path = folder.absolute()
    for text in (begin, path.parent.name if path.name == "raw" else path.name):
        name = re.sub(r"[^A-Za-z0-9_.+-]+", "-", text).strip("-._+")
        if is_name(name):
            return name
    return "dataset"


def draft(folder: Path, wishes: ManifestOptions) -> Draft:
    """Examine the IDX files in FOLDER and make their manifest, as WISHES say.

    Raises UsageError for what WISHES get wrong or leave open, FormatError for files that are damaged or do not fit
    together, IntegrityError for a packed file beside another unpacked one, DiskError.
    """
    mirrors = tuple(_checked_url(url) for url in wishes.mirrors)
    _check_name(wishes.name)
    places, notes = collect(folder, wishes.only, wishes.places)
    _check_bases(mirrors, places)
    order = sorted(places, key=lambda name: (_rank(places[name]), name))
    files = tuple(IdxFile.examine(folder / name, places[name], wishes.piece_length) for name in order)
    notes += _check_rows(files)
    if not mirrors:
        notes.append("without --url, whoever fetches it must say --mirror URL or --mirror FOLDER")
    classes, remarks = _classes(files, wishes.classes)
    mean, std = next((_statistics(file) for file in files if file.file.tensor == "train_images"), (None, None))
    manifest = Manifest(
        name=wishes.name,
        title=wishes.title,
        licence=wishes.licence,
        homepage="",
        folder=wishes.name,
        classes=classes,
        mean=mean,
        std=std,
        mirrors=mirrors,
        local=(),
        debian=None,
        files=tuple(file.file for file in files),
    )
    # Whatever was overlooked here must not become somebody else's error: what is written can be read.
    loads(dumps(manifest).encode(), f"{wishes.name}.toml")
    return Draft(manifest, files, (*notes, *remarks))


def _check_name(name: str) -> None:
    if not is_name(name):
        raise UsageError(
            f"{name!r} can't be the name of a dataset: it becomes a folder and a file",
            hint="Give a plain one with --name: letters, digits, _ . + -",
        )
    for known in map(find, names()):
        if name.lower() in (known.name.lower(), known.folder.lower()):
            raise UsageError(
                f"{name} is the place of {known.title}, which is in the catalogue",
                hint=f"Give yours another name: --name my-{known.name}",
            )


def _checked_url(url: str) -> str:
    """URL as the base of file names; raises UsageError."""
    if not is_url(url) or urlsplit(url).fragment:
        raise UsageError(
            f"--url {url!r} is not an http:// or https:// URL of a folder",
            hint="Give the URL to which a file's name is added, such as https://example.org/my-data/",
        )
    return url if urlsplit(url).query or url.endswith("/") else f"{url}/"


def _check_bases(mirrors: Iterable[str], published: Iterable[str]) -> None:
    for url in mirrors:
        parts = urlsplit(url)
        base, _, last = parts.path.rstrip("/").rpartition("/")
        if last in published:
            folder = parts._replace(path=f"{base}/").geturl()
            raise UsageError(
                f"--url {url.rstrip('/')} names a file, not its folder", hint=f"Give its folder: --url {folder}"
            )


def _rank(place: FileRole) -> tuple[int, str, str]:
    """Train and test come first, images before labels."""
    order = ("train", "test", "val")
    return order.index(place.split) if place.split in order else len(order), place.split, place.role


def _check_rows(files: Sequence[IdxFile]) -> list[str]:
    """As many labels as images in each split; raises FormatError. Returns remarks on what is unusual."""
    notes = []
    for split in dict.fromkeys(file.file.split for file in files):
        found = {file.file.role: file for file in files if file.file.split == split}
        if len(found) == 1:
            notes.append(f"{split} has {', '.join(found)} only")
        rows = {role: file.header.shape[0] if file.header.shape else 1 for role, file in found.items()}
        if len(set(rows.values())) > 1:
            raise FormatError(
                f"{split} has {rows['images']:,} images ({found['images'].path.name}), "
                f"but {rows['labels']:,} labels ({found['labels'].path.name})",
                hint="Mend the files, or say which belong together: --file SPLIT:ROLE=NAME",
            )
        labels = found.get("labels")
        if labels and len(labels.header.shape) != 1:
            notes.append(f"the labels of {split} are {labels.header.words}, not one number for each image")
    return notes


def _classes(files: Sequence[IdxFile], given: tuple[str, ...]) -> tuple[tuple[str, ...], list[str]]:
    """The names of the classes as GIVEN or, for labels that are numbers from 0 on, these; and remarks.

    Raises FormatError for a label beyond the classes that were given.
    """
    most = -1
    for file in files:
        if file.file.role != "labels" or len(file.header.shape) != 1 or not file.header.shape[0]:
            continue
        extent = file.extent()
        if extent is None or extent[0] < 0 or extent[1] >= (len(given) or MOST_CLASSES_GUESSED):
            words = "that are fractions" if extent is None else f"from {extent[0]} to {extent[1]}"
            if given:
                raise FormatError(
                    f"{file.path.name} has labels {words}, --classes names {len(given)} (0 to {len(given) - 1})",
                    hint="Name every class, in the order of their numbers, with a comma between.",
                )
            return (), [f"{file.path.name} has labels {words}, so no classes are named"]
        most = max(most, extent[1])
    return given or tuple(map(str, range(most + 1))), []


def _statistics(images: IdxFile) -> tuple[float | None, float | None]:
    return statistics(images.values()) if images.header.dtype == "u1" else (None, None)
