"""The commands verify and list: tables, maps of the damage, and JSON for programs."""

from __future__ import annotations

import json
import os
import shlex
from pathlib import Path

import pytest

from fmnist_fetch.cli import run
from fmnist_fetch.errors import size
from fmnist_fetch.manifest.catalog import find, names
from samples import Sample, disk_of, fill, flipped, make, open_to_all

Capture = pytest.CaptureFixture[str]


class Command:
    """verify and list on one manifest and one root."""

    def __init__(self, sample: Sample, folder: Path, root: Path, capture: Capture) -> None:
        self.sample, self.root, self._capture = sample, root, capture
        self.manifest = sample.write(folder)

    def __call__(self, *words: str) -> tuple[int, list[str], str]:
        """Run the command line; return the exit code, the lines on stdout, and stderr."""
        self._capture.readouterr()
        code = run([*words, "--root", str(self.root)])
        out, err = self._capture.readouterr()
        return code, out.splitlines(), err

    def verify(self, *words: str) -> tuple[int, list[str], str]:
        return self("verify", self.manifest, *words)

    def damage(self, *places: int) -> Path:
        """Invert a bit in each of these bytes of the first file."""
        path = self.sample.layout(self.root).published(self.sample.file())
        for place in places:
            path.write_bytes(flipped(path.read_bytes(), place))
        return path


@pytest.fixture
def command(sample: Sample, tmp_path: Path, root: Path, capsys: Capture) -> Command:
    command = Command(sample, tmp_path, root, capsys)
    sample.fetch(root, str(fill(tmp_path / "stick", sample.files)))
    return command


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal of 20 columns."""
    monkeypatch.setattr("fmnist_fetch.commands.verify.width", lambda: 20)


def test_a_complete_dataset_is_a_table_with_its_root_named_once(command: Command) -> None:
    code, lines, err = command.verify()
    assert (code, err) == (0, "")
    assert lines[:3] == [f"A sample in {command.root / 'Sample'}", "", "good    15.4 kB  raw/train-images-idx.gz"]
    assert lines[-1].split(maxsplit=3)[3] == "9 files: 9 good"
    assert [line.split()[0] for line in lines[2:]] == ["good"] * 9 + ["total"]
    places = {line.index(line.split()[3]) for line in lines[2:]}
    assert len(places) == 1
    assert all(str(command.root) not in line for line in lines[1:])


def test_a_damaged_file_has_a_map_and_nothing_is_repaired(command: Command) -> None:
    command.damage(1500, 4500, 4600, 5500)
    layout = command.sample.layout(command.root)
    layout.payload(command.sample.file("test")).unlink()
    before = disk_of(command.root)
    code, lines, err = command.verify()
    assert code == 3
    assert next(line for line in lines if line.startswith("damaged")).endswith("  3 of 16 pieces damaged")
    assert sum(line.startswith("absent") for line in lines) == 1
    assert lines[-4:] == [
        "",
        "train-images-idx.gz",
        "  .x..xx..........",
        "  x damaged, . good; each is one piece of 1.0 kB",
    ]
    assert err == (
        "error: sample is damaged in 1 of its files\n"
        f"hint: Run: fmnist-fetch fetch {command.manifest} --root {command.root}\n"
    )
    assert disk_of(command.root) == before


@pytest.mark.usefixtures("narrow")
def test_a_map_has_one_cell_for_each_piece_where_they_fit(command: Command) -> None:
    command.damage(1500)
    path = command.damage()
    path.write_bytes(path.read_bytes()[:-1])
    lines = command.verify()[1]
    assert lines[-2:] == ["  .x.............x", "  x damaged, . good; each is one piece of 1.0 kB"]


@pytest.mark.usefixtures("narrow")
def test_a_cell_represents_several_pieces_where_there_are_many(tmp_path: Path, root: Path, capsys: Capture) -> None:
    sample = make(length=200)
    command = Command(sample, tmp_path, root, capsys)
    sample.fetch(root, str(fill(tmp_path / "stick", sample.files)))
    command.damage(0, 15_000)
    lines = command.verify()[1]
    assert lines[-2:] == ["  x..............x", "  x damaged, . good; each is 5 pieces of 200 bytes"]


def test_what_is_fetched_so_far_is_reported_for_a_partial_file(command: Command) -> None:
    file, layout = command.sample.file(), command.sample.layout(command.root)
    path = layout.published(file)
    path.with_name(path.name + ".part").write_bytes(path.read_bytes()[:5000])
    path.unlink()
    assert next(line for line in command.verify()[1] if file.name in line).endswith("  not needed: it is unpacked")
    layout.payload(file).unlink()
    assert next(line for line in command.verify()[1] if file.name in line).endswith("  5 of 16 pieces fetched")
    assert next(line for line in command.verify()[1] if file.name in line).startswith("partial")
    assert json.loads(command.verify("--json")[1][0])["files"][str(path)] == "partial"


@pytest.mark.parametrize("clone", [True, False])
def test_the_hint_is_a_command_that_works_where_it_is_printed_with_its_paths_quoted(
    clone: bool, sample: Sample, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fmnist_fetch.console.formatting.in_clone", lambda: clone)
    (tmp_path / "my data").mkdir()
    manifest, root = sample.write(tmp_path / "my data"), str(tmp_path / "NO $NAME")
    assert run(["verify", manifest, "--root", root]) == 1
    words = shlex.split(capsys.readouterr().err.splitlines()[-1].removeprefix("hint: Run: "))
    assert words == (
        ["make", "data", f"DATASET={manifest}", f"ROOT={root}"]
        if clone
        else ["fmnist-fetch", "fetch", manifest, "--root", root]
    )


def test_verify_of_what_is_not_there_is_1_and_makes_nothing(
    sample: Sample, root: Path, tmp_path: Path, capsys: Capture
) -> None:
    code, lines, err = Command(sample, tmp_path, root, capsys).verify()
    assert code == 1
    assert lines[-1].split(maxsplit=3) == ["total", "0", "bytes", "9 files: 9 absent"]
    assert err.splitlines()[0] == f"error: sample is not complete under {root}"
    assert not root.exists()


def test_json_names_each_file_and_the_damaged_pieces_also_where_it_fails(command: Command) -> None:
    path = command.damage(1500, 4500)
    code, (line,), err = command.verify("--json")
    outcome = json.loads(line)
    assert code == outcome["exit_code"] == 3
    assert f"error: {outcome['error']}\n" in err
    assert outcome["files"].pop(str(path)) == "damaged"
    assert set(outcome["files"].values()) == {"good"}
    assert len(outcome["files"]) == 8
    assert outcome["damaged_pieces"] == {str(path): [1, 4]}


def test_json_of_a_complete_dataset_names_no_damage(command: Command) -> None:
    (line,) = command.verify("--json")[1]
    outcome = json.loads(line)
    assert (outcome["exit_code"], outcome["damaged_pieces"], len(outcome["files"])) == (0, {}, 9)


def test_absent_redirected_unreadable_and_damaged_are_four_words(command: Command) -> None:
    if not hasattr(os, "seteuid") or os.geteuid() != 0:
        pytest.skip("only root may become another user")
    layout, files = command.sample.layout(command.root), command.sample.manifest.files
    absent, redirected, unreadable, damaged = (layout.published(file) for file in files)
    absent.unlink()
    redirected.unlink()
    redirected.symlink_to("nowhere")
    unreadable.chmod(0o600)
    open_to_all(command.root)
    os.seteuid(65534)
    try:
        code, lines, err = command.verify()
        assert (code, err.splitlines()[0]) == (5, f"error: 1 file of sample under {command.root} can't be read")
        assert lines[-1].endswith("9 files: 6 good, 1 redirected, 1 unreadable, 1 absent")
        assert next(line for line in lines if redirected.name in line).endswith("a link to nowhere, which is not there")
        assert next(line for line in lines if unreadable.name in line).endswith("permission denied")
    finally:
        os.seteuid(0)
    damaged.write_bytes(b"")
    assert command.verify()[0] == 3


def test_quiet_prints_nothing(command: Command) -> None:
    assert command.verify("--quiet") == (0, [], "")


@pytest.mark.parametrize(("content", "state"), [(slice(0, 5000), "partial"), (slice(1, 5000), "absent")])
def test_list_says_partial_where_only_good_pieces_are_there(
    content: slice, state: str, sample: Sample, root: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fmnist_fetch.commands.list.find", lambda _name: sample.manifest)
    name = sample.file().name
    fill(sample.layout(root).raw, {f"{name}.part": sample.files[name][content]})
    assert run(["list", "--root", str(root), "--json"]) == 0
    assert set(json.loads(capsys.readouterr().out)["datasets"].values()) == {state}


def test_list_is_a_table_of_the_catalogue_and_its_state(root: Path, capsys: Capture) -> None:
    assert run(["list", "--root", str(root)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"The catalogue, and the state of its datasets in {root}"
    assert lines[2].split() == ["name", "state", "size", "licence", "home"]
    assert [line.split()[:2] for line in lines[3:-1]] == [[name, "absent"] for name in names()]
    total = sum(file.size for name in names() for file in find(name).files)
    assert lines[-1].split() == ["total", "0", "complete", *size(total).split()]
    assert not root.exists()
    assert run(["list", "--root", str(root), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["datasets"]["mnist"] == "absent"


def test_a_narrow_terminal_gets_fewer_columns_not_broken_lines(
    root: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fmnist_fetch.console.formatting.width", lambda: 40)
    run(["list", "--root", str(root)])
    lines = capsys.readouterr().out.splitlines()
    assert lines[2].split() == ["name", "state", "size"]
    assert max(map(len, lines[2:])) <= 40


def test_the_real_dataset_is_listed_as_complete(real_root: Path, capsys: Capture) -> None:
    assert run(["list", "--root", os.fspath(real_root)]) == 0
    assert "complete" in next(line for line in capsys.readouterr().out.splitlines() if line.startswith("fashion-mnist"))
