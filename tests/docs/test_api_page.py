"""docs/api.md agrees with the docstrings, the parser and the errors; --json prints the keys that it lists."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import pages
from fmnist_fetch.cli import run
from samples import PROJECT_FOLDER, Sample, fill

reference = pages.script("api_reference")


def test_the_page_is_generated_from_the_docstrings_as_they_are_now(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    monkeypatch.delenv("FMNIST_ROOT", raising=False)
    written = (PROJECT_FOLDER / "docs" / "api.md").read_text(encoding="utf-8")
    assert written == reference.page(), f"run: {reference.COMMAND}"


@pytest.mark.parametrize("command", ["fetch", "verify", "list", "script"])
def test_json_has_the_keys_that_the_page_lists(
    command: str, sample: Sample, root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = str(sample.write(tmp_path))
    mirror = fill(tmp_path / "mirror", sample.files)
    words = ["--root", str(root), "--json", "--progress", "none"]
    run(["fetch", manifest, *words, "--mirror", str(mirror), "--offline"])
    if command != "fetch":
        capsys.readouterr()
        run([command, *([] if command == "list" else [manifest]), *words])
    printed = json.loads(capsys.readouterr().out)
    assert printed.keys() == {"exit_code", *reference.JSON_KEYS[command]}
    assert printed["exit_code"] == 0
