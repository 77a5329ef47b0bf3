"""The command line: what it prints, where, and its exit codes."""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from faults import FlipByte, Mirror, On
from fmnist_fetch import __version__
from fmnist_fetch.cli import parser, run
from fmnist_fetch.manifest.catalog import names
from processes import command_line, environment, python
from samples import PROJECT_FOLDER, Sample, disk_of, fill

Capture = pytest.CaptureFixture[str]


class Command:
    """The command line on one manifest and one root."""

    def __init__(self, sample: Sample, folder: Path, root: Path, capture: Capture) -> None:
        self.sample, self.root, self._capture = sample, root, capture
        self.manifest = sample.write(folder)
        self.stick = str(fill(folder / "stick", sample.files))

    def __call__(self, command: str, *words: str) -> tuple[int, str, str]:
        """Run COMMAND; return the exit code, stdout and stderr."""
        self._capture.readouterr()
        code = run([command, self.manifest, "--root", str(self.root), *words])
        out, err = self._capture.readouterr()
        return code, out, err

    def error(self, *words: str, command: str = "fetch") -> tuple[int, list[str]]:
        """Run a command that fails; return the exit code and the lines on stderr."""
        code, out, err = self(command, *words, "--quiet")
        assert out == ""
        return code, err.splitlines()


@pytest.fixture
def command(sample: Sample, tmp_path: Path, root: Path, capsys: Capture) -> Command:
    return Command(sample, tmp_path, root, capsys)


def shell(script: str, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Run SCRIPT in bash, where "$@" is the program with the arguments WORDS."""
    line = ["bash", "-c", f"set -o pipefail; {script}", "bash", sys.executable, "-m", "fmnist_fetch", *words]
    return subprocess.run(line, capture_output=True, text=True, env=environment(**more), check=False)


def test_a_fetch_reports_what_it_did_and_exits_with_0(command: Command) -> None:
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


def test_quiet_prints_nothing(command: Command) -> None:
    assert command("fetch", "--mirror", command.stick, "--quiet") == (0, "", "")
    assert command("verify", "--quiet") == (0, "", "")


def test_json_is_one_object_on_stdout_at_the_end(command: Command) -> None:
    code, out, _ = command("fetch", "--mirror", command.stick, "--json")
    outcome = json.loads(out)
    assert len(out.splitlines()) == 1
    assert (code, outcome["exit_code"], outcome["dataset"]) == (0, 0, "sample")
    assert outcome["received"] == {command.stick: command.sample.size}
    assert outcome["tensors"] == str(command.sample.layout(command.root).tensors)


def test_json_has_a_failure_too(command: Command) -> None:
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


def test_the_version_is_printed(capsys: Capture) -> None:
    with pytest.raises(SystemExit) as caught:
        run(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"fmnist-fetch {__version__}\n"


# Exit code 2: the arguments name something that does not exist.


COMMANDS = "Commands: fetch, verify, list, manifest, kit, serve, script, completion."
OPTIONS = "All options: fmnist-fetch {} --help"
USAGE = {
    "": ("no command is given", f"{COMMANDS} To begin: fmnist-fetch fetch"),
    "fetsch": ("there is no command 'fetsch'", f"Did you mean fetch? {COMMANDS}"),
    "--verion": (
        "fmnist-fetch has no option --verion",
        "Did you mean --version? Other options follow a command: fmnist-fetch fetch --help",
    ),
    "--quiet fetch": (
        "fmnist-fetch has no option --quiet",
        "Other options follow a command: fmnist-fetch fetch --help",
    ),
    "fetch --jobs 0": ("--jobs: '0' is not a number from 1 to 64", OPTIONS.format("fetch")),
    "fetch --jobs 65": ("--jobs: '65' is not a number from 1 to 64", OPTIONS.format("fetch")),
    "fetch --jobs ٣": ("--jobs: '٣' is not a number from 1 to 64", OPTIONS.format("fetch")),
    # A number, but no time.
    "fetch --patience -1": ("--patience: '-1' is neither a number of seconds nor \"forever\"", OPTIONS.format("fetch")),
    "fetch --patience nan": (
        "--patience: 'nan' is neither a number of seconds nor \"forever\"",
        OPTIONS.format("fetch"),
    ),
    "fetch --limit-rate fast": (
        "--limit-rate: 'fast' is not a number of bytes per second such as 500k or 2M",
        OPTIONS.format("fetch"),
    ),
    "fetch --progress lgo": ("--progress can't be 'lgo'", "Did you mean log? Choose from: auto, bar, log, none."),
    "fetch --ofline": ("fetch has no option --ofline", f"Did you mean --offline? {OPTIONS.format('fetch')}"),
    "fetch --mirror": ("--mirror: expected one argument", OPTIONS.format("fetch")),
    "verify --mirror=x": ("verify has no option --mirror", OPTIONS.format("verify")),
    "verify mnist kmnist": ("unexpected argument 'kmnist'", OPTIONS.format("verify")),
    "manifest": ("the following arguments are required: FOLDER", OPTIONS.format("manifest")),
    "fetch --root $HOME/x": (
        "the path $HOME/x begins with a variable that nothing has replaced",
        "Give the path itself; for a folder that really has this name: './$HOME/x'",
    ),
    "verify --root '/data'": ("the path '/data' has quotes around it", "Leave out one pair of quotes: /data"),
    "list --root ~nobody-at-all/x": (
        "the path ~nobody-at-all/x begins with a home folder that is not known",
        "Give the path itself; for a folder that really has this name: './~nobody-at-all/x'",
    ),
    "fetch --log %TEMP%/x": (
        "the path %TEMP%/x begins with a variable that nothing has replaced",
        "Give the path itself; for a folder that really has this name: ./%TEMP%/x",
    ),
}


@pytest.mark.parametrize("line", USAGE)
def test_a_usage_error_is_2_with_what_may_have_been_meant(line: str, capsys: Capture) -> None:
    error, hint = USAGE[line]
    assert run(line.split()) == 2
    assert capsys.readouterr() == ("", f"error: {error}\nhint: {hint}\n")
    assert list(Path.cwd().iterdir()) == []


def test_a_usage_error_is_in_the_json_too(capsys: Capture) -> None:
    assert run(["fetch", "--json", "--jobs", "0"]) == 2
    outcome = json.loads(capsys.readouterr().out)
    assert outcome == {
        "exit_code": 2,
        "error": "--jobs: '0' is not a number from 1 to 64",
        "hint": OPTIONS.format("fetch"),
    }


@pytest.mark.parametrize("value", ["1", "true", "YES", " on ", "", "0", "false", "No", "off"])
def test_the_environment_may_say_offline_or_online_in_several_ways(
    value: str, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FMNIST_OFFLINE", value)
    offline = value in ("1", "true", "YES", " on ")
    with Mirror(command.sample.files) as mirror:
        assert command("fetch", "--mirror", mirror.url)[0] == (4 if offline else 0)
        assert mirror.served == (0 if offline else command.sample.size)


def test_the_environment_can_not_say_offline_in_every_way(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FMNIST_OFFLINE", "perhaps")
    assert command.error() == (
        2,
        ["error: FMNIST_OFFLINE=perhaps is neither yes nor no", "hint: Set FMNIST_OFFLINE=1 or FMNIST_OFFLINE=0."],
    )
    assert not command.root.exists()


@pytest.mark.parametrize("columns", ["30", "80", "300"])
def test_no_line_of_the_help_is_longer_than_80_columns(columns: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    top = parser()
    (added,) = (action for action in top._actions if isinstance(action, argparse._SubParsersAction))
    for shown in (top, *added.choices.values()):
        assert [line for line in shown.format_help().splitlines() if len(line) > 80] == []


# The message of each failure; nothing changes on the disk.
OTHER_ROOT = "Choose another folder with --root FOLDER or FMNIST_ROOT=FOLDER, or repair this one."
SENTENCES = {
    "fetch {folder}/none.toml": (
        2,
        "the manifest {folder}/none.toml can't be read: No such file or directory",
        "Check the path, or name a dataset of the catalogue: {known}.",
    ),
    "verify fashon-mnist": (
        2,
        "there is no dataset called 'fashon-mnist'",
        "Did you mean fashion-mnist? Known: {known}; or give the path of a manifest (FILE.toml).",
    ),
    "fetch {manifest} --mirror htp://mirror.example/": (
        2,
        "the mirror 'htp://mirror.example/' is neither a URL nor a folder that is there",
        "If it is a URL, write: http://mirror.example/",
    ),
    "fetch {manifest} --quiet --root {folder}/file --mirror {stick}": (
        5,
        "{folder}/file/Sample/raw: a part of this path is a file, not a folder",
        OTHER_ROOT,
    ),
    "fetch {manifest} --quiet --mirror {stick} --log {folder}/none/log": (
        5,
        "{folder}/none/log: it does not exist (any more)",
        "Choose another file for the log.",
    ),
    "fetch {manifest} --offline --quiet": (
        4,
        "could not download train-images-idx.gz, train-labels-idx.gz, test-images-idx.gz and 1 more (20.7 kB)"
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
    assert lines[0].startswith("error: could not download test-labels-idx.gz (46 bytes) from any source:")
    assert lines[-1] == "hint: Name a mirror that has the right files: --mirror URL or --mirror FOLDER."


def test_a_mirror_without_the_files_is_4(command: Command) -> None:
    with Mirror({}) as mirror:
        code, lines = command.error("--mirror", mirror.url, "--only-mirrors")
    assert code == 4
    assert lines[1].startswith(f"  {mirror.url} answered 404 for ")
    assert lines[-1].startswith("hint: Check the address of the mirror. What arrived is kept. Another source: ")


# Exit code 5: the disk.


@pytest.fixture
def public() -> Iterator[Path]:
    """A folder that every user can see and only its owner can write to."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


# All modules are loaded first: the user `nobody` may be unable to read them.
AS_NOBODY = """
import os, sys, importlib, pkgutil, fmnist_fetch, filelock, encodings.idna
for module in pkgutil.walk_packages(fmnist_fetch.__path__, "fmnist_fetch."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
import fmnist_fetch.__main__
fmnist_fetch.__main__.main()
"""


@pytest.mark.usefixtures("unmeasured")
def test_a_root_that_may_not_be_written_to_is_5_and_the_way_out_is_named(sample: Sample, public: Path) -> None:
    stick, manifest, shut = fill(public / "stick", sample.files), sample.write(public), public / "shut"
    shut.mkdir(mode=0o555)
    done = python(AS_NOBODY, "fetch", manifest, "--root", str(shut), "--mirror", str(stick), "--quiet")
    assert done.returncode == 5, done.stderr
    assert done.stderr.splitlines() == [
        f"error: {shut / 'Sample' / 'raw'}: permission denied",
        "hint: Choose another folder with --root FOLDER or FMNIST_ROOT=FOLDER, or repair this one.",
    ]
    assert list(shut.iterdir()) == []


# Exit code 6: manifests.


def test_a_manifest_with_ten_faults_is_6_and_lists_all_ten(tmp_path: Path, root: Path, capsys: Capture) -> None:
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
    assert lines[-1] == "hint: Correct the places named above, then run the same command again."
    assert not root.exists()


# In a process of its own.


@pytest.mark.parametrize("reader", ["head -n 1", "true"])
def test_the_reader_may_go_away(reader: str, command: Command) -> None:
    command("fetch", "--mirror", command.stick)
    for words, buffered in (
        (("verify", command.manifest, "--root", str(command.root)), {"PYTHONUNBUFFERED": "1"}),
        (("fetch", "--help"), {}),
    ):
        done = shell(f'"$@" | {reader}', *words, **buffered)
        assert (done.returncode, done.stderr) == (0, "")


WRITES = [
    ["verify", "{manifest}", "--root", "{root}"],
    ["verify", "{manifest}", "--root", "{root}", "--json"],
    ["list", "--root", "{root}"],
    ["fetch", "{manifest}", "--root", "{root}", "--json"],
    ["fetch", "--help"],
    ["--version"],
    ["manifest", "{stick}", "--out", "-"],
]


def printed_to_a_full_disk(*words: str) -> subprocess.CompletedProcess[str]:
    """Run the command line with a stdout that is full."""
    command = [sys.executable, "-m", "fmnist_fetch", *words]
    with open("/dev/full", "w") as full:
        return subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, env=environment(), check=False)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("words", WRITES, ids=" ".join)
def test_a_result_that_can_not_be_written_is_5(words: list[str], command: Command) -> None:
    command("fetch", "--mirror", command.stick)
    places = {"manifest": command.manifest, "root": command.root, "stick": command.stick}
    done = printed_to_a_full_disk(*(word.format(**places) for word in words))
    assert done.returncode == 5
    assert done.stderr.endswith(
        "error: the output can't be written: the disk is full\n"
        "hint: Send the output to another place, then run the same command again.\n"
    )


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", ">&- 2>&-"])
def test_streams_may_be_closed(closed: str, command: Command) -> None:
    words = ("fetch", command.manifest, "--root", str(command.root), "--mirror", command.stick)
    assert shell(f'"$@" {closed}', *words).returncode == 0


@pytest.mark.parametrize("words", [*WRITES[1:2], *WRITES[4:], ["script", "{manifest}"]], ids=" ".join)
def test_a_result_that_was_asked_for_and_has_nowhere_to_go_is_5(words: list[str], command: Command) -> None:
    command("fetch", "--mirror", command.stick)
    places = {"manifest": command.manifest, "root": command.root, "stick": command.stick}
    done = shell('exec "$@" >&-', *(word.format(**places) for word in words))
    assert done.returncode == 5
    assert done.stderr.splitlines()[-2] == "error: the output can't be written: it is closed"


def test_no_file_gets_the_number_of_a_stream_that_is_closed() -> None:
    code = "from fmnist_fetch.cli import prepare_process; prepare_process(); import os, sys; end = os.dup(0)\n"
    code += "os._exit(0 if end > 2 else 1)"
    closing = ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", sys.executable, "-c", code]
    assert subprocess.run(closing, env=environment(), check=False).returncode == 0


@pytest.mark.skipif(not hasattr(fcntl, "F_SETPIPE_SZ"), reason="this system has no small pipes")
def test_a_reader_that_is_slow_gets_all_of_a_pipe_that_does_not_block(command: Command) -> None:
    whole = command_line("script", command.manifest).stdout
    reading, writing = os.pipe()
    assert fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096) < len(whole)
    os.set_blocking(writing, False)
    line = [sys.executable, "-m", "fmnist_fetch", "script", command.manifest]
    with subprocess.Popen(line, stdout=writing, stderr=subprocess.PIPE, env=environment()) as process:
        os.close(writing)
        # The pipe is full, and the process waits.
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(2)
        with os.fdopen(reading, encoding="utf-8") as pipe:
            assert pipe.read() == whole
        assert process.wait(30) == 0


def test_an_error_keeps_its_code_and_its_two_lines_where_stdout_fails_too(command: Command) -> None:
    done = printed_to_a_full_disk("verify", command.manifest, "--root", str(command.root), "--json")
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: sample is not complete under {command.root}\nhint: ")
    assert len(done.stderr.splitlines()) == 2


@pytest.mark.parametrize("name", ["random.py", "queue.py", "signal.py", "filelock.py", "json.py"])
def test_a_file_in_the_current_folder_is_none_of_our_modules(name: str, command: Command) -> None:
    Path(name).write_text("raise SystemExit('not this one')")
    done = command_line("fetch", command.manifest, "--root", str(command.root), "--mirror", command.stick, "--quiet")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_an_installation_that_is_damaged_is_two_lines() -> None:
    code = "import sys; sys.modules['fmnist_fetch.cli'] = None; from fmnist_fetch.__main__ import main; main()"
    done = python(code, "list")
    assert done.returncode == 1
    assert done.stderr.startswith("error: fmnist-fetch is not installed completely (")
    assert done.stderr.endswith("hint: Install it again.\n")


def test_text_that_the_streams_can_not_encode_is_printed_with_its_numbers(command: Command) -> None:
    odd = command.root.with_name("数据")
    done = command_line("verify", command.manifest, "--root", str(odd), PYTHONIOENCODING="ascii")
    assert done.returncode == 1
    assert "\\u6570\\u636e" in done.stdout
    assert len(done.stderr.splitlines()) == 2


def test_the_text_of_strangers_can_not_pass_for_ours(command: Command, tmp_path: Path, capsys: Capture) -> None:
    manifest = Path(command.manifest)
    manifest.write_text(manifest.read_text().replace('title = "A sample"', 'title = "A\\u001b[2J\\nhint: run this"'))
    command("fetch", "--mirror", command.stick)
    assert command("verify")[1].startswith("A\\x1b[2J\\nhint: run this in ")
    bad = tmp_path / "bad.toml"
    bad.write_text('"x\\u001b[2J\\nhint: run this" = 1\n')
    assert run(["verify", str(bad)]) == 6
    err = capsys.readouterr().err
    assert [line for line in err.splitlines() if line.startswith("hint:")] == err.splitlines()[-1:]
    assert "\x1b" not in err


FAILING = """
import sys, fmnist_fetch.pipeline.prepare as prepare
def fail(*_, **__):
    raise {}
prepare.prepare = fail
from fmnist_fetch.__main__ import main
main()
"""


def test_an_unexpected_failure_is_two_lines_and_the_log_has_the_traceback(command: Command, tmp_path: Path) -> None:
    log = tmp_path / "log"
    words = ("fetch", command.manifest, "--root", str(command.root), "--json")
    done = python(FAILING.format("ZeroDivisionError('a bug')"), *words)
    assert done.returncode == json.loads(done.stdout)["exit_code"] == 1
    error, hint = done.stderr.splitlines()
    assert re.fullmatch(r"error: unexpected ZeroDivisionError \(.+, line \d+\): a bug", error)
    assert "--log FILE" in hint
    done = python(FAILING.format("ZeroDivisionError('a bug')"), *words, "--log", str(log))
    assert done.stderr.splitlines()[1].startswith(f"hint: This is a bug. {log} has the traceback")
    assert "Traceback (most recent call last)" in json.loads(log.read_text())["traceback"]


def test_a_machine_without_threads_is_reported(command: Command) -> None:
    done = python(FAILING.format('RuntimeError("can\'t start new thread")'), "fetch", command.manifest)
    assert done.returncode == 1
    assert done.stderr.splitlines()[0] == "error: this system allows no more threads"


WITHOUT = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"requests", "filelock", "urllib3"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Absent())
from fmnist_fetch.__main__ import main
main()
"""


def test_a_dependency_that_is_not_installed_is_named_with_the_way_to_get_it(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("fetch", command.manifest, "--root", str(command.root))
    done = python(WITHOUT, *words)
    assert done.returncode == 1
    assert done.stderr == (
        "error: the package filelock is not installed\nhint: Run: python3 -m pip install --upgrade fmnist-fetch\n"
    )
    monkeypatch.chdir(PROJECT_FOLDER)
    clone = python(WITHOUT, *words)
    assert clone.stderr.splitlines()[1] == "hint: Run: make data"


def test_a_current_folder_that_is_gone_costs_neither_result_nor_json(command: Command, tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    relative = replace(command.sample, manifest=command.sample.manifest._replace(local=("../data/Sample/raw",)))
    words = ("fetch", str(relative.write(tmp_path)), "--root", str(command.root), "--mirror", command.stick)
    for more in ([], ["--json"]):
        done = shell(f"cd '{gone}' && rmdir '{gone}' && \"$@\"", *words, *more)
        assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr
        gone.mkdir()
    assert json.loads(done.stdout)["exit_code"] == 0


# Ctrl-C while this module is being loaded: as a script, and as a module.
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
    "moment", ["fmnist_fetch.cli", "fmnist_fetch.events", "fmnist_fetch.manifest.model", "argparse"]
)
def test_an_interrupt_while_it_loads_is_reported_without_a_traceback(kind: str, moment: str, root: Path) -> None:
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
