"""The command verify: hash everything of a dataset, repair nothing."""

import argparse
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from fmnist_fetch.commands.arguments import add_command, add_dataset
from fmnist_fetch.console.formatting import counted, fetch_command, table, width
from fmnist_fetch.console.output import print_line
from fmnist_fetch.console.progress import ProgressState
from fmnist_fetch.errors import DiskError, FetchError, IntegrityError, dangling_link, size
from fmnist_fetch.manifest.catalog import find
from fmnist_fetch.pipeline.status import Condition, DatasetStatus, FileStatus, inspect_with_parts
from fmnist_fetch.storage.layout import Layout

MARGIN = "  "
DEFAULT_COLUMNS = 80


class Row(NamedTuple):
    """A line of the table: a file, how it compares with the manifest, its size in bytes if known, and a detail."""

    path: Path
    condition: Condition
    size: int | None
    remark: str


def add_parser(subparsers: Any) -> None:
    """Add the command verify."""
    summary = "hash everything, repair nothing, open no socket"
    add_dataset(add_command(subparsers, "verify", _verify, summary, "", "--root /srv/datasets"))


def _verify(options: argparse.Namespace, _state: ProgressState) -> dict[str, Any]:
    manifest = find(options.dataset)
    layout = Layout(options.root, manifest)
    status = inspect_with_parts(layout)
    rows = list(_rows(layout, status))
    title = f"{manifest.title or manifest.name} in {layout.raw.parent}"
    print_line(options, title, "", *_table(rows, layout.raw.parent), *_maps(status))
    facts = {
        "dataset": manifest.name,
        "root": str(layout.root),
        "files": {str(row.path): row.condition for row in rows},
        "damaged_pieces": {
            str(layout.published(entry.file)): entry.damaged_pieces for entry in status.files if entry.damaged_pieces
        },
    }
    if not status.complete:
        raise _incomplete(layout, options, facts)
    return facts


def _rows(layout: Layout, status: DatasetStatus) -> Iterator[Row]:
    for entry in status.files:
        yield _published(layout, entry)
        if entry.file.packed:
            path = layout.payload(entry.file)
            yield Row(path, entry.payload, entry.file.payload.size, _remark(path, entry.payload))
    length: int | None = None
    with suppress(OSError):
        length = layout.tensors.stat().st_size
    yield Row(layout.tensors, status.tensors, length, _remark(layout.tensors, status.tensors))


def _remark(path: Path, condition: Condition) -> str:
    """Return the reason why a file cannot be read, or ""."""
    try:
        if condition is Condition.REDIRECTED and (link := dangling_link(path)):
            return f"{'a' if link == path else 'below a'} link to {link.readlink()}, which is not there"
        if condition is Condition.UNREADABLE:
            path.open("rb").close()
    except OSError as exc:
        return (exc.strerror or str(exc)).lower()
    return ""


def _published(layout: Layout, entry: FileStatus) -> Row:
    file, path, condition = entry.file, layout.published(entry.file), entry.published
    pieces = counted(len(file.pieces), "piece")
    if condition is Condition.DAMAGED:
        remark = f"{len(entry.damaged_pieces)} of {pieces} damaged"
    elif condition is Condition.PARTIAL:
        remark = f"{len(entry.good.indices)} of {pieces} fetched"
    elif condition is Condition.ABSENT and entry.payload is Condition.GOOD and file.packed:
        remark = "not needed: it is unpacked"
    else:
        remark = _remark(path, condition)
    return Row(path, condition, file.size, remark)


def _table(rows: list[Row], folder: Path) -> list[str]:
    """Return one line for each file, with its path under the dataset's folder, and one for all."""
    cells = [
        (str(row.condition), "" if row.size is None else size(row.size), str(row.path.relative_to(folder)), row.remark)
        for row in rows
    ]
    kinds = [row.condition for row in rows]
    tally = ", ".join(f"{kinds.count(kind)} {kind}" for kind in Condition if kind in kinds)
    there = sum(row.size or 0 for row in rows if row.condition not in (Condition.ABSENT, Condition.PARTIAL))
    cells.append(("total", size(there), f"{counted(len(rows), 'file')}: {tally}", ""))
    return table(cells, right={1}, spare=(3, 1))


def _maps(status: DatasetStatus) -> Iterator[str]:
    """Yield the lines of a map of each damaged file, in which x marks damaged pieces."""
    for entry in status.files:
        if damaged := entry.damaged_pieces:
            pieces = entry.file.pieces
            group = -(-len(pieces) // max(1, (width() or DEFAULT_COLUMNS) - 2 * len(MARGIN)))
            starts = range(0, len(pieces), group)
            cells = "".join("x" if any(at <= piece < at + group for piece in damaged) else "." for at in starts)
            each = size(pieces[0].span.length)
            cell = f"one piece of {each}" if group == 1 else f"{group} pieces of {each}"
            yield from ("", entry.file.name, f"{MARGIN}{cells}", f"{MARGIN}x damaged, . good; each is {cell}")


def _incomplete(layout: Layout, options: argparse.Namespace, facts: dict[str, Any]) -> FetchError:
    """Return the error for a dataset that is not complete, with facts for programs."""
    hint = f"Run: {fetch_command(options.dataset, options.root)}"
    conditions, name = list(facts["files"].values()), layout.manifest.name
    if damaged := conditions.count(Condition.DAMAGED):
        error: FetchError = IntegrityError(f"{name} is damaged in {damaged} of its files", hint=hint)
    elif unreadable := conditions.count(Condition.UNREADABLE):
        sentence = f"{counted(unreadable, 'file')} of {name} under {layout.root} can't be read"
        error = DiskError(sentence, hint=f"Make what is in {layout.raw.parent} readable for you, then run this again.")
    else:
        error = FetchError(f"{name} is not complete under {layout.root}", hint=hint)
    error.facts = facts
    return error
