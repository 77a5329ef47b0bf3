"""The kit: its content, that its bytes depend on nothing else, and what an unpacked one reports of its damage."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from fmnist_fetch.commands.kit import check
from fmnist_fetch.commands.kit import pack as packs
from fmnist_fetch.commands.kit.pack import (
    TOP,
    Entry,
    Project,
    data_entries,
    pack,
    uncommitted,
    wheel_entries,
    write_tar,
)
from fmnist_fetch.commands.kit.wheels import Target
from fmnist_fetch.errors import DiskError, FetchError, IntegrityError, UsageError
from fmnist_fetch.events import Event, Message, silent
from fmnist_fetch.storage.atomic import unfinished
from processes import command_line
from samples import PROJECT_FOLDER, Sample, disk_of, fill, flipped, sha256

HERE = Target.parse(None, None)
PYPROJECT = """
[build-system]
requires = ["builder>=1"]
[project]
name = "example"
dependencies = ["one>=2"]
[project.optional-dependencies]
train = ["torch>=2", "torch-extras", "plots"]
test = ["tester"]
lint = ["linter"]
"""


def git(folder: Path, *words: str) -> str:
    if not shutil.which("git"):
        pytest.skip("git is not installed")
    identity = ("-c", "user.name=Nobody", "-c", "user.email=nobody@example.invalid", "-c", "init.defaultBranch=main")
    # A fixed date: a commit made a second later would be another commit.
    dated = {**os.environ, "GIT_COMMITTER_DATE": "1700000000 +0000", "GIT_AUTHOR_DATE": "1700000000 +0000"}
    command = ["git", *identity, *words]
    return subprocess.run(command, cwd=folder, env=dated, capture_output=True, text=True, check=True).stdout


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Return a small project under git."""
    folder = fill(tmp_path / "checkout", {"pyproject.toml": PYPROJECT.encode(), "Makefile": b"all:\n", "run": b"#!\n"})
    fill(folder / "inner", {"code.py": b"x = 1\n"})
    (folder / "run").chmod(0o755)
    git(folder, "init", "--quiet")
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "--message", "First")
    return folder


@pytest.fixture
def project() -> Project:
    """Return the same project, without the help of git."""
    files = {"pyproject.toml": PYPROJECT.encode(), "Makefile": b"all:\n", "inner/code.py": b"x = 1\n"}
    entries = [Entry(name, data) for name, data in files.items()]
    return Project("c0ffee" * 6, 1_700_000_000, (*entries, Entry("run", b"#!\n", executable=True)))


@pytest.fixture
def wheels(tmp_path: Path) -> list[Path]:
    folder = fill(tmp_path / "wheels", {"one-2-py3-none-any.whl": b"one", "two-1-py3-none-any.whl": b"two" * 999})
    return sorted(folder.iterdir())


class Packing:
    """A kit of the small project, the complete dataset and the wheels, unless a test gives something else."""

    def __init__(self, project: Project, sample: Sample, root: Path, wheels: list[Path], folder: Path) -> None:
        self.project, self.sample, self.root, self.wheels = project, sample, root, wheels
        self.out, self._folder = folder / "kit.tar", folder

    def __call__(self, project: Project | None = None, machine: str = HERE.description, out: Path | None = None) -> int:
        listed = wheel_entries(self.wheels, HERE) if self.wheels else []
        return pack(out or self.out, project or self.project, self.data(), listed, machine, silent)

    def data(self) -> list[Entry]:
        return data_entries(self.sample.layout(self.root))

    def unpacked(self) -> Path:
        return unpacked(self.out, self._folder / "lab")


@pytest.fixture
def packing(project: Project, sample: Sample, complete: Path, wheels: list[Path], tmp_path: Path) -> Packing:
    return Packing(project, sample, complete, wheels, tmp_path)


def unpacked(out: Path, folder: Path) -> Path:
    with tarfile.open(out) as tar:
        # Python has it since 3.11.4, and warns without it since 3.12.
        tar.extraction_filter = getattr(tarfile, "data_filter", None)
        tar.extractall(folder)
    return folder / TOP


def test_the_same_input_gives_the_same_bytes(checkout: Path, packing: Packing, tmp_path: Path) -> None:
    first, second = tmp_path / "first.tar", tmp_path / "deeper" / "second.tar"
    packing(Project.at(checkout), out=first)
    # Times, permissions and the order in which a folder lists its files are not part of the input.
    for path in (*packing.sample.layout(packing.root).raw.iterdir(), *packing.wheels, checkout / "Makefile"):
        os.utime(path, (1, 1))
        path.chmod(0o600)
    again = tmp_path / "again"
    git(tmp_path, "clone", "--quiet", str(checkout), str(again))
    packing.wheels.reverse()
    before = os.umask(0o077)
    try:
        packing(Project.at(again), out=second)
    finally:
        os.umask(before)
    assert first.read_bytes() == second.read_bytes()


def test_it_unpacks_to_one_folder_with_the_project_the_data_the_wheels_and_digests_of_all(packing: Packing) -> None:
    files_packed = packing()
    with tarfile.open(packing.out) as tar:
        members = tar.getmembers()
    assert [member.name for member in members] == sorted(member.name for member in members)
    assert {(m.uid, m.gid, m.uname, m.gname, m.mtime) for m in members} == {(0, 0, "", "", 1_700_000_000)}
    folder, files = packing.unpacked(), packing.sample.files
    found = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert {name: found[f"mirror/{name}"] for name in files} == files
    assert all(found[f"wheels/{path.name}"] == path.read_bytes() for path in packing.wheels)
    assert found["inner/code.py"] == b"x = 1\n"
    assert os.access(folder / "run", os.X_OK)
    assert not os.access(folder / "Makefile", os.X_OK)
    *lines, count = found.pop("SHA256SUMS").decode().splitlines()
    listed = dict(line.split("  ", 1)[::-1] for line in lines)
    assert listed == {name: sha256(data) for name, data in found.items()}
    assert count == f"# {len(listed)} files"
    assert files_packed == len(members)
    assert list(check.faults(folder)) == []


def test_only_what_is_committed_is_packed_and_what_differs_is_named(checkout: Path, packing: Packing) -> None:
    (checkout / "Makefile").write_bytes(b"changed:\n")
    (checkout / "notes").write_bytes(b"untracked")
    assert uncommitted(checkout) == ["Makefile"]
    packing.wheels.clear()
    packing(Project.at(checkout))
    folder = packing.unpacked()
    assert (folder / "Makefile").read_bytes() == b"all:\n"
    assert not (folder / "notes").exists()
    assert not (folder / "wheels").exists()


@pytest.mark.parametrize("machine", [HERE.description, "Python 3.13 on win_amd64"])
@pytest.mark.parametrize("with_wheels", [True, False])
def test_the_note_is_one_screen_and_has_the_commands_of_the_machine(
    machine: str, with_wheels: bool, packing: Packing
) -> None:
    if not with_wheels:
        packing.wheels.clear()
    packing(machine=machine)
    lines = (packing.unpacked() / "LAB.txt").read_text().splitlines()
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 80
    for command in ("py -m fmnist_fetch.environment train",) if "win" in machine else ("make data ", "make train "):
        assert any(command in line for line in lines)


@pytest.mark.parametrize("how", ["absent", "damaged"])
def test_no_kit_is_made_of_data_that_does_not_verify(how: str, packing: Packing) -> None:
    path = packing.sample.layout(packing.root).published(packing.sample.file())
    if how == "absent":
        path.unlink()
    else:
        path.write_bytes(flipped(path.read_bytes(), 77))
    with pytest.raises(IntegrityError if how == "damaged" else FetchError, match=path.name) as caught:
        packing()
    assert "fmnist-fetch fetch" in caught.value.hint
    assert not packing.out.exists()


def test_a_project_that_has_files_of_the_kits_own_names_is_refused(packing: Packing) -> None:
    for name in (f"mirror/{packing.sample.file().name}", "LAB.txt", "SHA256SUMS"):
        greedy = packing.project._replace(entries=(*packing.project.entries, Entry(name, b"mine")))
        with pytest.raises(UsageError, match=name):
            packing(greedy)
    assert not packing.out.exists()


def test_a_folder_without_commits_can_not_be_packed(tmp_path: Path) -> None:
    git(tmp_path, "--version")
    with pytest.raises(UsageError, match="is not a git checkout that can be packed"):
        Project.at(tmp_path)


def test_a_failure_in_the_middle_leaves_the_earlier_kit_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "kits" / "kit.tar"
    write_tar(out, [Entry("one", b"1")], 0, silent)
    before = disk_of(out.parent)

    def fail(_: Event) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(packs, "REPORT_EVERY_BYTES", 1)
    with pytest.raises(DiskError, match="the disk is full"):
        write_tar(out, [Entry("one", bytes(50_000))], 0, fail)
    assert disk_of(out.parent) == before


def test_what_killed_runs_left_is_removed(tmp_path: Path) -> None:
    out = tmp_path / "kits" / "kit.tar"
    out.parent.mkdir()
    unfinished(out).write_bytes(bytes(1000))
    write_tar(out, [Entry("one", b"1")], 0, silent)
    assert list(out.parent.iterdir()) == [out]


def test_long_steps_are_reported(packing: Packing, tmp_path: Path) -> None:
    large = fill(tmp_path / "large", {f"large-{n}-py3-none-any.whl": bytes(110_000_000) for n in range(2)})
    events: list[Event] = []
    listed = wheel_entries(list(large.iterdir()), HERE)
    pack(packing.out, packing.project, packing.data(), listed, HERE.description, events.append)
    reported = [event.sentence for event in events if isinstance(event, Message)]
    assert [sentence.partition(" ")[0] for sentence in reported] == ["hashing", "packing:", "packing:"]


def test_the_lock_is_the_committed_one(checkout: Path) -> None:
    with pytest.raises(UsageError, match=r"no pylock\.toml"):
        Project.at(checkout).lock()
    shutil.copy(PROJECT_FOLDER / "pylock.toml", checkout)
    git(checkout, "add", ".")
    git(checkout, "commit", "--quiet", "--message", "Lock")
    (checkout / "pylock.toml").write_text("not committed")
    assert Project.at(checkout).lock().tool("packaging")


# The check of an unpacked kit.


@pytest.fixture
def lab(packing: Packing) -> Path:
    """Return an unpacked kit."""
    packing()
    return packing.unpacked()


def listed(sums: Path) -> list[str]:
    """Return the lines of SHA256SUMS, without its count."""
    return sums.read_text().splitlines()[:-1]


def relist(sums: Path, lines: list[str]) -> None:
    """Write SHA256SUMS with these lines."""
    sums.write_text("".join(f"{line}\n" for line in [*lines, check.count_line(len(lines))]))


def checked(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run the check as make does: nothing of the package can be imported."""
    command = [sys.executable, "-I", str(Path(check.__file__)), *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("name", ["wheels/two-1-py3-none-any.whl", "inner/code.py", "Makefile", "LAB.txt"])
@pytest.mark.parametrize("how", ["is damaged", "is missing"])
def test_a_damaged_kit_names_the_file(name: str, how: str, lab: Path) -> None:
    path = lab / name
    if how == "is missing":
        path.unlink()
    else:
        path.write_bytes(flipped(path.read_bytes(), -1))
    before = disk_of(lab)
    done = checked(lab)
    assert done.returncode == 3
    assert done.stderr.splitlines()[:2] == ["error: this kit is damaged:", f"  {name} {how}"]
    assert done.stderr.splitlines()[-1].startswith("hint: Unpack the kit again")
    # If only the wheels are checked, the changes of a student are no damage.
    assert checked(lab, "wheels/").returncode == (3 if name.startswith("wheels/") else 0)
    assert disk_of(lab) == before


def test_damage_in_the_mirror_is_a_note_because_its_good_pieces_are_used(sample: Sample, lab: Path) -> None:
    path = lab / "mirror" / sample.file().name
    path.write_bytes(flipped(path.read_bytes(), 1500))
    done = checked(lab)
    assert (done.returncode, done.stderr) == (0, f"note: mirror/{path.name} is damaged; its good pieces are used\n")


def test_a_damaged_list_of_digests_is_an_error(lab: Path) -> None:
    sums = lab / "SHA256SUMS"
    sums.write_bytes(b"\xff" + sums.read_bytes()[1:])
    assert "SHA256SUMS is damaged in line 1" in checked(lab).stderr


@pytest.mark.parametrize("path", ["../secret", "wheels/../../secret", "/etc/passwd", "inner/.."])
def test_a_path_out_of_the_kit_is_damage_of_the_list(path: str, lab: Path) -> None:
    sums = lab / "SHA256SUMS"
    relist(sums, [*listed(sums), f"{'0' * 64}  {path}"])
    assert f"SHA256SUMS is damaged in line {len(listed(sums))}\n" in checked(lab).stderr


@pytest.mark.parametrize("name", ["wheels/two-1-py3-none-any.whl", "SHA256SUMS"])
@pytest.mark.parametrize("put_there", [os.mkfifo, Path.mkdir, lambda path: path.symlink_to("/dev/zero")])
def test_what_is_no_file_is_damage_and_not_waited_for(put_there: Callable[[Path], None], name: str, lab: Path) -> None:
    (lab / name).unlink()
    put_there(lab / name)
    done = checked(lab)
    assert done.returncode == 3
    assert f"  {name} cannot be read (" in done.stderr


def test_a_name_in_the_list_can_not_write_to_the_terminal(lab: Path) -> None:
    sums = lab / "SHA256SUMS"
    relist(sums, [*listed(sums), *(f"{'0' * 64}  {folder}/a\x1b]0;x\x07\u202eb" for folder in ("mirror", "other"))])
    done = checked(lab)
    assert done.stderr.replace("\n", "").isprintable()
    assert done.stderr.count("/a\\x1b]0;x\\x07\\u202eb is missing") == 2


@pytest.mark.parametrize("lines", [0, 1, -2, -1])
def test_a_list_of_digests_that_was_cut_off_is_an_error(lines: int, lab: Path) -> None:
    sums = lab / "SHA256SUMS"
    whole = sums.read_text().splitlines(keepends=True)
    sums.write_text("".join(whole[:lines]))
    for part in ([], ["wheels/"]):
        done = checked(lab, *part)
        assert done.returncode == 3
        assert "SHA256SUMS is cut off" in done.stderr
    # Without a line in the middle, one file would not be checked.
    sums.write_text("".join(whole[:2] + whole[3:]))
    assert checked(lab).returncode == 3


@pytest.mark.skipif(not shutil.which("sha256sum"), reason="sha256sum is not installed")
def test_sha256sum_checks_the_list_too(lab: Path) -> None:
    command = ["sha256sum", "--quiet", "--strict", "-c", "SHA256SUMS"]
    done = subprocess.run(command, cwd=lab, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_much_damage_is_listed_in_few_lines(lab: Path) -> None:
    sums = lab / "SHA256SUMS"
    relist(sums, [*listed(sums), *(f"{'0' * 64}  lost/{number}" for number in range(20))])
    lines = checked(lab).stderr.splitlines()
    assert len(lines) == 11
    assert lines[-2] == "  and 12 more"


def test_a_whole_kit_and_a_folder_that_is_no_kit_pass(lab: Path, tmp_path: Path) -> None:
    assert checked(lab).stderr == ""
    assert checked(lab).returncode == 0
    empty = tmp_path / "empty"
    empty.mkdir()
    assert checked(empty).returncode == 0


@pytest.mark.parametrize(
    ("target", "said"),
    [("3.99 {machine}", "for Python 3.99, and this is"), ("{python} vax", "for vax, and this machine is")],
)
def test_wheels_for_another_machine_are_an_error_before_any_installation(target: str, said: str, lab: Path) -> None:
    about = target.format(machine=HERE.machine, python=HERE.python).encode() + b"\n"
    (lab / "wheels" / "TARGET").write_bytes(about)
    sums = lab / "SHA256SUMS"
    lines = [line for line in listed(sums) if not line.endswith("wheels/TARGET")]
    relist(sums, [*lines, f"{hashlib.sha256(about).hexdigest()}  wheels/TARGET"])
    done = checked(lab)
    assert done.returncode == 3
    assert said in done.stderr


@pytest.mark.skipif(not shutil.which("make"), reason="make is not installed")
def test_make_installs_nothing_from_a_damaged_kit(lab: Path) -> None:
    for name in ("Makefile", "pylock.toml", "fmnist_fetch/commands/kit/check.py"):
        (lab / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(PROJECT_FOLDER / name, lab / name)
    sums = lab / "SHA256SUMS"
    relist(sums, [line for line in listed(sums) if "Makefile" not in line])
    wheel = lab / "wheels" / "two-1-py3-none-any.whl"
    wheel.write_bytes(flipped(wheel.read_bytes(), 5))
    before = disk_of(lab)
    command = ["make", "data", f"PYTHON={sys.executable}"]
    done = subprocess.run(command, cwd=lab, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "wheels/two-1-py3-none-any.whl is damaged" in done.stderr
    assert disk_of(lab) == before
    assert not (lab / ".venv").exists()


def test_the_verb_packs_this_checkout_with_the_real_data(real_root: Path, tmp_path: Path) -> None:
    if not (PROJECT_FOLDER / ".git").exists() or not shutil.which("git"):
        pytest.skip("not in a git checkout")
    out = tmp_path / "kit.tar"
    done = command_line("kit", str(out), "--no-wheels", "--root", str(real_root))
    assert done.returncode == 0, done.stderr
    assert "make data && make train" in done.stdout
    folder = unpacked(out, tmp_path / "lab")
    assert checked(folder).returncode == 0
    assert (folder / "Makefile").exists()
    assert not (folder / "wheels").exists()
