"""The public names, loaded at their first use; and the functions `fetch` and `verify`."""

from __future__ import annotations

import pytest

import fmnist_fetch
from processes import python

PUBLIC = [
    "Attempted",
    "BytesInFlight",
    "DatasetStatus",
    "DiskError",
    "DownloadEnded",
    "DownloadStarted",
    "FetchError",
    "FormatError",
    "IntegrityError",
    "ManifestError",
    "Message",
    "NoSourceReady",
    "Note",
    "Report",
    "SourceError",
    "Split",
    "Unpacked",
    "UsageError",
    "Verified",
    "__version__",
    "fetch",
    "load",
    "verify",
]


def test_the_public_names_are_those_of_the_contract() -> None:
    assert sorted(fmnist_fetch.__all__) == PUBLIC
    assert set(dir(fmnist_fetch)) >= set(PUBLIC)


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_is_there_the_second_time_too(name: str) -> None:
    value = getattr(fmnist_fetch, name)
    assert getattr(fmnist_fetch, name) is value
    assert callable(value) or name == "__version__"


def test_a_name_that_there_is_not_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'fmnist_fetch' has no attribute 'fetsch'"):
        _ = fmnist_fetch.fetsch


def test_importing_the_package_costs_nothing() -> None:
    code = "import sys, fmnist_fetch\nprint(sorted(name for name in sys.modules if name.startswith('fmnist_fetch')))\n"
    code += "print({'requests', 'numpy', 'tqdm', 'urllib3', 'safetensors'} & sys.modules.keys())"
    done = python(code)
    assert done.stdout.splitlines() == ["['fmnist_fetch']", "set()"], done.stderr


def test_a_public_function_stays_callable_when_all_modules_were_imported() -> None:
    # A module with the name of a function would replace it in the package.
    pytest.importorskip("zeroconf", reason="zeroconf is not installed: run make test first")
    code = "import fmnist_fetch, pkgutil, importlib\n"
    code += "for module in pkgutil.walk_packages(fmnist_fetch.__path__, 'fmnist_fetch.'):\n"
    code += "    if not module.name.endswith('__main__'): importlib.import_module(module.name)\n"
    code += "print(callable(fmnist_fetch.fetch), callable(fmnist_fetch.load))"
    assert python(code).stdout == "True True\n"
