"""The verb completion: the script with which a shell completes our command line, written by shtab."""

import argparse
from collections.abc import Iterator
from functools import partial
from typing import Any

from fmnist_fetch.commands.arguments import add_verb
from fmnist_fetch.console.output import give
from fmnist_fetch.errors import FetchError
from fmnist_fetch.events import Listener
from fmnist_fetch.manifest.caches import HOMES
from fmnist_fetch.manifest.catalog import names

SHELLS = ("bash", "zsh", "fish")


def add_verb_for(top: argparse.ArgumentParser, verbs: Any) -> None:
    """Add completion to argparse's VERBS, for the command line TOP that they belong to."""
    summary = "print the script with which a shell completes this command"
    verb = add_verb(verbs, "completion", partial(_completion, top), summary, *SHELLS)
    verb.add_argument("shell", choices=SHELLS, metavar="SHELL", help="bash, zsh or fish")


def _completion(top: argparse.ArgumentParser, options: argparse.Namespace, _kept: Listener) -> dict[str, Any]:
    try:
        import shtab
    except ModuleNotFoundError as exc:
        hint = "Run: pip install 'fmnist-fetch[completion]'"
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
        give(script)
    return {"shell": options.shell, "script": script}


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """The arguments of PARSER and of its verbs."""
    for action in parser._actions:
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for verb in action.choices.values():
                yield from _actions(verb)


def _datasets(manifests: dict[str, Any]) -> dict[str, Any]:
    """How shells complete DATASET: by the names of the catalogue, and by MANIFESTS, shtab's way to complete these."""
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
