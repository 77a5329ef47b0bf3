"""Conditions of the machine during a run: signals, other processes, disks, limits of memory."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import fmnist_fetch
from faults import (
    KIB,
    MIB,
    CutAfter,
    Drip,
    FlipByte,
    Line,
    LoginPage,
    Mirror,
    SayNothing,
    StallAfter,
    Status,
)
from fmnist_fetch import FetchError
from processes import command, environment_of, fetch, several, start, verify
from worlds import IMAGES, PIECE, World, dataset

WIRE = 3 * MIB
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a file system")


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path, dataset())


# Signals.


@pytest.mark.parametrize(
    ("number", "code", "word"),
    [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated"), (signal.SIGHUP, 143, "terminated")],
)
def test_an_interrupted_run_says_what_is_kept_and_keeps_it(
    world: World, number: signal.Signals, code: int, word: str
) -> None:
    with Mirror(world.data.files, [Line(MIB)]) as mirror:
        with start(world, mirror.url) as run:
            run.until(lambda: mirror.served >= MIB)
            run.signal(number)
            outcome = run.wait(timeout=10)
        before = mirror.served
        assert outcome.code == code
        assert outcome.message == word
        kept = world.kept()
        assert kept >= 8
        assert outcome.hint.startswith(f"{kept} of {world.data.pieces} pieces are good and kept")
        assert outcome.result["error"] == word
        world.assert_nothing_wrong()
        assert fetch(world, mirror.url).code == 0
        assert mirror.served <= 1.05 * world.data.size
        assert mirror.served - before <= (world.data.pieces - kept) * PIECE
    world.assert_complete()


@pytest.mark.parametrize("fault", [SayNothing(), StallAfter(1000), Drip(10), Status(503), LoginPage()])
def test_an_interrupt_ends_a_run_that_waits_for_a_mirror(world: World, fault: SayNothing) -> None:
    with Mirror(world.data.files, [fault]) as mirror, start(world, mirror.url) as run:
        run.until(lambda: bool(mirror.journal))
        run.signal(signal.SIGINT)
        # Less than the time-out of a mirror, which is five seconds.
        outcome = run.wait(timeout=4)
    assert outcome.code == 130
    assert "Run the same command again" in outcome.hint


def test_a_second_interrupt_does_no_harm(world: World) -> None:
    with Mirror(world.data.files, [Line(MIB)]) as mirror, start(world, mirror.url) as run:
        run.until(lambda: mirror.served >= MIB)
        run.signal(signal.SIGINT)
        with contextlib.suppress(ProcessLookupError):
            run.signal(signal.SIGTERM)
        # The second signal may arrive at the very end of the process, where Python handles signals no more.
        assert run.wait(timeout=10).code in (130, 143, -signal.SIGTERM)
    world.assert_nothing_wrong()


# Several processes.


def test_four_processes_on_one_root_make_one_download(world: World) -> None:
    with Mirror(world.data.files, [Line(WIRE)]) as mirror:
        runs = [start(world, mirror.url) for _ in range(4)]
        with several(runs):
            outcomes = [run.wait() for run in runs]
        assert mirror.served == world.data.size
    assert [outcome.code for outcome in outcomes] == [0] * 4
    assert sum("another process is fetching this dataset" in outcome.err for outcome in outcomes) == 3
    world.assert_complete()


def test_a_dead_owner_of_the_lock_delays_no_other_process(world: World) -> None:
    with Mirror(world.data.files, [Line(WIRE)]) as mirror:
        with several([first := start(world, mirror.url), second := start(world, mirror.url)]):
            first.until(lambda: mirror.served >= MIB)
            holder, other = (second, first) if "waiting for it" in first.err else (first, second)
            holder.signal(signal.SIGKILL)
            outcome = other.wait()
        assert outcome.code == 0
        assert mirror.served <= 1.1 * world.data.size
    world.assert_complete()


def test_a_stopped_owner_of_the_lock_is_overtaken_and_still_ends_right(world: World) -> None:
    with Mirror(world.data.files, [Line(WIRE)]) as mirror:
        with several([sleeper := start(world, mirror.url)]):
            sleeper.until(lambda: mirror.served >= MIB)
            sleeper.signal(signal.SIGSTOP)
            outcome = fetch(world, mirror.url)
            assert outcome.code == 0
            assert outcome.err.count("makes no progress; going on without the lock") == 1
            asleep = [path.name for path in world.raw.iterdir() if path.suffix == ".tmp"]
            world.assert_complete(leftovers=asleep)
            sleeper.signal(signal.SIGCONT)
            assert sleeper.wait().code == 0
        # It continues with its own work and does not read the disk again: at most twice the bytes.
        assert mirror.served <= 2.05 * world.data.size
    world.assert_complete()


def test_a_lock_that_can_not_be_taken_is_mentioned_once_and_does_no_harm(world: World) -> None:
    lock = world.root / world.data.manifest.folder / ".lock"
    lock.mkdir(parents=True)
    with Mirror(world.data.files, [Line(WIRE)]) as mirror:
        runs = [start(world, mirror.url) for _ in range(2)]
        with several(runs):
            outcomes = [run.wait() for run in runs]
    assert [outcome.code for outcome in outcomes] == [0, 0]
    assert [outcome.err.count("the lock can't be taken here") for outcome in outcomes] == [1, 1]
    world.assert_complete()


# Disks.


@contextlib.contextmanager
def tmpfs(place: Path, options: str) -> Iterator[Path]:
    """Yield a small file system of its own."""
    place.mkdir(exist_ok=True)
    if subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", place], capture_output=True).returncode:
        pytest.skip("this machine lets nobody mount a tmpfs")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", place], check=True)


def remount(place: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", place], check=True)


@needs_root
def test_a_full_disk_is_reported_with_path_and_space_and_the_next_run_resumes(tmp_path: Path) -> None:
    with tmpfs(tmp_path / "disk", "size=2m") as disk:
        world = World(tmp_path, dataset(), root=disk / "root")
        with Mirror(world.data.files, [Line(WIRE)]) as mirror:
            outcome = fetch(world, mirror.url)
            assert outcome.code == 5
            assert "the disk is full" in outcome.message
            assert str(world.root) in outcome.message
            assert " needed)" in outcome.message
            assert "Free some space" in outcome.hint
            world.assert_nothing_wrong()
            kept, before = world.kept(), mirror.served
            assert kept >= 15
            remount(disk, "size=20m")
            assert fetch(world, mirror.url).code == 0
            assert mirror.served - before <= (world.data.pieces - kept) * PIECE
        world.assert_complete()


@needs_root
@pytest.mark.parametrize("size", ["4m", "6m"], ids=["unpacking", "the tensor file"])
def test_a_disk_that_gets_full_later_leaves_nothing_half_done(tmp_path: Path, size: str) -> None:
    with tmpfs(tmp_path / "disk", f"size={size}") as disk:
        world = World(tmp_path, dataset(), root=disk / "root")
        with Mirror(world.data.files) as mirror:
            outcome = fetch(world, mirror.url)
            assert outcome.code == 5
            assert "the disk is full" in outcome.message
            world.assert_nothing_wrong()
            assert not list(world.root.rglob("*.tmp"))
            remount(disk, "size=20m")
            assert fetch(world, mirror.url).code == 0
            assert mirror.served <= world.data.size + 8 * PIECE
        world.assert_complete()


@needs_root
def test_a_read_only_disk_is_reported_before_anything_is_fetched(tmp_path: Path) -> None:
    with tmpfs(tmp_path / "disk", "size=20m") as disk:
        world = World(tmp_path, dataset(), root=disk / "root")
        remount(disk, "ro")
        with Mirror(world.data.files) as mirror:
            outcome = fetch(world, mirror.url)
            assert mirror.connections == 0
        assert outcome.code == 5
        assert "the file system is read-only" in outcome.message
        assert str(world.root) in outcome.message
        assert "--root" in outcome.hint


def test_a_file_in_place_of_the_root_is_reported(world: World) -> None:
    world.root.write_text("I was here first")
    with Mirror(world.data.files) as mirror:
        outcome = fetch(world, mirror.url)
        assert mirror.connections == 0
    assert outcome.code == 5
    assert str(world.root) in outcome.message
    assert world.root.read_text() == "I was here first"


def test_a_folder_in_place_of_a_part_file_is_reported(world: World) -> None:
    world.part(IMAGES).mkdir(parents=True)
    with Mirror(world.data.files) as mirror:
        outcome = fetch(world, mirror.url)
    assert outcome.code == 5
    assert f"{world.part(IMAGES)}: this is a folder, not a file" in outcome.message


def test_a_root_removed_under_its_feet_ends_in_a_message_or_in_a_complete_dataset(world: World) -> None:
    with Mirror(world.data.files, [Line(MIB)]) as mirror:
        with start(world, mirror.url) as run:
            run.until(lambda: mirror.served >= MIB)
            shutil.rmtree(world.root)
            outcome = run.wait()
        world.assert_nothing_wrong()
        assert outcome.code in (0, 5)
        if outcome.code == 5:
            assert str(world.root) in outcome.message
        assert fetch(world, mirror.url).code == 0
    world.assert_complete()


def test_a_log_that_cannot_be_written_is_reported_at_once(world: World) -> None:
    with Mirror(world.data.files) as mirror:
        outcome = fetch(world, mirror.url, options=["--log", "/no/such/folder/log"])
        assert mirror.connections == 0
    assert outcome.code == 5
    assert "/no/such/folder/log" in outcome.message


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_progress_display_and_a_log_that_fail_cost_no_download(world: World) -> None:
    line = [*command(world, []), "--log", "/dev/full"]
    with Mirror(world.data.files, [CutAfter(300 * KIB)]) as mirror, open("/dev/full", "wb") as full:
        line += ["--mirror", mirror.url]
        env = environment_of(world)
        done = subprocess.run(line, stdout=subprocess.DEVNULL, stderr=full, env=env, cwd=world.folder, timeout=60)
    assert done.returncode == 0
    world.assert_complete()


def test_closed_streams_cost_no_download(world: World) -> None:
    with Mirror(world.data.files) as mirror:
        line = [word for word in command(world, [mirror.url]) if word != "--json"]
        closing = ["sh", "-c", 'exec "$@" >&- 2>&- <&-', "sh", *line]
        done = subprocess.run(closing, env=environment_of(world), cwd=world.folder, timeout=60)
    assert done.returncode == 0
    world.assert_complete()


def test_a_reader_of_the_output_that_leaves_costs_no_download(world: World) -> None:
    with Mirror(world.data.files) as mirror:
        line = [word for word in command(world, [mirror.url]) if word != "--json"]
        piped = ["sh", "-c", '"$@" | true', "sh", *line]
        done = subprocess.run(piped, env=environment_of(world), cwd=world.folder, timeout=60, capture_output=True)
    assert done.returncode == 0
    assert b"Traceback" not in done.stderr
    world.assert_complete()


def test_verify_opens_no_socket_and_repairs_nothing(world: World) -> None:
    with Mirror(world.data.files) as mirror:
        assert fetch(world, mirror.url).code == 0
        assert verify(world).code == 0
        before = mirror.connections
        damaged = bytearray(world.data.files[IMAGES])
        damaged[100] ^= 1
        (world.raw / IMAGES).write_bytes(damaged)
        outcome = verify(world)
        assert mirror.connections == before
    assert outcome.code == 3
    assert "fetch" in outcome.hint
    assert (world.raw / IMAGES).read_bytes() == damaged


# Memory and threads.

PEAK = """
import os, subprocess, sys
child = subprocess.Popen(sys.argv[1:], stdout=2)
_, child.returncode, usage = os.wait4(child.pid, 0)
print(usage.ru_maxrss)
sys.exit(child.returncode != 0)
"""


def test_eight_connections_need_less_than_80_megabytes(tmp_path: Path) -> None:
    # Pieces of 256 KiB, as in the catalogue, and more of them than fit into the memory.
    world = World(tmp_path, dataset(30_000, 5_000, piece=256 * KIB, name="large"))
    with Mirror(world.data.files, [CutAfter(700_001)]) as mirror:
        line = command(world, [mirror.url], ["--jobs", "8"])
        # The peak of a process includes that of its parent, so a small parent stands between.
        small = [sys.executable, "-c", PEAK, *line]
        done = subprocess.run(small, env=environment_of(world), cwd=world.folder, timeout=90, stdout=subprocess.PIPE)
        assert mirror.connections >= 8
    assert done.returncode == 0
    assert int(done.stdout) * KIB < 80_000_000


@pytest.mark.parametrize(
    "faults",
    [[Status(404)], [FlipByte(100)], [Status(404), StallAfter(10)], []],
    ids=["a refusal", "wrong bytes", "a stall", "no failure"],
)
def test_no_thread_is_left_behind_after(world: World, faults: list[Status]) -> None:
    before = set(threading.enumerate())
    with Mirror(world.data.files, faults) as mirror:
        with contextlib.nullcontext() if not faults else pytest.raises(FetchError):
            fmnist_fetch.fetch(str(world.manifest), world.root, mirrors=[mirror.url], progress=lambda _: None)
        ours = {thread for thread in threading.enumerate() if not thread.name.startswith("mirror-")} - before
        for thread in ours:
            thread.join(5)
        assert not any(thread.is_alive() for thread in ours)
    world.assert_nothing_wrong()


def test_no_file_and_no_socket_is_left_open_after_an_error(world: World) -> None:
    folder = Path("/proc/self/fd")
    if not folder.is_dir():
        pytest.skip("no /proc here")
    with Mirror(world.data.files, [Status(404)]) as mirror:
        before = len(list(folder.iterdir()))
        for _ in range(3):
            with pytest.raises(FetchError):
                fmnist_fetch.fetch(str(world.manifest), world.root, mirrors=[mirror.url], progress=lambda _: None)
        # The end of a connection at the mirror closes when it has seen ours close.
        mirror.drop()
        assert mirror.journal
        after = [entry.readlink() for entry in folder.iterdir() if entry.exists()]
    assert not any(name.is_relative_to(world.root) for name in after)
    assert len(after) <= before + 8
