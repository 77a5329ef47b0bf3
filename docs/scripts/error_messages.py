"""Write docs/errors.md, every error message of the program, from its source: python docs/scripts/error_messages.py."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "errors.md"
COMMAND = "python docs/scripts/error_messages.py"
GAP = "…"  # what stands for a name or a number
SECTIONS = {
    "fmnist_fetch/cli.py": "Command line",
    "fmnist_fetch/errors.py": "Files and disks",
    "fmnist_fetch/console": "Commands",
    "fmnist_fetch/commands": "Commands",
    "fmnist_fetch/pipeline": "Datasets",
    "fmnist_fetch/environment": "Set-up",
    "fmnist_fetch/download/standalone": "Script",
    "fmnist_fetch/download": "Download",
    "fmnist_fetch/sources": "Sources",
    "fmnist_fetch/tensors": "Unpacking and the tensor file",
    "fmnist_fetch/storage": "Files and disks",
    "fmnist_fetch/manifest": "Manifests and datasets",
    "trainer": "Trainer",
}
OTHERS = "Others"
EXIT_CODE_OF_FAILURE = "3, 4, 5 or 130"


class Entry(NamedTuple):
    """A message as the source has it, with gaps, its hint, and the exit code."""

    module: str
    message: str
    hint: str
    exit_code: str


def main() -> int:
    """Write the page; return the exit code."""
    PAGE.write_text(page(), encoding="utf-8")
    return 0


def page() -> str:
    """Return the text of the page."""
    parts = [
        "# All error messages",
        f"Generated from the source by `{COMMAND}`. `{GAP}` stands for a name, a number or a reason. "
        "The frequent ones are explained in [Troubleshooting](troubleshooting.md).",
        "The reasons why a source failed are printed below the error of a fetch, one line for each source.",
    ]
    found = entries()
    for title in dict.fromkeys((*SECTIONS.values(), OTHERS)):
        rows = sorted({entry[1:] for entry in found if _section(entry.module) == title})
        if rows:
            lines = ["| message | exit code | what to do |", "|---|---|---|"]
            lines += [f"| `{_cell(message)}` | {code} | {_cell(hint)} |" for message, hint, code in rows]
            parts += [f"## {title}", "\n".join(lines)]
    return "\n\n".join(parts) + "\n"


def entries() -> list[Entry]:
    """Return every message that an error of the program is made with in its source."""
    codes = exit_codes()
    found = []
    for package in ("fmnist_fetch", "trainer"):
        for path in sorted((ROOT / package).rglob("*.py")):
            module = path.relative_to(ROOT).as_posix()
            found += list(_entries(module, ast.parse(path.read_text(encoding="utf-8")), codes))
    return found


def exit_codes() -> dict[str, str]:
    """Return the exit code of each class of errors."""
    tree = ast.parse((ROOT / "fmnist_fetch" / "errors.py").read_text(encoding="utf-8"))
    codes: dict[str, str] = {"Failure": EXIT_CODE_OF_FAILURE}
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and node.name.endswith("Error"):
            base = node.bases[0].id if isinstance(node.bases[0], ast.Name) else ""
            own = [
                ast.unparse(line.value)
                for line in node.body
                if isinstance(line, ast.Assign) and ast.unparse(line.targets[0]) == "exit_code"
            ]
            codes[node.name] = own[0] if own else codes.get(base, "1")
    return codes


def _entries(module: str, tree: ast.Module, codes: dict[str, str]) -> Iterator[Entry]:
    known = _strings(tree.body) | _shared()
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    for scope in (tree, *functions):
        inner = {id(node) for function in functions if function is not scope for node in ast.walk(function)}
        names = known | _strings([node for node in ast.walk(scope) if isinstance(node, ast.stmt)])
        for node in ast.walk(scope):
            if isinstance(node, ast.Call) and (id(node) not in inner or _within(scope, node, functions)):
                name = node.func.id if isinstance(node.func, ast.Name) else ""
                if name in codes and node.args:
                    message, hint = _text(node.args[0], names), _hint(node, names)
                    if len(message.replace(GAP, "").strip(" :/")) > 3:
                        yield Entry(module, message, hint, codes[name])


def _within(scope: ast.AST, node: ast.Call, functions: list[ast.FunctionDef]) -> bool:
    """Whether SCOPE is the innermost function around NODE."""
    around = [one for one in functions if any(inner is node for inner in ast.walk(one))]
    return bool(around) and min(around, key=lambda one: sum(1 for _ in ast.walk(one))) is scope


def _strings(statements: list[ast.stmt]) -> dict[str, ast.expr]:
    """Return the values of the names that STATEMENTS assign."""
    assigned = [node for node in statements if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)]
    return {ast.unparse(node.targets[0]): node.value for node in assigned}


def _shared() -> dict[str, ast.expr]:
    return _strings(ast.parse((ROOT / "fmnist_fetch" / "errors.py").read_text(encoding="utf-8")).body)


def _hint(call: ast.Call, names: dict[str, ast.expr]) -> str:
    for keyword in call.keywords:
        if keyword.arg == "hint":
            return _text(keyword.value, names)
    if isinstance(call.func, ast.Name) and call.func.id == "Failure" and len(call.args) > 1:
        return _text(call.args[1], names)
    return _text(names["AGAIN"], names)


def _text(node: ast.expr, names: dict[str, ast.expr], depth: int = 0) -> str:
    """Return the text of a string expression, with gaps for what is known only at run time."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        parts = [
            _text(part.value, names, depth + 1) if isinstance(part, ast.FormattedValue) and _is_name(part, names) else
            str(part.value) if isinstance(part, ast.Constant) else GAP
            for part in node.values
        ]  # fmt: skip
        return "".join(parts)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _text(node.left, names, depth) + _text(node.right, names, depth)
    if isinstance(node, ast.IfExp):
        return " / ".join(dict.fromkeys((_text(node.body, names, depth), _text(node.orelse, names, depth))))
    if isinstance(node, ast.Name) and node.id in names and depth < 4:
        return _text(names[node.id], names, depth + 1)
    return GAP


def _is_name(part: ast.FormattedValue, names: dict[str, ast.expr]) -> bool:
    """Whether PART is a name for a text that is written in the source."""
    known = names.get(part.value.id) if isinstance(part.value, ast.Name) else None
    return isinstance(known, (ast.JoinedStr, ast.IfExp)) or (isinstance(known, ast.Constant) and known.value != "")


def _section(module: str) -> str:
    titles = (title for start, title in SECTIONS.items() if module == start or module.startswith(f"{start}/"))
    return next(titles, OTHERS)


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").replace("`", "'").split())


if __name__ == "__main__":
    sys.exit(main())
