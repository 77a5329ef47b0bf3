"""The command fetch: download a dataset, verify and unpack it, and write its tensor file."""

import argparse
import sys
from typing import Any

from fmnist_fetch.commands.arguments import add_command, add_dataset, offline_by_environment, patience, rate, whole
from fmnist_fetch.console.formatting import complete, next_command, wrapped
from fmnist_fetch.console.output import print_line
from fmnist_fetch.console.progress import Log, ProgressState, listener
from fmnist_fetch.events import Dispatcher
from fmnist_fetch.manifest.catalog import find
from fmnist_fetch.sources.base import FetchOptions
from fmnist_fetch.storage.layout import Layout

DEFAULTS = FetchOptions()
MAX_JOBS = 64


def add_parser(subparsers: Any) -> None:
    """Add the command fetch."""
    summary = "download a dataset, unpack it, write its tensor file; again: verify, repair"
    command = add_command(subparsers, "fetch", _fetch, summary, "", "--root /srv/datasets --mirror /media/usb")
    add_dataset(command)
    add, repeatable = command.add_argument, dict[str, Any](action="append", default=[])
    add("--mirror", **repeatable, metavar="URL|FOLDER", help="ask this source first; may be repeated")
    add("--only-mirrors", action="store_true", help="ask no source but those of --mirror and --lan")
    add("--lan", action="store_true", help="look for half a second for servers (serve --announce) in this network")
    add("--offline", action="store_true", help="open no socket: use local copies only")
    text = f"connections at once (default {DEFAULTS.jobs})"
    add("--jobs", type=whole(1, MAX_JOBS), default=DEFAULTS.jobs, metavar="N", help=text)
    text = f'give up after so long without progress (default {DEFAULTS.patience:.0f}), or "forever"'
    add("--patience", type=patience, default=DEFAULTS.patience, metavar="SECONDS", help=text)
    text = "receive at most so many bytes per second in all, such as 2M"
    add("--limit-rate", type=rate, metavar="500k", help=text)
    add("--also", **repeatable, metavar="TOOL", help="give the files to keras or paddle too; may be repeated")


def _fetch(options: argparse.Namespace, state: ProgressState) -> dict[str, Any]:
    # Here, since --help and usage errors need nothing of it.
    from fmnist_fetch.pipeline.prepare import prepare

    layout = Layout(options.root, find(options.dataset))
    notify = listener("none" if options.quiet else options.progress, sys.stderr, state)
    if options.log:
        notify = Dispatcher(notify, Log(options.log))
    report = prepare(layout, _fetch_options(options), listener=notify, also=options.also)
    for line in wrapped(complete(report, layout)):
        print_line(options, line)
    for tool, folder in report.also.items():
        print_line(options, f"For {tool}: {folder}")
    print_line(options, f"Next: {next_command(options.dataset, options.root, layout.manifest)}")
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


def _fetch_options(options: argparse.Namespace) -> FetchOptions:
    return FetchOptions(
        mirrors=tuple(options.mirror),
        only_mirrors=options.only_mirrors,
        offline=options.offline or offline_by_environment(),
        jobs=options.jobs,
        patience=options.patience,
        limit_rate=options.limit_rate,
        lan=options.lan,
    )
