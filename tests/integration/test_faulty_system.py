"""File systems that refuse calls, do half of what was asked, or describe their files in odd ways."""

from __future__ import annotations

import sys
from pathlib import Path
from subprocess import run

import pytest

from faulty_system import library, variables
from processes import command, environment_of, fetch
from samples import fill
from worlds import World, small


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return library(tmp_path_factory.mktemp("faulty"))


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World(tmp_path, small())
    fill(tmp_path / "stick", world.data.files)
    return world


NO_FAILURES = [
    "fsync=EINVAL,fdatasync=EINVAL,fsync-folder=EINVAL",
    "fsync=ENOTSUP,fdatasync=ENOTSUP,fsync-folder=EACCES",
    "fsync=ENOSYS,fdatasync=ENOSYS,open-folder=EISDIR",
    "rename-open=EACCES",
    "rename-open=EBUSY",
    "rename-open=EPERM",
    "rename-open=ETXTBSY",
    "flock=ENOLCK",
    "flock=ENOSYS",
    "flock=ENOTSUP",
    "fadvise=EINVAL,mmap=ENODEV,statvfs=ENOSYS,utime=EPERM,chmod=EPERM,ftruncate=EPERM",
    "statvfs=zero,mmap=EACCES",
    "open-nofollow=EINVAL",
    "pread=short",
    "pread=ENOSYS",
    "read=short",
    "read=interrupted,write=interrupted",
    "write=short",
    "inode=0,mtime=coarse",
    "inode=changing",
    "inode=changing,rename-open=EACCES,flock=ENOLCK,fsync=EINVAL",
    "clock=jumping",
    "getcwd=ENOENT",
]


@pytest.mark.parametrize("faults", NO_FAILURES)
def test_a_refusal_that_is_no_failure_costs_no_download(faults: str, world: World, built: Path) -> None:
    stick = str(world.folder / "stick")
    outcome = fetch(world, stick, env=variables(built, world.root, faults), code=0)
    assert outcome.result["received"] == {stick: world.data.size}


# What fails, after how many bytes that were written, and the words for it.
FAILURES = {
    ("write=ENOSPC", 0): ("the disk is full", "Free some space"),
    ("write=ENOSPC", 300_000): ("the disk is full", "Free some space"),
    ("write=ENOSPC", 800_000): ("the disk is full", "Free some space"),
    ("write=EDQUOT", 300_000): ("your disk quota is used up", "Free some space"),
    ("write=EFBIG", 300_000): ("the file is too large for this file system", "Choose another folder"),
    ("write=EIO", 300_000): ("Input/output error", "Choose another folder"),
    ("fsync=EIO", 0): ("Input/output error", "Choose another folder"),
    ("fsync=ENOSPC", 0): ("the disk is full", "Free some space"),
    ("rename=EIO", 0): ("Input/output error", "Choose another folder"),
}


@pytest.mark.parametrize(("faults", "after"), FAILURES)
def test_a_failure_has_its_own_words_and_the_next_run_resumes(
    faults: str, after: int, world: World, built: Path
) -> None:
    stick = str(world.folder / "stick")
    outcome = fetch(world, stick, env=variables(built, world.root, faults, after))
    words, hint = FAILURES[faults, after]
    assert outcome.code == 5
    assert words in outcome.message
    assert str(world.root) in outcome.message
    assert outcome.hint.startswith(hint)
    world.assert_nothing_wrong()
    files = world.data.manifest.files
    kept = sum(file.pieces[index].span.length for file in files for index in world.good(file.name))
    outcome = fetch(world, stick)
    assert outcome.code == 0
    assert sum(outcome.result["received"].values()) <= world.data.size - kept
    world.assert_complete()


@pytest.mark.parametrize(
    "faults", ["read=short", "mmap=ENODEV", "inode=changing", "inode=0,mtime=coarse", "read=interrupted"]
)
def test_a_complete_dataset_verifies_and_loads(faults: str, world: World, built: Path) -> None:
    fetch(world, str(world.folder / "stick"), code=0)
    more = environment_of(world, **variables(built, world.root, faults))
    done = run(
        command(world, [], name="verify"), env=more, cwd=world.folder, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    code = f"""
import fmnist_fetch
print(fmnist_fetch.load({str(world.manifest)!r}, root={str(world.root)!r}, verify="always").images.sum())
"""
    done = run([sys.executable, "-c", code], env=more, cwd=world.folder, capture_output=True, text=True, timeout=60)
    assert done.stdout == f"{sum(world.data.payloads['train-images-idx3-ubyte'][16:])}\n", done.stderr
    world.assert_complete()
