"""The verb list: the catalogue, and the state of each dataset under the root."""

import argparse
from typing import Any

from fmnist_fetch.commands.arguments import add_verb
from fmnist_fetch.console.formatting import size, table, width
from fmnist_fetch.console.output import say
from fmnist_fetch.events import Listener
from fmnist_fetch.manifest.catalog import find, names
from fmnist_fetch.pipeline.status import Condition, DatasetStatus, inspect
from fmnist_fetch.storage.layout import Layout, root_folder


def add_verbs(verbs: Any) -> None:
    """Add list to argparse's VERBS."""
    add_verb(verbs, "list", _list, "the catalogue, and the state of each dataset under the root", "", "--json")


def _list(options: argparse.Namespace, _kept: Listener) -> dict[str, Any]:
    root = root_folder(options.root)
    datasets, sizes = {}, {}
    rows = [("name", "state", "size", "licence", "home")]
    for name in names():
        manifest = find(name)
        datasets[name] = _word(inspect(Layout(options.root, manifest)))
        sizes[name] = sum(file.size for file in manifest.files)
        rows.append((name, datasets[name], size(sizes[name]), manifest.licence, manifest.homepage))
    complete = list(datasets.values()).count("complete")
    rows.append(("total", f"{complete} complete", size(sum(sizes.values())), "", ""))
    say(options, f"The catalogue, and what of it is in {root}\n")
    for line in table(rows, right={2}, spare=(4, 3), width=width()):
        say(options, line)
    return {"root": str(root), "datasets": datasets}


def _word(state: DatasetStatus) -> str:
    conditions = {state.tensors, *(c for entry in state.files for c in (entry.published, entry.payload))}
    return "complete" if state.complete else "absent" if conditions == {Condition.ABSENT} else "incomplete"
