"""The house: floors, sizes and names, read from the source."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from fmnist_fetch import __all__ as public_names
from samples import HOME_OF_PACKAGE

# A room may import from its own floor's left, or from a floor below. A new room gets its place here.
FLOORS = (
    "version errors spans backoff intact",
    "events checks caches idx manifest notation datasets catalogue layout pixels naming",
    "atomic behind part suspects sources sources.folder sources.debian sources.answers sources.complaints"
    " sources.client sources.http",
    "alongside plan order standing allotment policy verdict ledger arrivals transfer delivery unpack tensorfile"
    " assembly split tensors",
    "report state lock origins share prepare target wheels tarball kit address shelf page serve idxfile collect author",
    "screen phrases tables bars progress notebook arguments ending api verbs view own lab completion cli __main__"
    " __init__",
)
PLACES = {room: (floor, place) for floor, rooms in enumerate(FLOORS) for place, room in enumerate(rooms.split())}
# Decisions are made in rooms that can't touch the world.
PURE = ["spans", "backoff", "idx", "plan", "standing", "allotment", "policy", "checks", "pixels", "naming"]
WORLD = {"os", "socket", "time", "random", "subprocess", "threading", "pathlib", "requests", "shutil", "select"}
FUNCTION_LINES = 40

PACKAGE = HOME_OF_PACKAGE / "fmnist_fetch"


def room_of(path: Path) -> str:
    parts = list(path.relative_to(PACKAGE).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


ROOMS = {room_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}
TREES = {room: ast.parse(path.read_text(encoding="utf-8")) for room, path in ROOMS.items()}


def imports(room: str) -> Iterator[tuple[str, str]]:
    """Each import of ROOM from the package: the other room, and the name that is taken ("" for the room itself)."""
    for node in ast.walk(TREES[room]):
        if isinstance(node, ast.Import):
            yield from ((name.name.partition(".")[2] or "__init__", "") for name in node.names if is_ours(name.name))
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{room}:{node.lineno} imports relatively"
            if is_ours(node.module or ""):
                module = (node.module or "").partition(".")[2]
                for name in node.names:
                    whole = f"{module}.{name.name}".lstrip(".")
                    yield (whole, "") if whole in ROOMS else (module or "__init__", name.name)


def foreign(room: str) -> set[str]:
    """What ROOM imports, by the first names of the modules."""
    return {
        name.split(".")[0]
        for node in ast.walk(TREES[room])
        for name in (
            [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else []
        )
    }


def is_ours(module: str) -> bool:
    return module.split(".")[0] == "fmnist_fetch"


def functions(room: str) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    yield from (node for node in ast.walk(TREES[room]) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def test_every_room_has_its_place_in_the_house() -> None:
    assert set(ROOMS) - set(PLACES) == set(), "give the new room a floor in this file"


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_from_its_left_or_from_below(room: str) -> None:
    # A room without a place is told of once, by the test above.
    upwards = [other for other, _ in imports(room) if PLACES.get(other, (0, 0)) >= PLACES.get(room, (99, 0))]
    assert upwards == []


@pytest.mark.parametrize("room", ROOMS)
def test_no_private_name_crosses_a_wall(room: str) -> None:
    assert [name for _, name in imports(room) if name.startswith("_") and not name.startswith("__")] == []


@pytest.mark.parametrize("room", [room for room in PURE if room in ROOMS])
def test_a_room_that_decides_cannot_touch_the_world(room: str) -> None:
    assert foreign(room) & WORLD == set()


@pytest.mark.parametrize("room", ROOMS)
def test_a_function_fits_on_a_screen(room: str) -> None:
    long = {
        function.name: (function.end_lineno or 0) - function.lineno + 1
        for function in functions(room)
        if (function.end_lineno or 0) - function.lineno + 1 > FUNCTION_LINES
    }
    assert long == {}


def test_the_median_function_has_at_most_ten_lines_without_its_docstring() -> None:
    lengths = []
    for room in ROOMS:
        for function in functions(room):
            body = function.body[1:] if ast.get_docstring(function) else function.body
            lengths.append((body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0)
    assert sorted(lengths)[len(lengths) // 2] <= 10


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_says_first_what_it_is_for(room: str) -> None:
    text = ROOMS[room].read_text(encoding="utf-8")
    assert not text or ast.get_docstring(TREES[room])


def test_no_room_bears_the_name_of_a_public_function() -> None:
    # `fmnist_fetch.fetch` would be the function at first, and the module after the module was imported.
    names = {room.split(".")[0] for room in ROOMS} | {room.split(".")[-1] for room in ROOMS}
    assert names & {name for name in public_names if name.islower() and not name.startswith("_")} == set()


def test_plain_values_are_named_tuples_which_cost_no_run_its_start() -> None:
    # Loading dataclasses takes a tenth of a run that finds all in its place. Who asks for arrays loads numpy anyway.
    assert {room for room in ROOMS if "dataclasses" in foreign(room)} == {"split"}


def test_only_the_command_line_and_the_display_print() -> None:
    printing = {
        room
        for room in ROOMS
        for node in ast.walk(TREES[room])
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    }
    assert printing <= {"screen", "progress", "intact"}
