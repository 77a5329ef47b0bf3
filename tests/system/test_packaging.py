"""What is published: a wheel, and a source distribution that builds the wheel without a network; and the Makefile."""

from __future__ import annotations

import ast
import email
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from fmnist_fetch import __version__
from fmnist_fetch.environment.setup import TOOLS
from samples import PROJECT_FOLDER

PACKAGES = ("fmnist_fetch", "trainer")
UNPUBLISHED = {".gitignore"}
VERSION = PROJECT_FOLDER / "fmnist_fetch" / "__init__.py"  # its only place
SCENARIOS = ("", "_bytes", "_machine", "_sources")
BUILD = "import sys, setuptools.build_meta as backend; print(getattr(backend, sys.argv[1])(sys.argv[2]))"

METADATA: dict[str, Any] = tomllib.loads((PROJECT_FOLDER / "pyproject.toml").read_text(encoding="utf-8"))["project"]


class Built(NamedTuple):
    """Return the two published files, and the folder that the first one unpacks to."""

    sdist: Path
    wheel: Path
    source: Path


def committed() -> list[str]:
    """Return the paths that git tracks or would add; skip the test outside a git checkout."""
    command = ["git", "-C", str(PROJECT_FOLDER), "ls-files", "--cached", "--others", "--exclude-standard"]
    if not (PROJECT_FOLDER / ".git").exists() or not shutil.which("git"):
        pytest.skip("not in a git checkout")
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return [name for name in done.stdout.splitlines() if (PROJECT_FOLDER / name).is_file()]


def build(kind: str, source: Path, out: Path) -> Path:
    """Let setuptools build the sdist or the wheel of SOURCE."""
    command = [sys.executable, "-c", BUILD, f"build_{kind}", str(out)]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return out / done.stdout.splitlines()[-1]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """Build the wheel and the source distribution from a copy of what is committed."""
    setuptools = pytest.importorskip("setuptools", reason="setuptools is not installed")
    if int(setuptools.__version__.partition(".")[0]) < 77:
        pytest.skip("this setuptools is older than 77")
    folder = tmp_path_factory.mktemp("dist")
    for name in committed():
        (folder / "copy" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(PROJECT_FOLDER / name, folder / "copy" / name)
    sdist = build("sdist", folder / "copy", folder)
    with tarfile.open(sdist) as tar:
        tar.extraction_filter = getattr(tarfile, "data_filter", None)
        tar.extractall(folder)
    source = folder / sdist.name.removesuffix(".tar.gz")
    return Built(sdist, build("wheel", source, folder), source)


@pytest.fixture(scope="module")
def installed(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the content of the wheel, as pip installs it to site-packages."""
    folder = tmp_path_factory.mktemp("installed")
    with zipfile.ZipFile(built.wheel) as wheel:
        wheel.extractall(folder)
    return folder


def run_in(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run Python with nothing of this checkout but what is in FOLDER."""
    env = {**os.environ, "PYTHONPATH": str(folder)}
    return subprocess.run(
        [sys.executable, *words], cwd=folder, env=env, capture_output=True, text=True, timeout=600, check=False
    )


def files_of(folder: Path) -> Iterator[str]:
    yield from (
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    )


def test_the_wheel_contains_both_packages_and_nothing_else(built: Built) -> None:
    with zipfile.ZipFile(built.wheel) as wheel:
        names = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert names == {name for name in files_of(built.source) if name.startswith(tuple(f"{room}/" for room in PACKAGES))}
    assert {f"{package}/py.typed" for package in PACKAGES} <= names
    assert "fmnist_fetch/datasets/fashion-mnist.toml" in names
    assert not [name for name in names if "test" in name]
    assert built.wheel.name == f"fmnist_fetch-{__version__}-py3-none-any.whl"


def test_the_source_distribution_contains_all_that_is_committed(built: Built) -> None:
    assert set(committed()) - set(files_of(built.source)) == UNPUBLISHED


def test_the_tests_run_in_the_source_distribution(built: Built) -> None:
    parts = ("tests/unit/storage/test_layout.py", "tests/unit/test_structure.py")
    done = run_in(built.source, "-m", "pytest", "-q", "-p", "no:cacheprovider", *parts)
    assert done.returncode == 0, done.stdout


def test_the_metadata_is_valid_and_says_what_the_project_says(built: Built) -> None:
    metadata = pytest.importorskip("packaging.metadata", reason="packaging is not installed: run make kit first")
    with zipfile.ZipFile(built.wheel) as wheel:
        (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
        raw = wheel.read(name)
        assert name.replace("METADATA", "licenses/LICENSE") in wheel.namelist()
    read = metadata.Metadata.from_email(raw, validate=True)
    assert (read.name, str(read.version), read.license_expression) == ("fmnist-fetch", __version__, "MIT")
    assert str(read.requires_python) == METADATA["requires-python"]
    assert read.description_content_type == "text/markdown"
    assert read.description.strip() == (PROJECT_FOLDER / "README.md").read_text(encoding="utf-8").strip()
    assert set(read.provides_extra) == set(METADATA["optional-dependencies"])
    assert email.message_from_bytes(raw)["Author"] is None


def test_the_version_is_written_once(installed: Path) -> None:
    assert METADATA["dynamic"] == ["version"]
    for package in PACKAGES:
        for path in (PROJECT_FOLDER / package).rglob("*.py"):
            assert (f'"{__version__}"' in path.read_text(encoding="utf-8")) == (path == VERSION), path
    code = "from importlib.metadata import version; print(version('fmnist-fetch'))"
    assert run_in(installed, "-c", code).stdout == f"{__version__}\n"


def test_the_citation_and_the_newest_version_of_the_changelog_are_that_version() -> None:
    citation, changelog = (
        (PROJECT_FOLDER / name).read_text(encoding="utf-8") for name in ("CITATION.cff", "CHANGELOG.md")
    )
    assert re.findall(r'^version: "(.*)"$', citation, re.MULTILINE) == [__version__]
    assert re.findall(r"^## (\d\S*)", changelog, re.MULTILINE)[0] == __version__


@pytest.mark.parametrize("script", ["fmnist-fetch", "fmnist-train"])
def test_a_console_script_of_the_wheel_shows_its_help(script: str, installed: Path) -> None:
    code = "import sys; from importlib.metadata import distribution\n"
    code += "name = sys.argv[0] = sys.argv.pop(1)\n"
    code += "distribution('fmnist-fetch').entry_points.select(group='console_scripts')[name].load()()"
    done = run_in(installed, "-c", code, script, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("usage: ")


def third_party(package: str) -> set[str]:
    """Return the top-level names that PACKAGE imports anywhere and that are neither of Python nor ours."""
    found: set[str] = set()
    for path in (PROJECT_FOLDER / package).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {name.name.partition(".")[0] for name in node.names}
            elif isinstance(node, ast.ImportFrom):
                found.add((node.module or "").partition(".")[0])
    return found - sys.stdlib_module_names - set(PACKAGES)


def names(requirements: list[str]) -> set[str]:
    return {re.split(r"[^\w-]", text, maxsplit=1)[0].lower() for text in requirements}


def test_what_is_imported_is_what_is_required() -> None:
    own, extras = names(METADATA["dependencies"]), METADATA["optional-dependencies"]
    optional = names([text for extra in ("load", "serve", "kit", "completion") for text in extras[extra]])
    # A notebook imports IPython itself, and the set-up imports what it installs with.
    assert third_party("fmnist_fetch") - own - optional - {"IPython"} == set(TOOLS) - {"packaging"}
    # isal is optional.
    assert own - third_party("fmnist_fetch") == {"isal"}
    assert third_party("trainer") - own - names(extras["train"]) - {"IPython", "PIL", "matplotlib_inline"} == set()


def test_the_extra_dev_is_all_the_others_and_more() -> None:
    extras = METADATA["optional-dependencies"]
    (others,) = (text for text in extras["dev"] if text.startswith("fmnist-fetch["))
    # A kernel alone tests the notebook, without the server and the pages of Jupyter.
    assert set(others.partition("[")[2].rstrip("]").split(",")) == set(extras) - {"dev", "notebook"}


# The Makefile


def make(*words: str) -> subprocess.CompletedProcess[str]:
    if not shutil.which("make"):
        pytest.skip("make is not installed")
    return subprocess.run(["make", *words], cwd=PROJECT_FOLDER, capture_output=True, text=True, check=False)


def test_make_alone_shows_every_target_that_a_person_may_call() -> None:
    shown = make()
    phony = re.search(r"^\.PHONY: (.*)$", (PROJECT_FOLDER / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert phony is not None
    assert re.findall(r"^  make ([a-z-]+) ", shown.stdout, re.MULTILINE) == phony[1].split()
    assert shown.stdout == make("help").stdout


@pytest.mark.parametrize(
    ("parts", "paths"),
    [
        ("", []),
        ("unit/download", ["tests/unit/download"]),
        ("unit/download/", ["tests/unit/download/"]),
        ("trainer system/test_kit.py", ["tests/trainer", "tests/system/test_kit.py"]),
        ("integration/test_scenarios*.py", [f"tests/integration/test_scenarios{x}.py" for x in SCENARIOS]),
    ],
)
def test_make_test_runs_the_parts_of_the_tests_that_are_named(parts: str, paths: list[str]) -> None:
    line = make("--dry-run", "test", f"T={parts}").stdout.splitlines()[-1]
    assert sorted(word for word in line.split() if word.startswith("tests/")) == sorted(paths)


def test_a_part_of_the_tests_that_is_not_there_is_an_error_with_a_hint() -> None:
    done = make("--dry-run", "test", "T=unit/kitchen")
    assert done.returncode == 2
    assert "there is no tests/unit/kitchen; T takes folders and files of tests/" in done.stderr


def test_the_parts_that_are_tried_on_a_lab_machine_are_there() -> None:
    (parts,) = re.findall(
        r'make test T="([^"]+)"', (PROJECT_FOLDER / "tests" / "kit-check.sh").read_text(encoding="utf-8")
    )
    done = make("--dry-run", "test", "T=" + parts.replace("\\\n", ""))
    assert done.returncode == 0, done.stderr
