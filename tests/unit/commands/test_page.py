"""The page of the server as text: its order, its commands, and that no text of a manifest is markup."""

from __future__ import annotations

from html import unescape
from pathlib import Path

import pytest

from fmnist_fetch.commands.serve.files import ServedFiles
from fmnist_fetch.commands.serve.page import State, page
from samples import Sample, fill

BASE = "http://lab-server:8000/"


def served(root: Path, *samples: Sample) -> ServedFiles:
    """Return the files of SAMPLES as they are under ROOT, inspected."""
    files = ServedFiles(root, [sample.manifest for sample in samples])
    for manifest in files.manifests:
        for file in files.of(manifest):
            file.inspect()
    return files


def test_present_datasets_come_first_and_absent_ones_are_only_named(sample: Sample, tmp_path: Path) -> None:
    absent, partial, complete = (
        sample.changed(name=name, title=name.title(), folder=name) for name in ("absent", "partial", "complete")
    )
    fill(complete.layout(tmp_path).raw, complete.files)
    raw = fill(partial.layout(tmp_path).raw, partial.files)
    largest = partial.file()
    (raw / largest.name).rename(raw / f"{largest.name}.part")
    with (raw / f"{largest.name}.part").open("r+b") as file:
        file.truncate(2500)
    text = page(served(tmp_path, absent, partial, complete), [], BASE)
    assert text.index("<h2>Complete <span") < text.index("<h2>Partial <span")
    assert "Complete in three steps" in text
    assert "Not on this server: Absent." in text
    assert f"{100 * 2000 // largest.size} %" in text
    assert 'http-equiv="refresh"' in text
    assert "<progress " in text


def test_a_complete_page_is_not_loaded_again_and_again(sample: Sample, tmp_path: Path) -> None:
    fill(sample.layout(tmp_path).raw, sample.files)
    files = served(tmp_path, sample)
    assert str(State.of(files.of(sample.manifest))).startswith("complete, ")
    assert "refresh" not in page(files, [], BASE)


@pytest.mark.parametrize("windows", [False, True])
def test_commands_are_shown_for_every_system_and_the_readers_own_first(
    windows: bool, sample: Sample, tmp_path: Path
) -> None:
    fill(sample.layout(tmp_path).raw, sample.files)
    text = unescape(page(served(tmp_path, sample), [], BASE, windows=windows))
    for command in (
        f"python3 -c \"from urllib.request import *; urlretrieve('{BASE}sample.toml', 'sample.toml')\"",
        f"py -c \"from urllib.request import *; urlretrieve('{BASE}sample.toml', 'sample.toml')\"",
        f"make data DATASET=sample.toml MIRROR={BASE}",
        f"make train DATASET=sample.toml MIRROR={BASE}",
        f"py -m fmnist_fetch.environment train --mirror {BASE}",
        rf".venv\Scripts\fmnist-fetch fetch sample.toml --mirror {BASE}",
        r".venv\Scripts\fmnist-train --dataset sample.toml",
        f"python3 -c \"from urllib.request import *; urlretrieve('{BASE}get_sample.py', 'get_sample.py')\"",
        "py get_sample.py",
    ):
        assert f"<pre>{command}</pre>" in text
    assert f'id="{"windows" if windows else "posix"}" checked' in text


def test_a_root_without_data_says_how_to_fill_it(sample: Sample, tmp_path: Path) -> None:
    text = page(served(tmp_path, sample), [], BASE)
    assert "No data is here yet" in text
    assert "<pre>make data ROOT=FOLDER</pre>" in text
    assert "MIRROR=" not in text


def test_nothing_of_a_manifest_is_taken_as_markup(sample: Sample, tmp_path: Path) -> None:
    hostile = sample.changed(title='<script>alert("x")</script>\u202e')
    fill(hostile.layout(tmp_path).raw, hostile.files)
    text = page(served(tmp_path, hostile), [], BASE)
    assert "<script" not in text
    # It would show what follows in the other direction.
    assert "\u202e" not in text


def test_digests_are_folded_away(sample: Sample, tmp_path: Path) -> None:
    fill(sample.layout(tmp_path).raw, sample.files)
    text = page(served(tmp_path, sample), [], BASE)
    folded = text.partition("<details>")[2].partition("</details>")[0]
    assert all(text.count(file.sha256) == folded.count(file.sha256) == 1 for file in sample.manifest.files)
