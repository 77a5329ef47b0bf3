"""IDX files of users: the example in README and the page behind it, run exactly as they are printed."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from fmnist_fetch.manifest.catalog import find
from processes import environment
from samples import PROJECT_FOLDER, fill, gz, images, labels

README = PROJECT_FOLDER / "README.md"
PAGE = PROJECT_FOLDER / "docs" / "own-data.md"
PORT = 8321


def only_block(page: Path) -> str:
    """Return the commands that PAGE shows as bash."""
    (block,) = re.findall(r"^```bash\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return str(block)


def typed(commands: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Return COMMANDS as typed in an empty folder, where python and fmnist-fetch are those under test."""
    home = folder / "bin"
    home.mkdir()
    for name, words in (("python", ""), ("fmnist-fetch", "-m fmnist_fetch")):
        (home / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {words} "$@"\n')
        (home / name).chmod(0o755)
    path = os.pathsep.join((str(home), os.environ["PATH"]))
    # Job control, as on a terminal; any failure ends the shell, and nothing is left running.
    script = f"set -eum\ntrap 'kill $(jobs -p) 2>/dev/null || true' EXIT\ncd '{folder}'\n{commands}"
    command = ["bash", "-c", script]
    return subprocess.run(command, capture_output=True, text=True, env=environment(PATH=path), timeout=120, check=False)


@pytest.fixture
def _free_port() -> None:
    with socket.socket() as probe:
        # As the server does: a port that was used a moment ago is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", PORT))
        except OSError:
            pytest.skip(f"another program has port {PORT}")


@pytest.mark.usefixtures("_free_port")
def test_the_example_works_as_printed(tmp_path: Path) -> None:
    example = only_block(README)
    assert f"http://127.0.0.1:{PORT}/" in example
    done = typed(example, tmp_path)
    assert done.returncode == 0, done.stderr
    assert "my-digits.toml is written: 4 files" in done.stdout
    assert "My digits is complete in data/my-digits, every byte verified" in done.stdout
    assert f"from http://127.0.0.1:{PORT}/" in done.stdout
    assert "(20, 8, 8) uint8" in done.stdout
    assert (tmp_path / "data" / "my-digits" / "processed" / "my-digits.safetensors").exists()
    assert "error" not in done.stderr


def test_emnist_unpacked_by_hand_gets_its_manifest_by_the_printed_command(tmp_path: Path) -> None:
    command = only_block(PAGE)
    files = {"emnist-letters-mapping.txt": b"1 65 97\n", "emnist-byclass-mapping.txt": b"0 48\n"}
    for kind in ("balanced", "byclass", "letters"):
        for split, count in (("train", 9), ("test", 3)):
            files[f"emnist-{kind}-{split}-images-idx3-ubyte.gz"] = gz(images((count, 28, 28), 1))
            files[f"emnist-{kind}-{split}-labels-idx1-ubyte.gz"] = gz(labels(count, 1))
    fill(tmp_path / "gzip", files)
    done = typed(command, tmp_path)
    assert done.returncode == 0, done.stderr
    manifest = find(str(tmp_path / "emnist-letters.toml"))
    assert {file.name for file in manifest.files} == {name for name in files if "letters" in name and ".gz" in name}
    assert [file.tensor for file in manifest.files] == ["train_images", "train_labels", "test_images", "test_labels"]
