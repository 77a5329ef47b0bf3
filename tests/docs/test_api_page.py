"""docs/api.md agrees with the docstrings, the parser and the errors; --json prints the keys that it lists."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest

from fmnist_fetch.cli import run
from samples import PROJECT_FOLDER, Sample

SCRIPT = PROJECT_FOLDER / "docs" / "scripts" / "api_reference.py"


@pytest.fixture(scope="module")
def reference() -> ModuleType:
    spec = importlib.util.spec_from_file_location("api_reference", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_generated_from_the_docstrings_as_they_are_now(
    reference: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch")
    monkeypatch.delenv("FMNIST_ROOT", raising=False)
    written = (PROJECT_FOLDER / "docs" / "api.md").read_text(encoding="utf-8")
    assert written == reference.page(), f"run: {reference.COMMAND}"


@pytest.mark.parametrize("command", ["fetch", "verify", "list", "script"])
def test_json_has_the_keys_that_the_page_lists(
    command: str, reference: ModuleType, sample: Sample, root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = str(sample.write(tmp_path))
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    for name, data in sample.files.items():
        (mirror / name).write_bytes(data)
    words = ["--root", str(root), "--json", "--progress", "none"]
    run(["fetch", manifest, *words, "--mirror", str(mirror), "--offline"])
    if command != "fetch":
        capsys.readouterr()
        run([command, *([] if command == "list" else [manifest]), *words])
    printed = json.loads(capsys.readouterr().out)
    assert printed.keys() == {"exit_code", *reference.JSON_KEYS[command]}
    assert printed["exit_code"] == 0
