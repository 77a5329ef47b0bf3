"""A mistyped command line of any of the programs is two lines, with a suggestion where one is near."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from fmnist_fetch import cli
from fmnist_fetch.environment import setup
from trainer.__main__ import main as trainer

PROGRAMS: dict[str, Callable[[list[str]], int]] = {
    "fmnist-fetch": cli.run,
    "environment": setup.run,
    "trainer": trainer,
}


@pytest.mark.parametrize(
    ("program", "line", "facts", "hint"),
    [
        ("fmnist-fetch", "fetsh", "there is no command 'fetsh'", "Did you mean fetch?"),
        ("fmnist-fetch", "fetch --mirorr x", "fetch has no option --mirorr", "Did you mean --mirror?"),
        ("fmnist-fetch", "fetch --progress bars", "--progress can't be 'bars'", "Did you mean bar?"),
        ("fmnist-fetch", "", "no command is given", "To begin: fmnist-fetch fetch"),
        ("environment", "datta", "group can't be 'datta'", "Did you mean data?"),
        ("environment", "data --miror x", "python -m fmnist_fetch.environment has no option", "Did you mean --mirror?"),
        ("environment", "", "the following arguments are required: group", "All options: python -m"),
        ("trainer", "trian", "there is no command 'trian'", "Did you mean train?"),
        ("trainer", "--devise cpu", "train has no option --devise", "Did you mean --device?"),
        ("trainer", "--device cp", "--device can't be 'cp'", "Did you mean cpu?"),
        ("trainer", "predict", "the following arguments are required: RUN, INDEX|IMAGE", "predict --help"),
    ],
)
def test_a_mistyped_line_of(program: str, line: str, facts: str, hint: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert PROGRAMS[program](line.split()) == 2
    error, advice = capsys.readouterr().err.splitlines()
    assert error.startswith(f"error: {facts}")
    assert advice.startswith("hint: ")
    assert hint in advice


def test_the_help_of_the_trainer_names_the_command_that_the_user_has_typed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["/somewhere/bin/fmnist-train"])
    with pytest.raises(SystemExit) as ended:
        trainer(["--help"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith("usage: /somewhere/bin/fmnist-train ")


@pytest.mark.parametrize(
    ("mirror", "facts", "hint"),
    [
        ("lab:8000", "the mirror 'lab:8000' is neither", "write: http://lab:8000"),
        (
            "htps://me:secret@lab.example/",
            "the mirror 'htps://***@lab.example/' is neither",
            "https://'***@lab.example/'",
        ),
    ],
)
def test_a_mistyped_mirror_is_explained_as_fetch_does(
    mirror: str, facts: str, hint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert setup.run(["data", "--venv", str(tmp_path / "venv"), "--mirror", mirror]) == 2
    error, advice = capsys.readouterr().err.splitlines()
    assert facts in error
    assert hint.replace("'", "") in advice.replace("'", "")
    assert "secret" not in error + advice
    assert not (tmp_path / "venv").exists()
