"""The command line of the set-up."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from fmnist_fetch.errors import DiskError, FetchError, UsageError


def run(words: Sequence[str]) -> int:
    """Do what WORDS ask for, and return the exit code; an error is two lines."""
    options = parser().parse_args(words)
    try:
        if options.group == "lock":
            _lock()
            return 0
        if options.group == "train" and options.root is not None:
            _demand_data(options.dataset, options.root)
        _set_up(options, words)
    except FetchError as exc:
        print(f"error: {exc.message}\nhint: {exc.hint}", file=sys.stderr)
        return exc.exit_code
    except KeyboardInterrupt:
        print("\nerror: interrupted\nhint: Run the same command again; what has arrived is kept.", file=sys.stderr)
        return 130
    return 0


def parser() -> argparse.ArgumentParser:
    """Return the parser of the arguments."""
    parser = argparse.ArgumentParser(prog="python -m fmnist_fetch.environment", description=__doc__)
    groups = ["fetch", "data", "train", "notebook", "test", "serve", "kit", "dev", "lock"]
    parser.add_argument(
        "group",
        choices=groups,
        help="what to set up; lock: make pylock.toml anew",
    )
    parser.add_argument("--venv", type=Path, default=Path(".venv"), help="the environment (default: %(default)s)")
    parser.add_argument("--mirror", action="append", default=[], help="a URL or folder to ask first; repeatable")
    parser.add_argument("--offline", action="store_true", help="open no socket")
    parser.add_argument("--root", help="train: look for the data here before anything is downloaded")
    parser.add_argument("--dataset", default="fashion-mnist", help=argparse.SUPPRESS)
    return parser


def _set_up(options: argparse.Namespace, words: Sequence[str]) -> None:
    from fmnist_fetch.environment.setup import Options, set_up

    group = "" if options.group == "fetch" else options.group
    set_up(Options(group, options.venv.absolute(), tuple(filter(None, options.mirror)), options.offline), words)


def _demand_data(dataset: str, root: str) -> None:
    """Raise FetchError where the tensor file of DATASET is not under ROOT: nothing else is of use without it."""
    from fmnist_fetch.manifest.catalog import find
    from fmnist_fetch.storage.layout import Layout

    tensors = Layout(root, find(dataset)).tensors
    if not tensors.exists():
        variables = f" DATASET={dataset}" if dataset != "fashion-mnist" else ""
        raise FetchError(f"{tensors} is not there", hint=f"Run: make data{variables} (or fmnist-fetch fetch)")


def _lock() -> None:
    from subprocess import CalledProcessError

    from fmnist_fetch.environment.relock import relock
    from fmnist_fetch.environment.setup import NAME, PROJECT
    from fmnist_fetch.storage.atomic import write_all, write_atomically

    try:
        text = relock(PROJECT)
    except FileNotFoundError as exc:
        raise UsageError("uv is not installed", hint="Run: make lock, or pip install uv") from exc
    except CalledProcessError as exc:
        raise DiskError("uv found no versions that fit together", hint="Read what it says above.") from exc
    with write_atomically(PROJECT / NAME) as file:
        write_all(file, text.encode())
