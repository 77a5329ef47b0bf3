"""Text for people: sizes, times, sentences, tables, and text that is safe on a terminal."""

import os
import shlex
import sys
from collections.abc import Collection, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from fmnist_fetch.download.backoff import FOREVER
from fmnist_fetch.errors import escaped, in_clone, size
from fmnist_fetch.events import DownloadStarted, NoSourceReady
from fmnist_fetch.manifest.catalog import DATASET
from fmnist_fetch.storage.layout import root_folder

if TYPE_CHECKING:
    from fmnist_fetch.manifest.model import Manifest
    from fmnist_fetch.pipeline.report import Report
    from fmnist_fetch.storage.layout import Layout

COLUMN_GAP = "  "
MAX_SOURCES_NAMED = 3
TRAINED = {"train_images", "train_labels", "test_images", "test_labels"}
"""The tensors without which a dataset is not one for training."""


def encodable(text: str, encoding: str | None) -> str:
    """Return the text with all characters escaped that the encoding of a stream does not have."""
    try:
        return text.encode(encoding or "utf-8", "backslashreplace").decode(encoding or "utf-8")
    except LookupError:
        return ascii(text)[1:-1]


def beginning(event: DownloadStarted) -> str:
    """Return a sentence on what is there already and what is to be fetched."""
    total = sum(size for _, size, _ in event.files)
    missing = total - sum(good for _, _, good in event.files)
    if not event.good:
        return f"{counted(len(event.files), 'file')}, {size(total)} to fetch"
    return f"{event.good} of {counted(event.pieces, 'piece')} already good; {size(missing)} of {size(total)} to fetch"


def waiting(event: NoSourceReady) -> str:
    """Return a sentence on how long the run still waits, what is kept and why it waits."""
    reason = event.reasons[-1] if event.reasons else "no source can serve just now"
    end = "as long as it takes" if event.patience == FOREVER else f"gives up in {span_of_time(event.patience)}"
    return f"waiting ({end}), {size(event.safe)} verified so far: {reason}"


def complete(report: "Report", layout: "Layout") -> str:
    """Return one sentence on what a fetch did, and another one on what went wrong meanwhile."""
    seconds = f"{report.seconds:.1f} s" if report.seconds < 60 else span_of_time(report.seconds)
    origins = [f"{size(count)} from {source}" for source, count in report.received.items()]
    if len(origins) > MAX_SOURCES_NAMED:
        origins = [f"{size(sum(report.received.values()))} from {len(origins)} sources"]
    origin = f": {' and '.join(origins)}" if origins else ""
    title = layout.manifest.title or layout.manifest.name
    text = f"{title} is complete in {layout.raw.parent}, every byte verified{origin} ({seconds})."
    if report.retries:
        text += f" {counted(report.retries, 'failed request')} {_was(report.retries)} retried successfully."
    if wrong := report.wrong_pieces:
        text += f" {counted(wrong, 'piece')} with wrong bytes {_was(wrong)} replaced."
    return text


def next_command(dataset: str, root: str | None, manifest: "Manifest") -> str:
    """Return a command that uses the data and works in the current folder: `make train` in a clone, else Python."""
    named = None if dataset == DATASET else dataset
    elsewhere = root_folder(root) != root_folder(None)
    trainable = {file.tensor for file in manifest.files} >= TRAINED and manifest.classes
    if in_clone() and trainable:
        return _make("train", DATASET=named, ROOT=root if elsewhere else None)
    splits = [file.split for file in manifest.files]
    arguments = [repr(named)] if named else []
    arguments += [f"split={splits[0]!r}"] if "train" not in splits else []
    arguments += [f"root={str(root)!r}"] if elsewhere else []
    return f"fmnist_fetch.load({', '.join(arguments)}) in Python"


def fetch_command(dataset: str, root: str | None, mirror: str | None = None) -> str:
    """Return the command that fetches a dataset and works in the current folder: `make data` in a clone."""
    named = None if dataset == DATASET else dataset
    if in_clone():
        return _make("data", DATASET=named, ROOT=root, MIRROR=mirror)
    words = ["fmnist-fetch", "fetch", *([named] if named else [])]
    words += ["--root", root] if root else []
    return shlex.join(words + (["--mirror", mirror] if mirror else []))


def _make(target: str, **variables: str | None) -> str:
    return shlex.join(["make", target, *(f"{name}={value}" for name, value in variables.items() if value)])


def span_of_time(seconds: float) -> str:
    """Return a time with its unit: 90 s, 5 min, 3.5 h."""
    if seconds < 120:
        return f"{max(0.0, seconds):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def counted(count: int, noun: str) -> str:
    """Return a number with its noun: 1 file, 2 files."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def _was(count: int) -> str:
    return "was" if count == 1 else "were"


def width() -> int | None:
    """Return the columns of the terminal that stdout is; None where it is none, and lines may have any length."""
    with suppress(OSError, ValueError, AttributeError):
        return os.get_terminal_size(sys.stdout.fileno()).columns or None
    return None


def wrapped(sentence: str) -> list[str]:
    """Return a sentence as lines for the terminal, divided between words and never within a path or a URL."""
    sentence, columns = escaped(sentence), width()
    if columns is None or len(sentence) <= columns:
        return [sentence]
    import textwrap

    return textwrap.wrap(sentence, columns, break_long_words=False, break_on_hyphens=False)


def table(rows: Sequence[Sequence[str]], *, right: Collection[int] = (), spare: Sequence[int] = ()) -> list[str]:
    """Return rows of equally many cells as lines with aligned columns.

    Args:
        rows: The cells.
        right: The columns that are aligned to the right.
        spare: The columns that are left out, one after the other, where the terminal is too narrow for all.
    """
    limit = width()
    columns = list(range(len(rows[0])))
    widths = [max(len(row[column]) for row in rows) for column in columns]
    for column in spare:
        if limit is None or sum(widths[kept] for kept in columns) + len(COLUMN_GAP) * (len(columns) - 1) <= limit:
            break
        columns.remove(column)
    adjust = [str.rjust if column in right else str.ljust for column in range(len(widths))]
    return [COLUMN_GAP.join(adjust[at](row[at], widths[at]) for at in columns).rstrip() for row in rows]
