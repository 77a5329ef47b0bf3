"""The command script: one file of plain Python that downloads a dataset anywhere."""

import argparse
from typing import Any

from fmnist_fetch.commands.arguments import add_dataset, add_verb
from fmnist_fetch.console.output import print_text
from fmnist_fetch.events import Listener
from fmnist_fetch.manifest.catalog import find


def add_verbs(verbs: Any) -> None:
    """Add script to argparse's VERBS."""
    summary = "print one Python file that downloads a dataset without an installation"
    verb = add_verb(verbs, "script", _script, summary, "> get_fashion_mnist.py", "kmnist > get_kmnist.py")
    add_dataset(verb)
    verb.add_argument(
        "--comments",
        choices=("en", "zh"),
        default="en",
        help="zh adds Chinese comments, in UTF-8 (en: pure ASCII)",
    )


def _script(options: argparse.Namespace, _kept: Listener) -> dict[str, Any]:
    # Here, since it loads what opens sockets, and verify never does.
    from fmnist_fetch.manifest.script import script

    manifest = find(options.dataset)
    text = script(manifest, comments=options.comments)
    if not options.json:
        print_text(text)
    return {"dataset": manifest.name, "script": text}
