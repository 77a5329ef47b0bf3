"""The page on security: each promise names tests, and those exist."""

from __future__ import annotations

import ast
import re

import pytest

from samples import PROJECT_FOLDER

PAGE = PROJECT_FOLDER / "docs" / "security.md"
ROWS = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if re.match(r"\| (?!promise)", line)]


@pytest.mark.parametrize("row", ROWS)
def test_each_promise_names_tests_that_exist(row: str) -> None:
    _, promise, held_by, _ = row.split("|")
    tests = re.findall(r"`([\w/]+\.py)::(test_\w+)`", held_by)
    assert tests, promise
    for path, name in tests:
        tree = ast.parse((PROJECT_FOLDER / "tests" / path).read_text(encoding="utf-8"))
        assert name in {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}, f"{path}::{name}"


def test_there_is_a_promise_for_each_reader() -> None:
    assert len(ROWS) >= 20
