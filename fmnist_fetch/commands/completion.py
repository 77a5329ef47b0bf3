"""The command completion: print the script with which a shell completes this command line, made by shtab."""

import argparse
from collections.abc import Iterator
from functools import partial
from typing import Any

from fmnist_fetch.commands.arguments import add_command
from fmnist_fetch.console.output import print_text
from fmnist_fetch.console.progress import ProgressState
from fmnist_fetch.errors import FetchError, in_clone
from fmnist_fetch.manifest.caches import HOMES
from fmnist_fetch.manifest.catalog import names

SHELLS = ("bash", "zsh", "fish")


def add_parser(subparsers: Any, top: argparse.ArgumentParser) -> None:
    """Add the command completion, which completes the command line that TOP parses."""
    summary = "print the script with which a shell completes this command"
    command = add_command(subparsers, "completion", partial(_completion, top), summary, *SHELLS)
    command.add_argument("shell", choices=SHELLS, metavar="SHELL", help="bash, zsh or fish")


def _completion(top: argparse.ArgumentParser, options: argparse.Namespace, _state: ProgressState) -> dict[str, Any]:
    try:
        import shtab
    except ModuleNotFoundError as exc:
        package = "shtab" if in_clone() else "'fmnist-fetch[completion]'"
        hint = f"Run: python3 -m pip install {package}"
        raise FetchError("completion needs shtab, which is not installed", hint=hint) from exc
    known: dict[str, Any] = {
        "DATASET": _datasets(shtab.glob("*.toml")),
        "FOLDER": shtab.DIRECTORY,
        "URL|FOLDER": shtab.DIRECTORY,
        "FILE": shtab.FILE,
        "OUT.tar": shtab.FILE,
    }
    for action in _actions(top):
        if completer := known.get(str(action.metavar)):
            action.complete = completer  # type: ignore[attr-defined]
        if action.metavar == "TOOL":
            action.choices = sorted(HOMES)
    script = shtab.complete(top, options.shell)
    if not options.json:
        print_text(script)
    return {"shell": options.shell, "script": script}


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    for action in parser._actions:
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from _actions(command)


def _datasets(manifests: dict[str, Any]) -> dict[str, Any]:
    """Return how shells complete DATASET: by the names of the catalogue, and by `manifests`, shtab's way for files."""
    known = " ".join(names())
    bash = "_fmnist_fetch_dataset_files"
    return {
        "bash": bash,
        "zsh": "_fmnist_fetch_datasets",
        "fish": f"(printf '%s\\n' {known}; {manifests['fish'].strip('()')})",
        "preamble": {
            "bash": manifests["preamble"]["bash"]
            + f'{bash}() {{\n  compgen -W "{known}" -- "$1"\n  {manifests["bash"]} "$1"\n}}\n',
            "zsh": "_fmnist_fetch_datasets() {\n"
            f"  _alternative 'names:dataset:({known})' 'manifests:manifest:_files -g \"*.toml\"'\n}}\n",
            "fish": manifests["preamble"]["fish"],
        },
    }
