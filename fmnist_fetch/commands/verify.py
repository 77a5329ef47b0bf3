"""The verb verify: hash everything of a dataset, repair nothing."""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from fmnist_fetch.commands.arguments import add_dataset, add_verb
from fmnist_fetch.console.formatting import counted, damage, size, table, width
from fmnist_fetch.console.output import say
from fmnist_fetch.errors import FetchError, IntegrityError
from fmnist_fetch.events import Listener
from fmnist_fetch.manifest.catalog import find
from fmnist_fetch.manifest.model import DataFile
from fmnist_fetch.pipeline.status import Condition, DatasetStatus, FileStatus, inspect
from fmnist_fetch.storage.files import find_good_pieces
from fmnist_fetch.storage.layout import Layout
from fmnist_fetch.storage.part_file import part_path

MARGIN = "  "
USUAL = 80


class Row(NamedTuple):
    """One file on the disk: where, in which condition, its size in bytes, and what else there is to say."""

    path: Path
    condition: Condition
    size: int | None
    remark: str = ""
    file: DataFile | None = None
    damaged: tuple[int, ...] = ()


def add_verbs(verbs: Any) -> None:
    """Add verify to argparse's VERBS."""
    add_dataset(
        add_verb(
            verbs, "verify", _verify, "hash everything, repair nothing, open no socket", "", "--root /srv/datasets"
        )
    )


def _verify(options: argparse.Namespace, _kept: Listener) -> dict[str, Any]:
    manifest = find(options.dataset)
    layout = Layout(options.root, manifest)
    state = inspect(layout)
    rows = list(_rows(layout, state))
    say(options, f"{manifest.title or manifest.name} in {layout.raw.parent}\n")
    for line in (*_table(rows, layout), *_maps(rows)):
        say(options, line)
    facts = {
        "dataset": manifest.name,
        "root": str(layout.root),
        "files": {str(row.path): row.condition for row in rows},
        "damaged_pieces": {str(row.path): row.damaged for row in rows if row.damaged},
    }
    _demand_complete(layout, state, options, facts)
    return facts


def _rows(layout: Layout, state: DatasetStatus) -> Iterator[Row]:
    for entry in state.files:
        yield _published(layout, entry)
        if entry.file.packed:
            yield Row(layout.payload(entry.file), entry.payload, entry.file.payload.size)
    path = layout.tensors
    yield Row(path, state.tensors, path.stat().st_size if path.is_file() else None)


def _published(layout: Layout, entry: FileStatus) -> Row:
    file, path = entry.file, layout.published(entry.file)
    remark, damaged = "", entry.damaged_pieces
    if entry.published is Condition.DAMAGED:
        remark = f"{len(damaged)} of {counted(len(file.pieces), 'piece')} damaged"
    if entry.published is Condition.ABSENT:
        if entry.payload is Condition.GOOD and file.packed:
            remark = "not needed: it is unpacked"
        elif good := len(find_good_pieces(part_path(path), file).indices):
            remark = f"{good} of {counted(len(file.pieces), 'piece')} fetched"
    return Row(path, entry.published, file.size, remark, file, damaged)


def _table(rows: list[Row], layout: Layout) -> list[str]:
    """One line for each file, with its path under the dataset's folder, and one for all."""
    cells = [
        (str(row.condition), "" if row.size is None else size(row.size), _within(layout, row.path), row.remark)
        for row in rows
    ]
    kinds = [row.condition for row in rows]
    tally = ", ".join(f"{kinds.count(kind)} {kind}" for kind in Condition if kind in kinds)
    there = sum(row.size or 0 for row in rows if row.condition is not Condition.ABSENT)
    cells.append(("total", size(there), f"{counted(len(rows), 'file')}: {tally}", ""))
    return table(cells, right={1}, spare=(3, 1), width=width())


def _within(layout: Layout, path: Path) -> str:
    return str(path.relative_to(layout.raw.parent))


def _maps(rows: list[Row]) -> Iterator[str]:
    """A map of each damaged file, x where it is damaged."""
    for row in rows:
        if row.file is not None and row.damaged:
            pieces = row.file.pieces
            cells, group = damage(len(pieces), row.damaged, (width() or USUAL) - 2 * len(MARGIN))
            each = size(pieces[0].span.length)
            cell = f"one piece of {each}" if group == 1 else f"{group} pieces of {each}"
            yield f"\n{row.path.name}\n{MARGIN}{cells}\n{MARGIN}x damaged, . good; each is {cell}"


def _demand_complete(layout: Layout, state: DatasetStatus, options: argparse.Namespace, facts: dict[str, Any]) -> None:
    """Raise what is the matter, with FACTS for programs, unless the dataset is complete."""
    if state.complete:
        return
    root = f" --root {options.root}" if options.root else ""
    hint = f"Run: fmnist-fetch fetch {options.dataset}{root}"
    damaged = list(facts["files"].values()).count(Condition.DAMAGED)
    if damaged:
        error: FetchError = IntegrityError(f"{layout.manifest.name} is damaged in {damaged} of its files", hint=hint)
    else:
        error = FetchError(f"{layout.manifest.name} is not complete under {layout.root}", hint=hint)
    error.facts = facts
    raise error
