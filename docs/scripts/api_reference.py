"""Write docs/api.md from the docstrings, the parser and the errors: python docs/scripts/api_reference.py."""

from __future__ import annotations

import argparse
import inspect
import re
import sys
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, get_args

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "api.md"
COMMAND = "python docs/scripts/api_reference.py"
# What --json prints for each command; tests/docs/test_api_page.py compares the keys with what is printed.
JSON_KEYS = {
    "every command": {
        "exit_code": "the exit code of the process",
        "error": "where it failed: the message",
        "hint": "where it failed: what to do",
    },
    "fetch": {
        "dataset": "the name of the dataset",
        "root": "the root",
        "tensors": "the path of the tensor file",
        "seconds": "how long it took",
        "received": "bytes received, by source",
        "retries": "failed requests that were retried",
        "wrong_pieces": "pieces that arrived with a wrong digest",
        "also": "the folders that `--also` filled, by tool",
    },
    "verify": {
        "dataset": "the name of the dataset",
        "root": "the root",
        "files": "the state of each file: `good`, `damaged`, `redirected`, `unreadable`, `partial` or `absent`",
        "damaged_pieces": "the numbers of damaged pieces, by file",
    },
    "list": {
        "root": "the root",
        "datasets": "the state of each dataset, by name",
    },
    "script": {
        "dataset": "the name of the dataset",
        "script": "the text of the script",
    },
}
INTERNAL = ("note",)
PUBLIC = ("fetch", "load", "Split", "Report", "FetchError")
SECTIONS = re.compile(r"^(Args|Returns|Raises|Yields|Attributes|Example|Examples|Note):$")


def main() -> int:
    """Write the page; return the exit code."""
    PAGE.write_text(page(), encoding="utf-8")
    return 0


def page() -> str:
    """Return the text of the page."""
    parts = [
        "# API reference",
        f"Generated from the docstrings by `{COMMAND}`; change those, not this page.",
        "## Python: fmnist_fetch",
        *_package("fmnist_fetch", PUBLIC),
        "## Errors and exit codes",
        *_errors(),
        "## Events",
        *_events(),
        "## Python: trainer",
        *_package("trainer", None),
        "## Command line",
        *_commands(),
        "## JSON output",
        *_json(),
    ]
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


def _package(package: str, names: tuple[str, ...] | None) -> Iterator[str]:
    module = __import__(package)
    yield _markdown(inspect.getdoc(module) or "")
    for name in names or module.__all__:
        thing = getattr(module, name)
        yield f"### {package}.{name}"
        if not inspect.ismodule(thing):
            yield f"```python\n{_signature(name, thing)}\n```"
        yield _markdown(inspect.getdoc(thing) or "")
        if inspect.isclass(thing):
            yield from _members(thing)


def _signature(name: str, thing: Any) -> str:
    """Return the call of THING with its parameters and types; one parameter a line where it is long."""
    try:
        signature = inspect.signature(thing)
    except ValueError:
        return name
    marked = []
    for parameter in signature.parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY and "*" not in marked:
            marked.append("*")
        marked.append(_types(str(parameter)))
    result = signature.return_annotation
    known = isinstance(thing, type) or result is signature.empty
    end = ")" if known else f") -> {_types(inspect.formatannotation(result))}"
    line = f"{name}({', '.join(marked)}{end}"
    return line if len(line) <= 88 else f"{name}(\n    " + ",\n    ".join(marked) + f",\n{end}"


def _types(text: str) -> str:
    """TEXT with types as one reads them: without their modules, quotes and what an alias stands for."""
    from fmnist_fetch.events import Event

    text = re.sub(r"\b(?:[a-z_]\w*\.)+(?=[A-Z])", "", text)
    union = " | ".join(kind.__name__ for kind in get_args(Event))
    text = text.replace(f"Callable[[{union}], None]", "Listener").replace(union, "Event")
    return re.sub(r"(: |^|-> )'([^']+)'", r"\1\2", text)


def _members(kind: type) -> Iterator[str]:
    """Return the public methods and properties that KIND defines and describes, except those for internal use."""
    for name, member in vars(kind).items():
        described = inspect.getdoc(member)
        if name.startswith("_") or name in INTERNAL or not described:
            continue
        if isinstance(member, property):
            yield f"`{name}`: {_markdown(described)}"
        elif inspect.isfunction(member):
            yield f"`{name}()`: {_markdown(described)}"


def _errors() -> Iterator[str]:
    from fmnist_fetch import errors

    yield "Each error has a `message`, a `hint` and an `exit_code`; `str(error)` holds both lines."
    rows = ["| class | exit code | meaning |", "|---|---|---|"]
    for name, kind in vars(errors).items():
        if inspect.isclass(kind) and issubclass(kind, errors.FetchError) and kind.__module__ == errors.__name__:
            sentence = _markdown((inspect.getdoc(kind) or "").partition("\n\n")[0].replace("\n", " "))
            rows.append(f"| `{name}` | {kind.exit_code} | {sentence} |")
    yield "\n".join(rows)
    yield "`0` is success, `130` an interrupt (Ctrl-C), `143` a termination (SIGTERM); what arrived is kept."


def _events() -> Iterator[str]:
    from fmnist_fetch import events

    yield "`fetch(progress=...)` calls its argument with each event of a run. The types are in `fmnist_fetch.events`."
    for kind in get_args(events.Event):
        yield f"### {kind.__name__}"
        fields = ", ".join(f"`{name}: {_name(hint)}`" for name, hint in inspect.get_annotations(kind).items())
        yield f"Fields: {fields or 'none'}."
        yield _markdown(inspect.getdoc(kind) or "")


def _name(hint: Any) -> str:
    if isinstance(hint, str):
        return hint
    return hint.__name__ if inspect.isclass(hint) and not get_args(hint) else str(hint)


def _commands() -> Iterator[str]:
    from fmnist_fetch.cli import parser

    commands: dict[str, argparse.ArgumentParser] = {}
    for action in parser()._actions:
        if isinstance(action, argparse._SubParsersAction):
            commands.update(action.choices)
    yield "Every command takes these options:"
    yield _options(commands["list"])
    common = {_option(option) for option in commands["list"]._actions}
    for name, command in commands.items():
        yield f"### fmnist-fetch {name}"
        yield (command.description or "").strip()
        if any(_option(option) not in common for option in command._actions):
            yield _options(command, common)


def _options(command: argparse.ArgumentParser, known: Collection[str] = ()) -> str:
    """Return the table of the arguments of COMMAND, but for those that are KNOWN."""
    rows = ["| argument | meaning |", "|---|---|"]
    for option in command._actions:
        hidden = option.help == argparse.SUPPRESS or isinstance(option, argparse._HelpAction)
        if not hidden and _option(option) not in known:
            rows.append(f"| `{_option(option)}` | {_help(command, option)} |")
    return "\n".join(rows)


def _option(option: argparse.Action) -> str:
    choices = "{" + ",".join(map(str, option.choices)) + "}" if option.choices else option.dest.upper()
    text = str(option.metavar or choices).replace("|", "\\|")
    if not option.option_strings:
        return text
    return ", ".join(option.option_strings) + (f" {text}" if option.nargs != 0 else "")


def _help(command: argparse.ArgumentParser, option: argparse.Action) -> str:
    formatter = command._get_formatter()
    return formatter._expand_help(option).replace("|", "\\|").replace("<", "&lt;") if option.help else ""


def _json() -> Iterator[str]:
    yield "With `--json`, a command prints one object on stdout at the end. New keys may be added."
    for command, keys in JSON_KEYS.items():
        rows = ["| key | value |", "|---|---|", *(f"| `{key}` | {text} |" for key, text in keys.items())]
        yield f"### JSON of {command}"
        yield "\n".join(rows)


def _markdown(text: str) -> str:
    """Return a docstring as Markdown: examples and tables in blocks, Google's sections as bold words with a list."""
    found = []
    for block in re.split(r"\n\s*\n", inspect.cleandoc(text)):
        lines = block.splitlines()
        if lines[0].lstrip().startswith(">>> "):
            found.append("```pycon\n" + inspect.cleandoc(block) + "\n```")
        elif SECTIONS.match(lines[0]):
            found.append(_section(lines))
        elif all(line.startswith("  ") for line in lines):
            found.append("```text\n" + inspect.cleandoc(block) + "\n```")
        else:
            found.append("\n".join(lines))
    return "\n\n".join(found)


def _section(lines: list[str]) -> str:
    body = inspect.cleandoc("\n".join(["", *lines[1:]]))
    items = re.split(r"\n(?=\S)", body)
    title = f"**{lines[0].rstrip(':')}**"
    named = [re.match(r"([\w*]+(?: \([^)]*\))?): (.*)", item, re.DOTALL) for item in items]
    if not all(named):
        return f"{title}: {' '.join(body.split())}"
    return f"{title}\n\n" + "\n".join(f"- `{match[1]}`: {' '.join(match[2].split())}" for match in named if match)


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    sys.exit(main())
