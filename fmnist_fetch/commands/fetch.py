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
from fmnist_fetch.pipeline.report import Report
from fmnist_fetch.sources.base import FetchOptions
from fmnist_fetch.storage.layout import Layout

DEFAULTS = FetchOptions()
MAX_JOBS = 64


def add_parser(subparsers: Any) -> None:
    """Add the command fetch."""
    fetch = add_command(
        subparsers,
        "fetch",
        _fetch,
        "download a dataset, unpack it, write its tensor file; again: verify, repair",
        "",
        "--root /srv/datasets --mirror /media/usb",
    )
    add_dataset(fetch)
    _add_sources(fetch)
    fetch.add_argument(
        "--jobs",
        type=whole(1, MAX_JOBS),
        default=DEFAULTS.jobs,
        metavar="N",
        help=f"connections at once (default {DEFAULTS.jobs})",
    )
    fetch.add_argument(
        "--patience",
        type=patience,
        default=DEFAULTS.patience,
        metavar="SECONDS",
        help=f'give up after so long without progress (default {DEFAULTS.patience:.0f}), or "forever"',
    )
    fetch.add_argument(
        "--limit-rate", type=rate, metavar="500k", help="receive at most so many bytes per second in all, such as 2M"
    )
    fetch.add_argument(
        "--also",
        action="append",
        default=[],
        metavar="TOOL",
        help="give the files to keras or paddle too; may be repeated",
    )


def _add_sources(fetch: argparse.ArgumentParser) -> None:
    """Add the options that choose the sources."""
    fetch.add_argument(
        "--mirror", action="append", default=[], metavar="URL|FOLDER", help="ask this source first; may be repeated"
    )
    fetch.add_argument("--only-mirrors", action="store_true", help="ask no source but those of --mirror and --lan")
    fetch.add_argument(
        "--lan", action="store_true", help="look for half a second for servers (serve --announce) in this network"
    )
    fetch.add_argument("--offline", action="store_true", help="open no socket: use local copies only")


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
    return _facts(report)


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


def _facts(report: Report) -> dict[str, Any]:
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
