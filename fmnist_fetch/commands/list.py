"""The command list: the catalogue, and the state of each dataset under the root."""

import argparse
from typing import Any

from fmnist_fetch.commands.arguments import add_command
from fmnist_fetch.console.formatting import table
from fmnist_fetch.console.output import print_line
from fmnist_fetch.console.progress import ProgressState
from fmnist_fetch.errors import size
from fmnist_fetch.manifest.catalog import find, names
from fmnist_fetch.pipeline.status import Condition, inspect_with_parts
from fmnist_fetch.storage.layout import Layout, root_folder


def add_parser(subparsers: Any) -> None:
    """Add the command list."""
    summary = "list the catalogue, and the state of each dataset under the root"
    add_command(subparsers, "list", _list, summary, "", "--json")


def _list(options: argparse.Namespace, _state: ProgressState) -> dict[str, Any]:
    root = root_folder(options.root)
    datasets, sizes = {}, {}
    rows = [("name", "state", "size", "licence", "home")]
    for name in names():
        manifest = find(name)
        datasets[name] = _word(Layout(options.root, manifest))
        sizes[name] = sum(file.size for file in manifest.files)
        rows.append((name, datasets[name], size(sizes[name]), manifest.licence, manifest.homepage))
    complete = list(datasets.values()).count("complete")
    rows.append(("total", f"{complete} complete", size(sum(sizes.values())), "", ""))
    title = f"The catalogue, and the state of its datasets in {root}"
    print_line(options, title, "", *table(rows, right={2}, spare=(4, 3)))
    return {"root": str(root), "datasets": datasets}


def _word(layout: Layout) -> str:
    status = inspect_with_parts(layout)
    conditions = {status.tensors, *(c for entry in status.files for c in (entry.published, entry.payload))}
    if status.complete:
        return "complete"
    if not conditions <= {Condition.ABSENT, Condition.PARTIAL}:
        return "incomplete"
    return str(Condition.PARTIAL if Condition.PARTIAL in conditions else Condition.ABSENT)
