"""Shell completion: each shell loads its script as the README says, and really completes with it."""

from __future__ import annotations

import builtins
import json
import os
import pty
import select
import shlex
import shutil
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from fmnist_fetch.cli import run
from fmnist_fetch.commands.completion import SHELLS
from fmnist_fetch.manifest.caches import HOMES
from fmnist_fetch.manifest.catalog import names
from processes import command_line

COMMANDS = {"fetch", "verify", "list", "manifest", "kit", "serve", "completion"}
# What is typed, and what the proposals must contain.
CASES = {
    "": COMMANDS,
    "fetch ": {*names(), "my.toml"},
    "fetch my": {"my.toml"},
    "fetch km": {"kmnist"},
    "verify --root sub km": {"kmnist"},
    "fetch --off": {"--offline"},
    "fetch --progress ": {"auto", "bar", "log", "none"},
    "fetch --also ": set(HOMES),
    "list --root su": {"sub"},
    "completion ": set(SHELLS),
}
each_case = pytest.mark.parametrize("typed", CASES, ids=lambda typed: typed or "nothing")
BASH = """
source ./script
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMP_LINE="$*" COMP_POINT=${#COMP_LINE}
_shtab_fmnist_fetch 2>/dev/null
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture(scope="session")
def scripts() -> dict[str, str]:
    """Return the script for each shell as the program prints it."""
    pytest.importorskip("shtab", reason="shtab is not installed")
    return {shell: command_line("completion", shell).stdout for shell in SHELLS}


@pytest.fixture
def here(tmp_path: Path, scripts: dict[str, str], request: pytest.FixtureRequest) -> Path:
    """Yield a folder with something to complete, and the script of the shell that ends the name of the test."""
    shell = request.function.__name__.rpartition("_")[2]
    if not shutil.which(shell):
        pytest.skip(f"{shell} is not installed")
    folder = tmp_path / "here"
    (folder / "sub").mkdir(parents=True, exist_ok=True)
    for name in ("my.toml", "other.txt"):
        (folder / name).touch()
    (folder / "script").write_text(scripts[shell])
    return folder


def ask(here: Path, *command: str) -> set[str]:
    """Return the lines that COMMAND prints in HERE, each up to a tab: fish describes each proposal."""
    done = subprocess.run(command, cwd=here, capture_output=True, text=True, timeout=60, check=False)
    assert done.stderr == ""
    return {line.partition("\t")[0].rstrip("/") for line in done.stdout.splitlines()}


@each_case
def test_completion_in_bash(here: Path, typed: str) -> None:
    words = ["fmnist-fetch", *typed.split(" ")]
    found = ask(here, "bash", "--norc", "-c", BASH, "bash", *words)
    assert CASES[typed] <= found
    assert "other.txt" not in found


@each_case
def test_completion_in_fish(here: Path, typed: str) -> None:
    found = ask(
        here, "fish", "--no-config", "-c", f"source ./script; complete -C {shlex.quote(f'fmnist-fetch {typed}')}"
    )
    assert CASES[typed] <= found
    assert "other.txt" not in found


@each_case
def test_completion_in_zsh(here: Path, typed: str) -> None:
    pid, terminal = pty.fork()
    if not pid:
        os.chdir(here)
        os.execvpe("zsh", ["zsh", "-f", "-i"], {**os.environ, "TERM": "dumb", "PS1": "> ", "HOME": str(here)})
    try:
        # Two tabs: where the first one completes the common part, the second one lists.
        setup = 'autoload -Uz compinit; compinit -u; LISTMAX=0; eval "$(cat script)"; echo all"set"'
        shown = talk(terminal, f"{setup}\n", "allset")
        assert "allset" in shown
        shown = talk(terminal, f"fmnist-fetch {typed}\t\t", *CASES[typed])
    finally:
        os.close(terminal)
        os.waitpid(pid, 0)
    assert all(word in shown for word in CASES[typed]), shown
    assert "other.txt" not in shown


def talk(terminal: int, text: str, *wanted: str) -> str:
    """Type TEXT; return what is shown as soon as all of WANTED is there."""
    os.write(terminal, text.encode())
    shown, end = "", time.monotonic() + 90
    while not all(word in shown for word in wanted) and time.monotonic() < end:
        if select.select([terminal], [], [], 0.5)[0]:
            with suppress(OSError):
                shown += os.read(terminal, 4096).decode(errors="replace")
    return shown


def test_json_has_the_script_in_it(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("shtab", reason="shtab is not installed")
    assert run(["completion", "fish", "--json"]) == 0
    assert "complete -c fmnist-fetch" in json.loads(capsys.readouterr().out)["script"]


def test_without_shtab_the_way_to_get_it_is_reported(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name == "shtab":
            raise ModuleNotFoundError("No module named 'shtab'", name="shtab")
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    assert run(["completion", "bash"]) == 1
    assert capsys.readouterr().err == (
        "error: completion needs shtab, which is not installed\n"
        "hint: Run: python3 -m pip install 'fmnist-fetch[completion]'\n"
    )


def test_nothing_of_it_is_loaded_where_it_is_not_wanted() -> None:
    code = "import sys; from fmnist_fetch.cli import run; run(['list']); print('shtab' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"
