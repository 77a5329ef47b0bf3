"""The verb fetch: arguments in, the rooms below do it, sentences and one JSON object out."""

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from fmnist_fetch.commands.arguments import add_dataset, add_verb, patience, whole
from fmnist_fetch.console.ending import ending, next_command
from fmnist_fetch.console.formatting import wrapped
from fmnist_fetch.console.output import say
from fmnist_fetch.errors import disk
from fmnist_fetch.events import Event, Listener
from fmnist_fetch.manifest.catalog import find
from fmnist_fetch.sources.base import FetchOptions
from fmnist_fetch.storage.layout import Layout


def add_verbs(verbs: Any) -> None:
    """Add fetch to argparse's VERBS."""
    fetch = add_verb(
        verbs,
        "fetch",
        _fetch,
        "bring a dataset, unpack it, write its tensor file; again: verify and repair",
        "",
        "--root /srv/datasets --mirror /media/usb",
    )
    add_dataset(fetch)
    fetch.add_argument(
        "--mirror", action="append", default=[], metavar="URL|FOLDER", help="ask this one first; may be repeated"
    )
    fetch.add_argument("--only-mirrors", action="store_true", help="ask nobody but the --mirror ones")
    fetch.add_argument(
        "--offline",
        action="store_true",
        default=os.environ.get("FMNIST_OFFLINE", "") not in ("", "0"),
        help="open no socket: local copies only",
    )
    fetch.add_argument("--jobs", type=whole(1, 64), default=4, metavar="N", help="connections at once (default 4)")
    fetch.add_argument(
        "--patience",
        type=patience,
        default=120.0,
        metavar="SECONDS",
        help='give up after so long without progress (default 120), or "forever"',
    )
    fetch.add_argument(
        "--also",
        action="append",
        default=[],
        metavar="TOOL",
        help="let keras or paddle find the files; may be repeated",
    )
    fetch.add_argument("--log", type=Path, metavar="FILE", help="append every attempt to FILE as a JSON line")


def _fetch(options: argparse.Namespace, kept: Listener) -> dict[str, Any]:
    from fmnist_fetch.console.progress import Log, listener, never_raising
    from fmnist_fetch.pipeline.prepare import prepare

    manifest = find(options.dataset)
    layout = Layout(options.root, manifest)
    chosen = FetchOptions(tuple(options.mirror), options.only_mirrors, options.offline, options.jobs, options.patience)
    listeners = [kept, listener("none" if options.quiet else options.progress, sys.stderr)]
    if options.log:
        with disk(options.log):
            listeners.append(never_raising(Log(options.log)))

    def tell(event: Event) -> None:
        for listen in listeners:
            listen(event)

    report = prepare(manifest, layout, chosen, listener=tell, also=options.also)
    say(options, wrapped(ending(report, manifest, layout)))
    for tool, folder in report.also.items():
        say(options, f"For {tool}: {folder}")
    say(options, f"Next: {next_command(options.dataset, options.root, manifest)}")
    return {
        "dataset": report.dataset,
        "root": str(report.root),
        "tensors": str(report.tensors),
        "seconds": round(report.seconds, 3),
        "received": report.received,
        "retries": report.retries,
        "wrong_pieces": report.wrong_pieces,
        "also": {tool: str(folder) for tool, folder in report.also.items()},
    }
