"""The command serve: share the data under the root with the local network, read-only."""

import argparse
from functools import partial
from typing import Any

from fmnist_fetch.commands.arguments import add_command, whole
from fmnist_fetch.console.output import print_line
from fmnist_fetch.console.progress import ProgressState
from fmnist_fetch.errors import FetchError, in_clone
from fmnist_fetch.manifest.catalog import DATASET, find, names
from fmnist_fetch.storage.layout import root_folder

PORT = 8000


def add_parser(subparsers: Any) -> None:
    """Add the command serve."""
    summary = "share the data under the root with the local network, read-only"
    add = add_command(subparsers, "serve", _serve, summary, "--port 8000").add_argument
    text = "the manifest of another dataset under the root; repeatable"
    add("manifests", nargs="*", metavar="FILE.toml", help=text)
    add("--host", default="0.0.0.0", metavar="H", help="the address to listen on (default: all)")
    add("--port", type=whole(0, 65535, "port"), default=PORT, metavar="P", help=f"the port (default {PORT})")
    add("--announce", action="store_true", help="tell the local network by multicast DNS, for fetch --lan")


def _serve(options: argparse.Namespace, _state: ProgressState) -> dict[str, Any]:
    try:
        if options.announce:
            from fmnist_fetch.commands.serve.announce import announce
        from fmnist_fetch.commands.serve.files import ServedFiles, datasets
        from fmnist_fetch.commands.serve.server import serve
        from fmnist_fetch.commands.serve.wheels import ServedWheels
        from fmnist_fetch.environment.lock import PROJECT
    except ModuleNotFoundError as exc:
        command = f"make serve{' SERVE=--announce' if options.announce else ''}"
        hint = f"Run: {command}" if in_clone() else "Run: python3 -m pip install 'fmnist-fetch[serve]'"
        raise FetchError(f"serve needs {exc.name}, which is not installed", hint=hint) from exc
    root, notify = root_folder(options.root), partial(print_line, options)
    standard = [find(name) for name in sorted(names(), key=lambda name: name != DATASET)]
    manifests, notes = datasets(root, standard, map(find, options.manifests))
    for note in notes:
        notify(f"note: {note}")
    wheels = ServedWheels.of_project(PROJECT)
    served = ServedFiles(root, manifests)
    serve(served, wheels, options.host, options.port, notify, announce if options.announce else None)
    return {"root": str(root)}
