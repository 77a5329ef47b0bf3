"""The command script: one file of plain Python that downloads a dataset anywhere."""

import argparse
from typing import Any

from fmnist_fetch.commands.arguments import add_command, add_dataset
from fmnist_fetch.console.output import print_text
from fmnist_fetch.console.progress import ProgressState
from fmnist_fetch.manifest.catalog import find


def add_parser(subparsers: Any) -> None:
    """Add the command script."""
    summary = "print one Python file that downloads a dataset without an installation"
    parser = add_command(subparsers, "script", _script, summary, "> get_fashion_mnist.py", "kmnist > get_kmnist.py")
    add_dataset(parser)
    text = "zh adds Chinese comments, in UTF-8 (en: pure ASCII)"
    parser.add_argument("--comments", choices=("en", "zh"), default="en", help=text)


def _script(options: argparse.Namespace, _state: ProgressState) -> dict[str, Any]:
    # Here, since it loads what opens sockets, and verify never does.
    from fmnist_fetch.download.standalone.script import script

    manifest = find(options.dataset)
    text = script(manifest, comments=options.comments)
    if not options.json:
        print_text(text)
    return {"dataset": manifest.name, "script": text}
