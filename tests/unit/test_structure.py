"""Rules for the source that import-linter does not check: sizes, docstrings, names, and which modules print."""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from fmnist_fetch import __all__ as public_names
from processes import python
from samples import PROJECT_FOLDER

FUNCTION_LINES = 40

PACKAGE = PROJECT_FOLDER / "fmnist_fetch"
TREES = {
    path.relative_to(PROJECT_FOLDER).as_posix(): ast.parse(path.read_text(encoding="utf-8"))
    for folder in (PACKAGE, PROJECT_FOLDER / "trainer")
    for path in sorted(folder.rglob("*.py"))
}
OF_PACKAGE = {name.removeprefix("fmnist_fetch/"): tree for name, tree in TREES.items() if name.startswith("fmnist")}


def imports(module: str) -> Iterator[ast.ImportFrom]:
    yield from (node for node in ast.walk(TREES[module]) if isinstance(node, ast.ImportFrom))


def functions(module: str) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    yield from (node for node in ast.walk(TREES[module]) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def length(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Return the lines of a function, without its docstring."""
    first = function.body[0]
    documented = ast.get_docstring(function) is not None
    docstring = (first.end_lineno or 0) - first.lineno + 1 if documented else 0
    return (function.end_lineno or 0) - function.lineno + 1 - docstring


@pytest.mark.parametrize("module", TREES)
def test_a_function_has_at_most_40_lines(module: str) -> None:
    lengths = {function.name: length(function) for function in functions(module)}
    assert {name: length for name, length in lengths.items() if length > FUNCTION_LINES} == {}


@pytest.mark.parametrize("module", TREES)
def test_a_module_has_a_docstring(module: str) -> None:
    assert ast.get_docstring(TREES[module])


@pytest.mark.parametrize("module", TREES)
def test_imports_are_absolute(module: str) -> None:
    assert [node.lineno for node in imports(module) if node.level] == []


@pytest.mark.parametrize("module", TREES)
def test_no_module_imports_a_private_name_of_another_one(module: str) -> None:
    ours = (node for node in imports(module) if (node.module or "").split(".")[0] in ("fmnist_fetch", "trainer"))
    names = [alias.name for node in ours for alias in node.names]
    assert [name for name in names if name.startswith("_") and not name.startswith("__")] == []


def test_no_module_at_the_top_level_has_the_name_of_a_public_function() -> None:
    # `fmnist_fetch.fetch` would be the function at first, and the module after the module was imported.
    names = {path.stem for path in PACKAGE.iterdir()}
    assert names & {name for name in public_names if name.islower() and not name.startswith("_")} == set()


def test_only_the_arrays_for_people_are_a_dataclass_which_costs_a_run_its_start() -> None:
    # Importing dataclasses takes a tenth of a run that has nothing to do; loading arrays imports numpy anyway.
    assert {
        module for module in OF_PACKAGE for node in imports(f"fmnist_fetch/{module}") if node.module == "dataclasses"
    } == {"tensors/split.py"}


def test_only_what_runs_without_the_console_prints_by_itself() -> None:
    printing = {
        module
        for module, tree in OF_PACKAGE.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    }
    alone = {"commands/kit/check.py", "download/standalone/client.py"}
    assert printing == alone | {"environment/__main__.py"}


def test_every_command_is_in_the_contract_that_no_command_imports_another() -> None:
    table = tomllib.loads((PROJECT_FOLDER / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
    (contract,) = (one for one in table["contracts"] if one["id"] == "commands")
    names = {path.stem for path in (PACKAGE / "commands").iterdir()} - {"__init__", "__pycache__", "arguments"}
    assert set(contract["modules"]) == {f"fmnist_fetch.commands.{name}" for name in names}


REQUESTS = {"certifi", "chardet", "charset_normalizer", "idna", "requests", "socks", "urllib3"}
"""What requests imports, by itself or where it is installed."""
BEFORE_THE_FIRST_REQUEST = """
import os, sys
from fmnist_fetch.__main__ import main

def end_at_first_request(event, arguments):
    if event == "socket.connect":
        files = {name: getattr(module, "__file__", None) or "" for name, module in sys.modules.items()}
        found = {name.partition(".")[0] for name, file in files.items() if "site-packages" in file}
        os.write(1, " ".join(sorted(found - before)).encode())
        os._exit(0)

before = {name.partition(".")[0] for name in sys.modules}
sys.addaudithook(end_at_first_request)
sys.argv = ["fmnist-fetch", "fetch", "--root", sys.argv[1], "--mirror", "http://127.0.0.1:9/", "--only-mirrors"]
main()
"""


def test_a_fetch_imports_only_what_its_first_request_needs_before_it(tmp_path: Path) -> None:
    done = python(BEFORE_THE_FIRST_REQUEST, str(tmp_path / "root"))
    # charset_normalizer is compiled by mypyc into a module with a digest for a name.
    found = {name for name in done.stdout.split() if not name.endswith("__mypyc")}
    assert "requests" in found, done.stderr
    assert found <= {*REQUESTS, "filelock", "isal", "fmnist_fetch"}
