"""The command manifest: write a manifest for the user's own IDX files."""

import argparse
import os
import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from fmnist_fetch.commands.arguments import add_command
from fmnist_fetch.commands.manifest.naming import FileRole
from fmnist_fetch.console.formatting import counted, fetch_command, table
from fmnist_fetch.console.output import print_line, print_text
from fmnist_fetch.console.progress import ProgressState
from fmnist_fetch.errors import DiskError, UsageError, size
from fmnist_fetch.events import Message
from fmnist_fetch.manifest.model import MAX_PIECE_BYTES, PIECE_BYTES, ROLES
from fmnist_fetch.manifest.validation import is_url, is_word
from fmnist_fetch.storage.atomic import write_all, write_atomically
from fmnist_fetch.storage.layout import user_path

if TYPE_CHECKING:
    from fmnist_fetch.commands.manifest.idxfile import IdxFile

STDOUT = "-"
MIN_PIECE_BYTES = 1024


def add_parser(subparsers: Any) -> None:
    """Add the command manifest."""
    command = add_command(
        subparsers,
        "manifest",
        _manifest,
        "write a manifest for your own IDX files, which others can then fetch",
        "my-data --url https://example.org/my-data/",
        "gzip --only 'emnist-letters-*' --url http://lab:8000/",
        "my-data --file train:images=a.idx --out -",
    )
    add = command.add_argument
    repeatable: dict[str, Any] = {"action": "append", "default": []}
    add("folder", metavar="FOLDER", help="the folder of the IDX files, plain or packed with gzip")
    add("--only", **repeatable, metavar="PATTERN", help="only files with such names; may be repeated")
    text = "what the file NAME is, such as val:images=v.idx; may be repeated"
    add("--file", **repeatable, type=_file_role, metavar="SPLIT:ROLE=NAME", help=text)
    add("--name", help="the dataset's name (default: that of its folder)")
    add("--title", type=_text, default="", metavar="TEXT", help="its name for people")
    add("--licence", type=_text, default="", metavar="TEXT", help="what others may do with it, such as CC-BY-4.0")
    text = "names for the labels 0, 1, 2 (default: the numbers)"
    add("--classes", type=_text, default="", metavar="A,B,C", help=text)
    text = "where others get them: BASE with a file's name added; may be repeated"
    add("--url", **repeatable, type=_folder_url, metavar="BASE", help=text)
    add("-o", "--out", metavar="FILE", help="the manifest to write (default: NAME.toml here; - is stdout)")
    add("--force", action="store_true", help="overwrite FILE if it exists")
    text = "the length of the pieces that are verified one by one (default 256K)"
    add("--piece-length", type=_piece_length, default=PIECE_BYTES, metavar="256K", help=text)


def _manifest(options: argparse.Namespace, state: ProgressState) -> dict[str, Any]:
    from fmnist_fetch.commands.manifest.author import ManifestOptions, draft, suggest_name
    from fmnist_fetch.commands.manifest.collect import folder_of_files
    from fmnist_fetch.console.progress import listener
    from fmnist_fetch.manifest.toml import dumps

    notify = listener("none" if options.quiet else options.progress, sys.stderr, state)
    folder = folder_of_files(user_path(options.folder))
    name = options.name or suggest_name(folder, options.only)
    out = _out(options, name)
    chosen = ManifestOptions(
        name=name,
        title=options.title,
        licence=options.licence,
        classes=tuple(word.strip() for word in options.classes.split(",")) if options.classes else (),
        mirrors=tuple(options.url),
        only=tuple(options.only),
        roles=dict(options.file),
        piece_length=options.piece_length,
    )
    drafted = draft(folder, chosen)
    for note in drafted.notes:
        notify(Message(f"note: {note}"))
    text = dumps(drafted.manifest)
    if out is None:
        print_text(text)
    else:
        _write(out, text)
        _report(options, drafted.files, folder, out)
    return {
        "manifest": str(out or STDOUT),
        "dataset": name,
        "folder": str(folder),
        "files": {entry.file.name: _facts(entry) for entry in drafted.files},
        "classes": drafted.manifest.classes,
        "mirrors": drafted.manifest.mirrors,
        "notes": drafted.notes,
    }


def _facts(entry: "IdxFile") -> dict[str, Any]:
    return {
        "split": entry.file.split,
        "role": entry.file.role,
        "shape": entry.header.shape,
        "type": entry.header.type_name,
        "size": entry.file.size,
        "pieces": len(entry.file.pieces),
    }


def _out(options: argparse.Namespace, name: str) -> Path | None:
    """Return the manifest to write, None for stdout; raise UsageError unless it is new and `fetch` takes its name."""
    if options.out == STDOUT:
        if options.json:
            hint = "Write the manifest to a file: --out FILE.toml"
            raise UsageError("--json and --out - both write to stdout", hint=hint)
        return None
    out = user_path(options.out or f"{name}.toml")
    if out.suffix != ".toml":
        hint = f"Use: --out {shlex.quote(f'{out}.toml')}"
        raise UsageError(f"{out} is not a name for a manifest: fetch takes FILE.toml", hint=hint)
    if os.path.lexists(out) and not options.force:
        raise UsageError(f"{out} exists already", hint="Overwrite it with --force, or write another: --out FILE.toml")
    return out


def _write(out: Path, text: str) -> None:
    from fmnist_fetch.commands.manifest.idxfile import hint_for

    data = text.encode()
    hint = hint_for(DiskError, "Write the manifest elsewhere: --out FILE.toml")
    with hint, write_atomically(out, len(data)) as file:
        write_all(file, data)


def _report(options: argparse.Namespace, files: "Sequence[IdxFile]", folder: Path, out: Path) -> None:
    total, pieces = sum(entry.file.size for entry in files), sum(len(entry.file.pieces) for entry in files)
    dataset = str(out) if out.is_absolute() else f"./{out}"
    lines = table([(f"{entry.file.split} {entry.file.role}", entry.header.words, entry.path.name) for entry in files])
    lines.append(f"{out} is written: {counted(len(files), 'file')}, {size(total)}, {counted(pieces, 'piece')}.")
    if options.url:
        command = fetch_command(dataset, options.root)
        lines.append(f"Next: put the files where --url says; then anybody can run: {command}")
    lines.append(f"To try it now: {fetch_command(dataset, options.root, str(folder))}")
    print_line(options, *lines)


def _text(value: str) -> str:
    """Return an option's value; raise UsageError for bytes of another encoding than the terminal's."""
    try:
        value.encode()
    except UnicodeEncodeError as exc:
        raise UsageError(f"{value!a} is not text in UTF-8", hint="Write it in the encoding of your terminal.") from exc
    return value


def _folder_url(url: str) -> str:
    """Return a URL to which file names can be added; raise UsageError for anything else."""
    if not is_url(url) or urlsplit(url).fragment:
        hint = "Give the URL to which a file's name is added, such as https://example.org/my-data/"
        raise UsageError(f"--url {url!r} is not an http:// or https:// URL of a folder", hint=hint)
    return url if urlsplit(url).query or url.endswith("/") else f"{url}/"


def _file_role(text: str) -> tuple[str, FileRole]:
    """Return the file name and the role in SPLIT:ROLE=NAME; raise UsageError for anything else."""
    place, _, name = text.partition("=")
    split, _, role = place.partition(":")
    if not is_word(split) or role not in ROLES or not name:
        hint = "SPLIT is a lower-case word such as train, ROLE is images or labels: --file train:images=NAME"
        raise UsageError(f"--file {text} is not SPLIT:ROLE=NAME", hint=hint)
    return name, FileRole(split, role)


def _piece_length(text: str) -> int:
    """Return the number of bytes in a text such as 700K or 2M (powers of 1024)."""
    match = re.fullmatch(r"([0-9]{1,12})([KMG]?)i?B?", text, re.IGNORECASE)
    count = int(match[1]) * 1024 ** " KMG".index(match[2].upper() or " ") if match else 0
    if not MIN_PIECE_BYTES <= count <= MAX_PIECE_BYTES:
        span = f"{MIN_PIECE_BYTES:,} to {MAX_PIECE_BYTES:,}"
        raise argparse.ArgumentTypeError(f"{text!r} is not a size from {span} bytes")
    return count
