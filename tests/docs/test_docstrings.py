"""The output of `help()`: every public name has a sentence and an example, and the examples are true."""

from __future__ import annotations

import doctest
import importlib.util
import inspect
import pydoc
from pathlib import Path
from typing import get_args

import pytest

import fmnist_fetch
import trainer
from fmnist_fetch.events import Event
from processes import python

OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
# These have their example on the page of FetchError, which users catch; the events on that of fetch.
KINDS = {"DiskError", "FormatError", "IntegrityError", "ManifestError", "SourceError", "UsageError"}
KINDS |= {kind.__name__ for kind in get_args(Event)}
SHOWN = [("fmnist_fetch", ""), *(("fmnist_fetch", name) for name in fmnist_fetch.__all__ if name.isalpha())]
SHOWN += [("trainer", ""), *(("trainer", name) for name in trainer.__all__)]


def thing(package: str, name: str) -> object:
    if package == "trainer" and not importlib.util.find_spec("torch"):
        pytest.skip("torch is not installed")
    found: object = importlib.import_module(package)
    return getattr(found, name) if name else found


@pytest.mark.parametrize(("package", "name"), SHOWN)
def test_a_public_name_begins_with_a_sentence_and_has_an_example(package: str, name: str) -> None:
    text = inspect.getdoc(thing(package, name)) or ""
    assert text.splitlines()[0].rstrip()[-1:] in (".", ",", ":"), text
    assert ">>> " in text or name in KINDS


@pytest.mark.parametrize(("package", "name"), [shown for shown in SHOWN if shown[1] not in KINDS])
def test_an_example_is_true(
    package: str,
    name: str,
    real_root: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("FMNIST_ROOT", str(real_root))
    text = inspect.getdoc(thing(package, name)) or ""
    example = doctest.DocTestParser().get_doctest(text, {}, name or package, None, None)
    assert example.examples
    assert doctest.DocTestRunner(optionflags=OPTIONS).run(example).failed == 0, capsys.readouterr().out


@pytest.mark.parametrize(("package", "names"), [("fmnist_fetch", fmnist_fetch.__all__), ("trainer", trainer.__all__)])
def test_the_help_of_a_package_shows_its_public_names_although_they_are_loaded_late(
    package: str, names: list[str]
) -> None:
    thing(package, "")
    # In a Python of its own: this process has used the names already.
    done = python(f"import pydoc, {package}; print(pydoc.plain(pydoc.render_doc({package})))")
    assert done.returncode == 0, done.stderr
    contents = done.stdout.partition("PACKAGE CONTENTS")[2]
    for name in set(names) - {"__version__"}:
        assert name in contents
        # A module is only listed.
        if name != "d2l":
            assert pydoc.splitdoc(inspect.getdoc(thing(package, name)) or "no sentence")[0] in contents, name
