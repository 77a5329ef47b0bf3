"""The draft of a manifest for a folder of IDX files, once all of them fit together."""

import re
import shlex
from collections.abc import Container, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from fmnist_fetch.commands.manifest.collect import collect
from fmnist_fetch.commands.manifest.idxfile import IdxFile
from fmnist_fetch.commands.manifest.naming import FileRole
from fmnist_fetch.errors import FormatError, UsageError
from fmnist_fetch.manifest.catalog import find, names
from fmnist_fetch.manifest.model import Manifest
from fmnist_fetch.manifest.toml import dumps, loads
from fmnist_fetch.manifest.validation import is_name
from fmnist_fetch.tensors.statistics import statistics

MAX_CLASSES_GUESSED = 1000


class ManifestOptions(NamedTuple):
    """The options of the author for the manifest, each of which is valid by itself.

    Attributes:
        name: Its name, which is also that of its folder.
        title: Its name for people.
        licence: What others may do with it.
        classes: The names of its classes; empty for the numbers from 0 to the greatest label.
        mirrors: The URLs to which the name of a file is added.
        only: Patterns of the names of its files; empty for all files.
        roles: The roles of files by name, where the name does not show the role.
        piece_length: The length of its pieces in bytes.
    """

    name: str
    title: str
    licence: str
    classes: tuple[str, ...]
    mirrors: tuple[str, ...]
    only: tuple[str, ...]
    roles: Mapping[str, FileRole]
    piece_length: int


class Draft(NamedTuple):
    """A manifest, the files that it was made from, and notes for its author."""

    manifest: Manifest
    files: tuple[IdxFile, ...]
    notes: tuple[str, ...]


def suggest_name(folder: Path, only: Sequence[str]) -> str:
    """Return a name for the dataset, from the beginning of a pattern or from the name of the folder."""
    begin = re.split(r"[*?\[]", only[0])[0] if len(only) == 1 else ""
    path = folder.absolute()
    for text in (begin, path.parent.name if path.name == "raw" else path.name):
        name = re.sub(r"[^A-Za-z0-9_.+-]+", "-", text).strip("-._+")
        if is_name(name):
            return name
    return "dataset"


def draft(folder: Path, options: ManifestOptions) -> Draft:
    """Read the IDX files of a folder, and create their manifest.

    Raises:
        UsageError: An option is wrong, or one that is needed is absent.
        FormatError: Files are damaged or do not fit together.
        IntegrityError: A packed file does not match the unpacked one beside it.
        DiskError: A file can't be read.
    """
    _check_name(options.name)
    roles, notes = collect(folder, options.only, options.roles)
    _check_urls(options.mirrors, roles)
    order = sorted(roles, key=lambda file: (_rank(roles[file]), file))
    files = tuple(IdxFile.examine(folder / file, roles[file], options.piece_length) for file in order)
    notes += _check_rows(files)
    if not options.mirrors:
        notes.append("without --url, others have to fetch it with --mirror URL or --mirror FOLDER")
    classes, remarks = _classes(files, options.classes)
    training = (file for file in files if file.file.tensor == "train_images" and file.header.dtype == "u1")
    mean, std = next((statistics(file.values()) for file in training), (None, None))
    manifest = Manifest(
        name=options.name,
        title=options.title,
        licence=options.licence,
        homepage="",
        folder=options.name,
        classes=classes,
        mean=mean,
        std=std,
        mirrors=options.mirrors,
        local=(),
        debian=None,
        files=tuple(file.file for file in files),
    )
    # The manifest is read again, so that a fault in it is an error here and not at its users.
    loads(dumps(manifest).encode(), f"{options.name}.toml")
    return Draft(manifest, files, (*notes, *remarks))


def _check_name(name: str) -> None:
    if not is_name(name):
        hint = "Give another one with --name: letters, digits, _ . + -"
        raise UsageError(f"{name!r} can't be the name of a dataset, which becomes a folder and a file", hint=hint)
    for known in map(find, names()):
        if name.lower() in (known.name.lower(), known.folder.lower()):
            hint = f"Give yours another name: --name my-{known.name}"
            raise UsageError(f"{name} is the name of {known.title} in the catalogue", hint=hint)


def _check_urls(urls: Iterable[str], published: Container[str]) -> None:
    for url in urls:
        parts = urlsplit(url)
        base, _, last = parts.path.rstrip("/").rpartition("/")
        if last in published:
            folder = parts._replace(path=f"{base}/").geturl()
            hint = f"Give its folder: --url {shlex.quote(folder)}"
            raise UsageError(f"--url {url.rstrip('/')} names a file, not its folder", hint=hint)


def _rank(role: FileRole) -> tuple[int, str, str]:
    """Return a key for sorting: train and test first, images before labels."""
    order = ("train", "test", "val")
    return order.index(role.split) if role.split in order else len(order), role.split, role.role


def _check_rows(files: Sequence[IdxFile]) -> list[str]:
    """Raise FormatError unless each split has as many labels as images; return notes on what is unusual."""
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
                hint="Correct the files, or say which belong together: --file SPLIT:ROLE=NAME",
            )
        labels = found.get("labels")
        if labels and len(labels.header.shape) != 1:
            notes.append(f"the labels of {split} are {labels.header.words}, not one number for each image")
    return notes


def _classes(files: Sequence[IdxFile], given: tuple[str, ...]) -> tuple[tuple[str, ...], list[str]]:
    """Return the names of the classes, and notes: the given names, else the numbers of labels that are whole numbers.

    Raises FormatError where a label is beyond the given classes.
    """
    most = -1
    for file in files:
        if file.file.role != "labels" or len(file.header.shape) != 1 or not file.header.shape[0]:
            continue
        extent = file.extent()
        if extent is None or extent[0] < 0 or extent[1] >= (len(given) or MAX_CLASSES_GUESSED):
            words = "that are fractions" if extent is None else f"from {extent[0]} to {extent[1]}"
            if given:
                raise FormatError(
                    f"{file.path.name} has labels {words}, --classes names {len(given)} (0 to {len(given) - 1})",
                    hint="Name every class, in the order of their numbers, with a comma between.",
                )
            return (), [f"{file.path.name} has labels {words}, so no classes are named"]
        most = max(most, extent[1])
    return given or tuple(map(str, range(most + 1))), []
