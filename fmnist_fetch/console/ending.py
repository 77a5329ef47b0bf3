"""The last words of a fetch: what came from where, how long it took, and what to do next."""

from pathlib import Path

from fmnist_fetch.console.formatting import counted, origin_of_bytes, span_of_time
from fmnist_fetch.manifest.catalog import DATASET
from fmnist_fetch.manifest.model import Manifest
from fmnist_fetch.pipeline.report import Report
from fmnist_fetch.storage.layout import Layout, root_folder

PROJECT = Path(__file__).parents[2]


def ending(report: Report, layout: Layout) -> str:
    """One sentence on what was done, another one on what went wrong underway."""
    seconds = f"{report.seconds:.1f} s" if report.seconds < 60 else span_of_time(report.seconds)
    name, folder = layout.manifest.title or layout.manifest.name, layout.raw.parent
    text = f"{name} is complete in {folder}, every byte verified{_came(report)} ({seconds})."
    if report.retries:
        text += f" {counted(report.retries, 'attempt')} failed and {_was(report.retries)} made up for"
        wrong = report.wrong_pieces
        text += f"; {counted(wrong, 'piece')} {_was(wrong)} wrong." if wrong else "."
    return text


def _came(report: Report) -> str:
    return f": {origin_of_bytes(report.received)}" if report.received else ""


def next_command(dataset: str, root: str | None, manifest: Manifest) -> str:
    """What the data can be used with, as it can be typed here: make train in the project's folder, else Python."""
    elsewhere = root_folder(root) != root_folder(None)
    if Path.cwd() == PROJECT and (PROJECT / "Makefile").exists() and _trainable(manifest):
        import shlex

        words = ["make", "train"]
        words += [f"DATASET={dataset}"] if dataset != DATASET else []
        words += [f"ROOT={root}"] if elsewhere else []
        return shlex.join(words)
    splits = [file.split for file in manifest.files]
    arguments = [repr(dataset)] if dataset != DATASET else []
    arguments += [f"split={splits[0]!r}"] if "train" not in splits else []
    arguments += [f"root={str(root)!r}"] if elsewhere else []
    return f"fmnist_fetch.load({', '.join(arguments)}) in Python"


def _trainable(manifest: Manifest) -> bool:
    tensors = {file.tensor for file in manifest.files}
    return bool(manifest.classes) and {"train_images", "train_labels", "test_images", "test_labels"} <= tensors


def _was(count: int) -> str:
    return "was" if count == 1 else "were"
