"""The commands in hints: they work where they are printed, and keep what the user asked for."""

import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tinydata import REPOSITORY
from trainer import invocation
from trainer.__main__ import parser
from trainer.invocation import is_launched, train_command

SETTINGS = {"dataset": "my data/own.toml", "epochs": 60, "seed": 5}


def words_of_make(line: str) -> list[str]:
    """Return what `make` would pass to the trainer; skip the test without make."""
    if not shutil.which("make"):
        pytest.skip("make is not installed")
    words = shlex.split(line)
    assert words[:2] == ["make", "train"]
    done = subprocess.run(["make", "-n", *words[1:]], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    (recipe,) = [text for text in done.stdout.replace("\\\n", " ").splitlines() if "-m trainer " in text]
    command, _, _ = recipe.partition("-m trainer ")[2].partition("; } ||")  # the rest is about Ctrl-C
    return shlex.split(command)


def test_outside_a_clone_it_is_the_trainer_itself_with_paths_quoted(tmp_path: Path) -> None:
    line = train_command(SETTINGS, tmp_path / "my run", tmp_path / "the data")
    program, _, rest = line.partition(" -m trainer ")
    assert shutil.which(shlex.split(program)[0]) is not None
    options = parser().parse_args(["train", *shlex.split(rest)])
    assert (options.dataset, options.epochs, options.seed) == ("my data/own.toml", 60, 5)
    assert (options.out, options.root) == (tmp_path / "my run", tmp_path / "the data")


@pytest.mark.parametrize("name", ["my run", "it's", "a$b", "#1"])
def test_in_a_clone_it_is_make_train_with_the_users_variables(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(REPOSITORY)
    line = train_command(SETTINGS, tmp_path / name, tmp_path / "the data", more=["--no-pictures"])
    options = parser().parse_args(["train", *words_of_make(line)])
    assert (options.dataset, options.epochs, options.seed) == ("my data/own.toml", 60, 5)
    assert options.out == tmp_path / name
    assert options.root == tmp_path / "the data"
    assert not options.pictures


def test_defaults_are_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)
    assert train_command({"seed": 0, "epochs": 10}, Path("runs/fashion-mnist"), Path("data")) == "make train"
    assert train_command({"dataset": "mnist"}, Path("runs/mnist")) == "make train DATASET=mnist"


def test_the_installed_script_names_itself(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    script = tmp_path / "bin" / "fmnist-train"
    script.parent.mkdir()
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    monkeypatch.setattr(sys, "argv", [str(script)])
    assert train_command({}, Path("runs/fashion-mnist")) == str(script)
    monkeypatch.setenv("PATH", str(script.parent))
    assert train_command({}, Path("runs/fashion-mnist")) == "fmnist-train"


def test_a_process_is_one_of_several_only_where_torchruns_whole_set_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not is_launched()
    for name in invocation.LAUNCHER_VARIABLES:
        for stray in ("", "0"):
            assert not is_launched()
            monkeypatch.setenv(name, stray)
    assert is_launched()
