"""Rules for the source that import-linter does not check: sizes, docstrings, names, and which modules print."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest

from fmnist_fetch import __all__ as public_names
from samples import PROJECT_FOLDER

FUNCTION_LINES = 40

PACKAGE = PROJECT_FOLDER / "fmnist_fetch"
TREES = {
    path.relative_to(PACKAGE).as_posix(): ast.parse(path.read_text(encoding="utf-8"))
    for path in sorted(PACKAGE.rglob("*.py"))
}


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
    ours = (node for node in imports(module) if (node.module or "").split(".")[0] == "fmnist_fetch")
    names = [alias.name for node in ours for alias in node.names]
    assert [name for name in names if name.startswith("_") and not name.startswith("__")] == []


def test_no_module_at_the_top_level_has_the_name_of_a_public_function() -> None:
    # `fmnist_fetch.fetch` would be the function at first, and the module after the module was imported.
    names = {path.stem for path in PACKAGE.iterdir()}
    assert names & {name for name in public_names if name.islower() and not name.startswith("_")} == set()


def test_only_the_arrays_for_people_are_a_dataclass_which_costs_a_run_its_start() -> None:
    # Importing dataclasses takes a tenth of a run that has nothing to do; loading arrays imports numpy anyway.
    assert {module for module in TREES for node in imports(module) if node.module == "dataclasses"} == {
        "tensors/split.py"
    }


def test_only_what_runs_without_the_console_prints_by_itself() -> None:
    printing = {
        module
        for module, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    }
    alone = {"commands/kit/check.py", "standalone.py"}
    set_up = {"environment/__main__.py", "environment/setup.py", "environment/display.py"}
    assert printing == alone | set_up
