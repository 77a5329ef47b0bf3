"""The verbs fetch, verify and list: arguments in, the rooms below do it, sentences and one JSON object out."""

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from fmnist_fetch.arguments import add_dataset, add_verb, patience, whole
from fmnist_fetch.catalogue import find, names
from fmnist_fetch.errors import FetchError, IntegrityError, disk
from fmnist_fetch.events import Event, Listener
from fmnist_fetch.layout import Layout, root_folder
from fmnist_fetch.origins import Choice
from fmnist_fetch.screen import say
from fmnist_fetch.state import Condition, State, damaged_pieces, survey


def add_verbs(verbs: Any) -> None:
    """Add fetch, verify and list to argparse's VERBS."""
    fetch = add_verb(
        verbs,
        "fetch",
        _fetch,
        "bring a dataset, unpack it, write its tensor file; again: verify and repair",
        "",
        "mnist --root /srv/datasets --mirror /media/usb",
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
    add_dataset(add_verb(verbs, "verify", _verify, "hash everything, repair nothing, open no socket", ""))
    add_verb(verbs, "list", _list, "the catalogue, and the state of each dataset under the root", "")


def _fetch(options: argparse.Namespace, kept: Listener) -> dict[str, Any]:
    from fmnist_fetch.prepare import prepare
    from fmnist_fetch.progress import Log, listener, never_raising

    manifest = find(options.dataset)
    layout = Layout(options.root, manifest)
    choice = Choice(tuple(options.mirror), only_mirrors=options.only_mirrors, offline=options.offline)
    listeners = [kept, listener("none" if options.quiet else options.progress, sys.stderr)]
    if options.log:
        with disk(options.log):
            listeners.append(never_raising(Log(options.log)))

    def tell(event: Event) -> None:
        for listen in listeners:
            listen(event)

    report = prepare(
        manifest, layout, choice, jobs=options.jobs, patience=options.patience, listener=tell, also=options.also
    )
    say(options, f"{manifest.title or manifest.name} is complete, every byte verified ({report.seconds:.1f} s).")
    for source, count in report.received.items():
        say(options, f"  {count:>11,} bytes from {source}")
    if report.retries:
        say(options, f"  {report.retries} attempts failed and were made up for; {report.wrong_pieces} wrong pieces")
    say(options, f"  {layout.tensors}")
    for tool, folder in report.also.items():
        say(options, f"  {folder} (for {tool})")
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


def _verify(options: argparse.Namespace, _kept: Listener) -> dict[str, Any]:
    manifest = find(options.dataset)
    layout = Layout(options.root, manifest)
    state = survey(manifest, layout)
    rows = []
    for entry in state.files:
        rows.append((layout.published(entry.file), entry.published, _map(layout, entry.file, entry.published)))
        if entry.file.packed:
            rows.append((layout.payload(entry.file), entry.payload, ""))
    rows.append((layout.tensors, state.tensors, ""))
    for path, condition, remark in rows:
        say(options, f"{condition:8} {path}{remark}")
    _demand_complete(manifest.name, state, options)
    return {"dataset": manifest.name, "root": str(layout.root), "files": {str(path): c for path, c, _ in rows}}


def _map(layout: Layout, file: Any, condition: Condition) -> str:
    if condition is not Condition.DAMAGED:
        return ""
    return f"  ({len(damaged_pieces(layout.published(file), file))} of {len(file.pieces)} pieces damaged)"


def _demand_complete(name: str, state: State, options: argparse.Namespace) -> None:
    if state.complete:
        return
    root = f" --root {options.root}" if options.root else ""
    hint = f"Run: fmnist-fetch fetch {options.dataset}{root}"
    conditions = [state.tensors, *(c for entry in state.files for c in (entry.published, entry.payload))]
    if Condition.DAMAGED in conditions:
        raise IntegrityError(f"{name} is damaged in {conditions.count(Condition.DAMAGED)} of its files", hint=hint)
    raise FetchError(f"{name} is not complete under {root_folder(options.root)}", hint=hint)


def _list(options: argparse.Namespace, _kept: Listener) -> dict[str, Any]:
    datasets = {}
    for name in names():
        manifest = find(name)
        state = survey(manifest, Layout(options.root, manifest))
        conditions = {state.tensors, *(c for entry in state.files for c in (entry.published, entry.payload))}
        word = "complete" if state.complete else "absent" if conditions == {Condition.ABSENT} else "incomplete"
        datasets[name] = word
        total = sum(file.size for file in manifest.files)
        say(options, f"{name:15} {word:11} {total / 1e6:6.1f} MB  {manifest.licence:13} {manifest.homepage}")
    return {"root": str(root_folder(options.root)), "datasets": datasets}
