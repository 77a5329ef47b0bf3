"""The command line: arguments in, two lines of error out, an exit code. Everything else is done by the rooms below."""

import argparse
import json
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from fmnist_fetch.backoff import FOREVER
from fmnist_fetch.catalogue import find, names
from fmnist_fetch.errors import FetchError, IntegrityError, disk
from fmnist_fetch.events import Began, Event, Listener, Verified
from fmnist_fetch.lab import add_verbs
from fmnist_fetch.layout import Layout, root_folder
from fmnist_fetch.origins import Choice
from fmnist_fetch.state import Condition, State, damaged_pieces, survey
from fmnist_fetch.version import __version__

INTERRUPTED = 130
TERMINATED = 143
_DATASET_HELP = "a name from the catalogue, or the path of a manifest (FILE.toml); default: fashion-mnist"


class Terminated(KeyboardInterrupt):
    """SIGTERM: the same orderly end as Ctrl-C, with another exit code."""


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run the command line ARGV (default: the process's) and exit."""
    signal.signal(signal.SIGTERM, _terminate)
    # A closed stream (cron, >&-) is None, and what is said to it is said to nobody.
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115 - open to the end of the process
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115
    try:
        code = run(argv)
    except BrokenPipeError:
        # The reader has gone (`| head`): that is its right.
        code = 0
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            # What can't be said any more must not become an exit code of its own when the interpreter flushes.
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    sys.exit(code)


def run(argv: Sequence[str] | None = None) -> int:
    """Run the command line ARGV and return the exit code; foreseeable failures become two lines on stderr."""
    options = _parser().parse_args(argv)
    kept = _Kept()
    try:
        outcome: dict[str, Any] = options.run(options, kept)
        code = 0
    except FetchError as exc:
        code = exc.exit_code
        outcome = {"error": exc.message, "hint": exc.hint}
        _complain(exc.message, exc.hint)
    except KeyboardInterrupt as exc:
        code = TERMINATED if isinstance(exc, Terminated) else INTERRUPTED
        outcome = {"error": "interrupted" if code == INTERRUPTED else "terminated", "hint": kept.sentence()}
        _complain(outcome["error"], outcome["hint"])
    if options.json:
        print(json.dumps({"exit_code": code, **outcome}))
    return code


def _terminate(_number: int, _frame: object) -> NoReturn:
    raise Terminated


def _complain(message: str, hint: str) -> None:
    print(f"error: {message}\nhint: {hint}", file=sys.stderr, flush=True)


class _Kept:
    """Counts the pieces that are safe, for the last words of an interrupted run."""

    def __init__(self) -> None:
        self._pieces = self._good = 0

    def __call__(self, event: Event) -> None:
        match event:
            case Began():
                self._pieces, self._good = event.pieces, event.good
            case Verified():
                self._good += 1

    def sentence(self) -> str:
        """What is kept, and how to go on."""
        if not self._pieces:
            return "Nothing is lost. Run the same command again to go on."
        return f"{self._good} of {self._pieces} pieces are good and kept. Run the same command again to go on."


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

    report = prepare(manifest, layout, choice, jobs=options.jobs, patience=options.patience, listener=tell)
    _say(options, f"{manifest.title or manifest.name} is complete, every byte verified ({report.seconds:.1f} s).")
    for source, count in report.received.items():
        _say(options, f"  {count:>11,} bytes from {source}")
    if report.retries:
        _say(options, f"  {report.retries} attempts failed and were made up for; {report.wrong_pieces} wrong pieces")
    _say(options, f"  {layout.tensors}")
    return {
        "dataset": report.dataset,
        "root": str(report.root),
        "tensors": str(report.tensors),
        "seconds": round(report.seconds, 3),
        "received": report.received,
        "retries": report.retries,
        "wrong_pieces": report.wrong_pieces,
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
        _say(options, f"{condition:8} {path}{remark}")
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
        _say(options, f"{name:15} {word:11} {total / 1e6:6.1f} MB  {manifest.licence:13} {manifest.homepage}")
    return {"root": str(root_folder(options.root)), "datasets": datasets}


def _say(options: argparse.Namespace, sentence: str) -> None:
    if not options.quiet and not options.json:
        print(sentence, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fmnist-fetch",
        description="Fetch Fashion-MNIST (and any IDX dataset) over bad networks; every byte is verified.",
    )
    parser.add_argument("--version", action="version", version=f"fmnist-fetch {__version__}")
    verbs = parser.add_subparsers(title="verbs", required=True, metavar="VERB")
    fetch = _verb(verbs, "fetch", _fetch, "bring a dataset, unpack it, write its tensor file; again: verify and repair")
    fetch.add_argument("dataset", nargs="?", default="fashion-mnist", help=_DATASET_HELP)
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
    fetch.add_argument("--jobs", type=_jobs, default=4, metavar="N", help="connections at once (default 4)")
    fetch.add_argument(
        "--patience",
        type=_patience,
        default=120.0,
        metavar="SECONDS",
        help='give up after so long without progress (default 120), or "forever"',
    )
    fetch.add_argument("--log", type=Path, metavar="FILE", help="append every attempt to FILE as a JSON line")
    verify = _verb(verbs, "verify", _verify, "hash everything, repair nothing, open no socket")
    verify.add_argument("dataset", nargs="?", default="fashion-mnist", help=_DATASET_HELP)
    _verb(verbs, "list", _list, "the catalogue, and the state of each dataset under the root")
    add_verbs(verbs, _verb, _say)
    return parser


def _verb(
    verbs: Any, name: str, run_it: Callable[[argparse.Namespace, Listener], dict[str, Any]], help_text: str
) -> argparse.ArgumentParser:
    verb: argparse.ArgumentParser = verbs.add_parser(name, help=help_text, description=help_text.capitalize() + ".")
    verb.set_defaults(run=run_it)
    verb.add_argument("--root", metavar="FOLDER", help="where the data lies (default: $FMNIST_ROOT or ./data)")
    verb.add_argument("--quiet", action="store_true", help="say nothing but errors")
    verb.add_argument("--json", action="store_true", help="print one JSON object on stdout at the end")
    verb.add_argument(
        "--progress", choices=("auto", "bar", "log", "none"), default="auto", help="how to show progress (default auto)"
    )
    return verb


def _jobs(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 64:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 to 64")
    return int(text)


def _patience(text: str) -> float:
    if text == "forever":
        return FOREVER
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < FOREVER:
        raise argparse.ArgumentTypeError(f'{text!r} is neither a number of seconds nor "forever"')
    return seconds
