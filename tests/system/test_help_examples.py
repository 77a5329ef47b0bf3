"""Every example in --help works as printed; the outside world is a folder, and the catalogue is small."""

from __future__ import annotations

import argparse
import shlex
import shutil
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fmnist_fetch.cli import parser, run
from fmnist_fetch.commands.kit import pack
from fmnist_fetch.manifest import catalog
from fmnist_fetch.manifest.toml import dumps
from processes import ended, started
from samples import Sample, fill, gz, idx, images

Capture = pytest.CaptureFixture[str]


def commands() -> dict[str, argparse.ArgumentParser]:
    """Return the parsers of all commands."""
    (added,) = (action for action in parser()._actions if isinstance(action, argparse._SubParsersAction))
    found: Any = added.choices
    return dict(found)


def examples() -> Iterator[str]:
    """Return the lines below `example` in each --help."""
    for command in commands().values():
        _, *lines = command.format_help().partition("\nexample")[2].splitlines()
        yield from (line.strip() for line in lines)


SERVING = [line for line in examples() if line.startswith("fmnist-fetch serve")]
ENDING = [line for line in examples() if line not in SERVING]


@pytest.fixture
def here(sample: Sample, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with what the examples name; the only dataset is small, and complete in the default root."""
    small = replace(sample, manifest=sample.manifest._replace(name="fashion-mnist"))
    (tmp_path / "catalogue").mkdir()
    (tmp_path / "catalogue" / "fashion-mnist.toml").write_text(dumps(small.manifest))
    other = sample.manifest._replace(name="kmnist", folder="KMNIST")
    (tmp_path / "catalogue" / "kmnist.toml").write_text(dumps(other))
    monkeypatch.setattr(catalog, "_FOLDER", tmp_path / "catalogue")
    monkeypatch.chdir(tmp_path)
    small.fetch(tmp_path / "data", str(fill(tmp_path / "media/usb", sample.files)))
    return tmp_path


def lay_own(here: Path, line: str) -> None:
    """Write the IDX files of the example LINE."""
    values = {"images": images((2, 4, 4), 1), "labels": idx(0x08, (2,), b"\0\1")}
    if "a.idx" in line:
        fill(here / "my-data", {"a.idx": values["images"]})
        return
    for split in ("train", "test"):
        for role, data in values.items():
            name = f"{split}-{role}-idx{3 if role == 'images' else 1}-ubyte.gz"
            fill(here / "my-data", {name: gz(data)})
            fill(here / "gzip", {f"emnist-letters-{name}": gz(data), f"emnist-digits-{name}": gz(data)})


def test_every_command_has_an_example() -> None:
    assert {line.split()[1] for line in examples()} == set(commands())


@pytest.mark.parametrize("line", ENDING)
def test_an_example_works(line: str, here: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    program, command, *words = shlex.split(line.replace(" /", f" {here}/"))
    assert program == "fmnist-fetch"
    # The rest of the line is for a shell.
    words = words[: words.index(">")] if ">" in words else words
    if command == "completion":
        pytest.importorskip("shtab", reason="shtab is not installed")
    if command == "kit":
        # tests/system/test_kit.py tests the kit with the project and its wheels.
        words.append("--no-wheels")
        monkeypatch.setattr(pack.Project, "at", classmethod(lambda cls, _: cls("0" * 40, 0, ())))
        monkeypatch.setattr(pack, "uncommitted", lambda _: [])
    if command == "manifest":
        lay_own(here, line)
    if command == "verify" and "--root" in words:
        shutil.copytree("data", words[words.index("--root") + 1])
    assert run([command, *words]) == 0, capsys.readouterr().err
    out, err = capsys.readouterr()
    assert out
    assert "error:" not in err


@pytest.mark.parametrize("line", SERVING)
def test_an_example_that_serves_begins_to_and_ends_with_ctrl_c(line: str, root: Path) -> None:
    pytest.importorskip("aiohttp", reason="aiohttp is not installed")
    root.mkdir()
    words = [*line.split()[1:], "--root", str(root)]
    words[words.index("--port") + 1] = "0"
    process = started(*words)
    assert process.stdout is not None
    assert "http://" in process.stdout.readline() + process.stdout.readline()
    assert "Traceback" not in ended(process, signal.SIGINT)[1]
