"""The command line: what it prints, where, and its exit codes."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from faults import FlipByte, Mirror, On, Status, refusing
from fmnist_fetch import __version__
from fmnist_fetch.cli import run
from fmnist_fetch.manifest.catalog import names
from samples import Sample, command_line, disk_of, environment, lay, python

Capture = pytest.CaptureFixture[str]


class Command:
    """The command line on one manifest and one root."""

    def __init__(self, sample: Sample, folder: Path, root: Path, capture: Capture) -> None:
        self.sample, self.root, self._capture = sample, root, capture
        self.manifest = sample.write(folder)
        self.stick = str(lay(folder / "stick", sample.files))

    def __call__(self, verb: str, *words: str) -> tuple[int, str, str]:
        """Run VERB; exit code, stdout and stderr."""
        self._capture.readouterr()
        code = run([verb, self.manifest, "--root", str(self.root), *words])
        out, err = self._capture.readouterr()
        return code, out, err

    def error(self, *words: str, verb: str = "fetch") -> tuple[int, list[str]]:
        """Run what fails; the exit code and the lines on stderr."""
        code, out, err = self(verb, *words, "--quiet")
        assert out == ""
        return code, err.splitlines()


@pytest.fixture
def command(sample: Sample, tmp_path: Path, root: Path, capsys: Capture) -> Command:
    return Command(sample, tmp_path, root, capsys)


def test_a_fetch_tells_what_it_did_and_ends_with_0(command: Command) -> None:
    code, out, err = command("fetch", "--mirror", command.stick)
    assert code == 0
    lines = out.splitlines()
    folder = command.sample.layout(command.root).raw.parent
    assert re.fullmatch(
        rf"A sample is complete in {folder}, every byte verified: 20.7 kB from {command.stick} \(\d\.\d s\)\.", lines[0]
    )
    assert lines[1] == f"Next: fmnist_fetch.load('{command.manifest}', root='{command.root}') in Python"
    assert "4 files, 20.7 kB to fetch" in err
    assert "error" not in err


def test_quiet_says_nothing(command: Command) -> None:
    assert command("fetch", "--mirror", command.stick, "--quiet") == (0, "", "")
    assert command("verify", "--quiet") == (0, "", "")


def test_json_is_one_object_on_stdout_at_the_end(command: Command) -> None:
    code, out, _ = command("fetch", "--mirror", command.stick, "--json")
    outcome = json.loads(out)
    assert len(out.splitlines()) == 1
    assert (code, outcome["exit_code"], outcome["dataset"]) == (0, 0, "sample")
    assert outcome["received"] == {command.stick: command.sample.size}
    assert outcome["tensors"] == str(command.sample.layout(command.root).tensors)


def test_json_tells_of_a_failure_too(command: Command) -> None:
    code, out, err = command("fetch", "--offline", "--json")
    outcome = json.loads(out)
    assert code == outcome["exit_code"] == 4
    assert f"error: {outcome['error']}\nhint: {outcome['hint']}\n" in err


def test_the_root_of_the_environment_is_used(
    command: Command, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setenv("FMNIST_ROOT", str(command.root))
    assert run(["fetch", command.manifest, "--mirror", command.stick, "--quiet"]) == 0
    assert command.sample.layout(command.root).tensors.exists()
    assert run(["verify", command.manifest]) == 0
    assert str(command.root) in capsys.readouterr().out


def test_the_log_has_a_line_for_each_attempt(command: Command, tmp_path: Path) -> None:
    command("fetch", "--mirror", command.stick, "--log", str(tmp_path / "log"))
    entries = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert sum(entry["bytes"] for entry in entries) == command.sample.size


def test_the_version_is_told(capsys: Capture) -> None:
    with pytest.raises(SystemExit) as caught:
        run(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"fmnist-fetch {__version__}\n"


# Exit code 2: the command names what is not there.


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["fetsch"],
        ["fetch", "--jobs", "0"],
        ["fetch", "--jobs", "65"],
        ["fetch", "--patience", "-1"],
        ["fetch", "--patience", "nan"],
        ["fetch", "--patience", "long"],
        ["fetch", "--progress", "loud"],
        ["verify", "--mirror", "x"],
    ],
)
def test_a_command_that_is_none_is_2(words: list[str], capsys: Capture) -> None:
    with pytest.raises(SystemExit) as caught:
        run(words)
    assert caught.value.code == 2
    assert "usage:" in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["fetch", "verify"])
def test_an_unknown_dataset_is_2_with_the_nearest_and_the_known_ones(verb: str, capsys: Capture) -> None:
    assert run([verb, "fashon-mnist"]) == 2
    assert capsys.readouterr().err == (
        "error: there is no dataset called 'fashon-mnist'\n"
        "hint: Did you mean fashion-mnist? Known: fashion-mnist, kmnist, mnist; "
        "or give the path of a manifest (FILE.toml).\n"
    )


# What goes wrong, word for word; nothing changes on the disk.
OTHER_ROOT = "Choose another folder with --root FOLDER or FMNIST_ROOT=FOLDER, or mend this one."
SENTENCES = {
    "fetch {folder}/none.toml": (
        2,
        "the manifest {folder}/none.toml can't be read: No such file or directory",
        "Check the path, or name a dataset of the catalogue: {known}.",
    ),
    "fetch {manifest} --mirror htp://mirror.example/": (
        2,
        "the mirror 'htp://mirror.example/' is neither a URL nor a folder that is there",
        "Give a URL that begins with http:// or https://, or the path of a folder with the files.",
    ),
    "fetch {manifest} --quiet --root {folder}/file --mirror {stick}": (
        5,
        "{folder}/file/Sample/raw: a part of this path is a file, not a folder",
        OTHER_ROOT,
    ),
    "fetch {manifest} --quiet --mirror {stick} --log {folder}/none/log": (
        5,
        "{folder}/none/log: it is not there (any more)",
        OTHER_ROOT,
    ),
    "fetch {manifest} --offline --quiet": (
        4,
        "could not download 20,685 bytes of train-images-idx.gz, train-labels-idx.gz, test-images-idx.gz and 1 more"
        " from any source; there is none to ask",
        "Only this machine was looked at: leave out --offline (and FMNIST_OFFLINE). What arrived is kept."
        " Another source: --mirror URL or --mirror FOLDER.",
    ),
    "verify {manifest}": (
        1,
        "sample is not complete under {root}",
        "Run: fmnist-fetch fetch {manifest} --root {root}",
    ),
}


@pytest.mark.parametrize("line", SENTENCES)
def test_an_error_says_what_is_wrong_and_what_to_do(line: str, command: Command, capsys: Capture) -> None:
    folder = command.root.parent
    (folder / "file").write_bytes(b"mine")
    places = {"folder": folder, "manifest": command.manifest, "stick": command.stick, "root": command.root}
    code, *wanted = SENTENCES[line]
    words = line.format(**places).split()
    before = disk_of(folder)
    assert run(words if "--root" in words else [*words, "--root", str(command.root)]) == code
    error, hint = (text.format(**places, known=", ".join(names())) for text in wanted)
    assert capsys.readouterr().err == f"error: {error}\nhint: {hint}\n"
    assert disk_of(folder) == before


# Exit codes 3 and 4: wrong bytes, and no bytes.


def test_wrong_bytes_everywhere_are_3(command: Command) -> None:
    name = command.sample.file("test", "labels").name
    with Mirror(command.sample.files, faults=[On(name, FlipByte(20))]) as mirror:
        code, lines = command.error("--mirror", mirror.url, "--only-mirrors", "--patience", "2")
    assert code == 3
    assert lines[0].startswith("error: could not download 46 bytes of test-labels-idx.gz from any source:")
    assert lines[-1] == "hint: Name a mirror that has the right files: --mirror URL or --mirror FOLDER."


def test_a_mirror_without_the_files_is_4(command: Command) -> None:
    with Mirror({}) as mirror:
        code, lines = command.error("--mirror", mirror.url, "--only-mirrors")
    assert code == 4
    assert lines[1].startswith(f"  {mirror.url} answered 404 for ")
    assert lines[-1].startswith("hint: Check the address of the mirror. What arrived is kept. Another source: ")


def test_a_mirror_that_cannot_be_reached_is_4_when_patience_ends(command: Command) -> None:
    with refusing() as url:
        code, lines = command.error("--mirror", url, "--patience", "0.3")
    assert code == 4
    assert lines[1] == f"  {url} refuses connections"


def test_a_mirror_that_forbids_is_4(command: Command) -> None:
    with Mirror(command.sample.files, faults=[Status(403)]) as mirror:
        assert command.error("--mirror", mirror.url)[0] == 4
    assert not list(command.root.rglob("*.gz*"))


# Exit code 5: the disk.


@pytest.fixture
def public() -> Iterator[Path]:
    """A folder that every user can see and only its owner can write to."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


# All rooms are loaded first: nobody may be unable to read them.
AS_NOBODY = """
import os, sys, importlib, pkgutil, fmnist_fetch, filelock, encodings.idna
for room in pkgutil.walk_packages(fmnist_fetch.__path__, "fmnist_fetch."):
    if not room.name.endswith("__main__"):
        importlib.import_module(room.name)
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
fmnist_fetch.cli.main(sys.argv[1:])
"""


@pytest.mark.usefixtures("unmeasured")
def test_a_root_that_may_not_be_written_to_is_5_and_the_way_out_is_named(sample: Sample, public: Path) -> None:
    stick, manifest, shut = lay(public / "stick", sample.files), sample.write(public), public / "shut"
    shut.mkdir(mode=0o555)
    done = python(AS_NOBODY, "fetch", manifest, "--root", str(shut), "--mirror", str(stick), "--quiet")
    assert done.returncode == 5, done.stderr
    assert done.stderr.splitlines() == [
        f"error: {shut / 'Sample' / 'raw'}: permission denied",
        "hint: Choose another folder with --root FOLDER or FMNIST_ROOT=FOLDER, or mend this one.",
    ]
    assert list(shut.iterdir()) == []


# Exit code 6: manifests.


def test_a_manifest_with_ten_faults_is_6_and_tells_all_ten(tmp_path: Path, root: Path, capsys: Capture) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(
        "format = 1\nname = '../x'\nfolder = 'a/b'\ncolour = 1\nmirrors = ['x']\nmean = 1.0\n"
        "[[files]]\nname = 'x.part'\nsplit = 'A'\nrole = 'x'\nsize = 0\nsha256 = 'x'\n"
    )
    assert run(["fetch", str(path), "--root", str(root)]) == 6
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == f"error: {path} has 10 faults:"
    places = ["name", "folder", "mirrors", "mean", "colour", *["file"] * 5]
    assert sorted(line.split()[0] for line in lines[1:-1]) == sorted(places)
    assert lines[-1] == "hint: Mend the places named above, then run again."
    assert not root.exists()


# As a process.


def test_the_reader_may_go_away(command: Command) -> None:
    command("fetch", "--mirror", command.stick)
    words = f"'{sys.executable}' -m fmnist_fetch verify '{command.manifest}' --root '{command.root}' | head -n 1"
    for script in (words, words.replace("head -n 1", "true")):
        done = subprocess.run(
            ["bash", "-c", f"set -o pipefail; {script}"],
            capture_output=True,
            text=True,
            env=environment(PYTHONUNBUFFERED="1"),
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")


def test_help_may_be_read_by_nobody() -> None:
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; '{sys.executable}' -m fmnist_fetch fetch --help | true"],
        capture_output=True,
        text=True,
        env=environment(PYTHONUNBUFFERED=""),
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


# Ctrl-C at the very moment at which this module is loaded: as a script, and as a module.
INTERRUPTED_AT = """
import os, signal, sys
class Keyboard:
    def find_spec(self, name, path=None, target=None):
        if name == moment:
            os.kill(os.getpid(), signal.SIGINT)
signal.signal(signal.SIGINT, signal.default_int_handler)
kind, moment, *sys.argv[1:] = sys.argv[1:]
sys.modules.pop(moment, None)
sys.meta_path.insert(0, Keyboard())
if kind == "script":
    from fmnist_fetch.__main__ import main
    sys.exit(main())
import runpy
runpy.run_module("fmnist_fetch", run_name="__main__", alter_sys=True)
"""


@pytest.mark.parametrize("kind", ["script", "module"])
@pytest.mark.parametrize(
    "moment", ["fmnist_fetch.cli", "fmnist_fetch.events", "fmnist_fetch.manifest.model", "tomllib"]
)
def test_an_interrupt_while_it_loads_is_told_without_a_traceback(kind: str, moment: str, root: Path) -> None:
    done = python(INTERRUPTED_AT, kind, moment, "fetch", "--root", str(root), "--offline")
    assert done.returncode == 130
    assert done.stderr == "error: interrupted\nhint: Nothing has begun. Run the same command again.\n"
    assert not root.exists()


def test_an_interrupt_after_the_end_is_too_late(command: Command) -> None:
    code = "import os, signal; end = os._exit\n"
    code += "os._exit = lambda code: (os.kill(os.getpid(), signal.SIGINT), end(code))\n"
    code += "from fmnist_fetch.__main__ import main; main()"
    done = python(code, "verify", command.manifest, "--root", str(command.root))
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 2


def test_as_a_module_it_has_the_same_exit_codes(sample: Sample, root: Path, tmp_path: Path) -> None:
    manifest = sample.write(tmp_path)
    assert command_line("verify", manifest, "--root", str(root)).returncode == 1
    assert command_line("fetch", "nothing").returncode == 2
    assert command_line("--help").returncode == 0


def test_every_verb_has_help(capsys: Capture) -> None:
    for verb in ("fetch", "verify", "list"):
        with pytest.raises(SystemExit) as caught:
            run([verb, "--help"])
        assert caught.value.code == 0
        assert "--root" in capsys.readouterr().out
