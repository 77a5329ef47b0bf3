"""A manifest as a script: short, of the standard library only, for old Pythons, and safe from the texts it quotes."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys

import pytest

from fmnist_fetch.cli import run
from fmnist_fetch.download.standalone.script import CHINESE, MAX_COLUMNS, columns, script, script_name
from fmnist_fetch.errors import UsageError
from fmnist_fetch.manifest.catalog import find, names
from samples import PROJECT_FOLDER, make


@pytest.mark.parametrize("comments", ["en", "zh"])
@pytest.mark.parametrize("name", names())
def test_it_is_short_and_survives_being_pasted(name: str, comments: str) -> None:
    text = script(find(name), comments=comments)
    assert text.isascii() is (comments == "en")
    assert "\t" not in text
    assert text.count("\n") <= 250
    assert max(map(columns, text.splitlines())) <= MAX_COLUMNS


def test_each_comment_has_a_chinese_one_beside_it_and_the_program_is_the_same() -> None:
    english, chinese = (script(find("fashion-mnist"), comments=comments) for comments in ("en", "zh"))
    said = {line.rpartition("# ")[2] for line in english.splitlines()[4:] if "# " in line}
    assert CHINESE.keys() == said | {english.splitlines()[2].removeprefix("# ")}
    assert all(chinese.count(sentence) == 1 for sentence in CHINESE.values())
    assert ast.dump(ast.parse(english)) == ast.dump(ast.parse(chinese))


@pytest.mark.parametrize("name", names())
def test_python_3_8_and_its_library_are_all_that_it_needs(name: str) -> None:
    tree = ast.parse(script(find(name)), feature_version=(3, 8))
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {module.partition(".")[0] for module in imported} <= sys.stdlib_module_names
    # Python 3.8 knows neither `int | None` nor `dict[int, str]`: it must not evaluate annotations.
    assert ast.unparse(tree.body[0]) == "from __future__ import annotations"


@pytest.mark.parametrize("name", names())
def test_vermin_finds_nothing_newer_than_python_3_8(name: str) -> None:
    vermin = pytest.importorskip("vermin")
    visitor = vermin.visit(script(find(name)), vermin.Config())
    _, lowest = visitor.minimum_versions()
    assert lowest is None or lowest <= (3, 8)


def test_it_contains_the_mirrors_in_order_and_the_digests_of_the_manifest() -> None:
    manifest = find("fashion-mnist")
    names: dict[str, object] = {"__name__": "get"}
    exec(script(manifest, ["http://lab-server:8000/", manifest.mirrors[1]]), names)
    others = [url for url in manifest.mirrors if url != manifest.mirrors[1]]
    assert names["MIRRORS"] == ["http://lab-server:8000/", manifest.mirrors[1], *others]
    assert names["FILES"] == [
        (
            file.name,
            file.size,
            file.sha256,
            file.pieces[0].span.length,
            " ".join(piece.sha256[:8] for piece in file.pieces),
            file.payload.size,
            file.payload.sha256,
        )
        for file in manifest.files
    ]


def test_chinese_comments_are_utf_8_whatever_the_language_of_the_system_is() -> None:
    command = [sys.executable, "-m", "fmnist_fetch", "script", "--comments", "zh"]
    for encoding in ("gbk", "ascii"):
        environment = {**os.environ, "PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}
        done = subprocess.run(command, cwd=PROJECT_FOLDER, env=environment, capture_output=True, check=True)
        assert done.stdout.decode() == script(find("fashion-mnist"), comments="zh").replace("\n", os.linesep)


def test_no_text_of_a_manifest_becomes_code() -> None:
    evil = '\nimport os; os.system("x")\n"""\'\r\u2028'
    manifest = make().manifest._replace(
        title=f"T{evil}", licence=f"L{evil}", homepage=f"H{evil}", mirrors=("http://h/'+__import__('os')+'",)
    )
    text = script(manifest)
    tree = ast.parse(text)
    assert "os.system" not in "".join(ast.unparse(node) for node in tree.body)
    assert text.splitlines()[1].startswith("# Download T import os;")
    assert max(map(len, text.splitlines())) <= MAX_COLUMNS
    assert "__import__" not in {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}


def test_the_name_of_the_file_is_that_of_the_dataset() -> None:
    assert script_name(find("fashion-mnist")) == "get_fashion_mnist.py"


def test_a_file_packed_under_a_strange_name_is_a_usage_error() -> None:
    manifest = make().manifest
    odd = manifest.files[0]._replace(name="packed.bin")
    with pytest.raises(UsageError, match=r"cannot unpack packed\.bin"):
        script(manifest._replace(files=(odd,)))


def test_the_command_prints_it_or_gives_it_in_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["script", "kmnist"]) == 0
    assert capsys.readouterr().out == script(find("kmnist"))
    assert run(["script", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == {"exit_code": 0, "dataset": "fashion-mnist", "script": script(find("fashion-mnist"))}
