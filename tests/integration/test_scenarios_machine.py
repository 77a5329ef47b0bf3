"""Conditions of the machine during a run: signals, other processes, disks, limits of memory."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
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
    Fault,
    FlipByte,
    Line,
    Lockstep,
    LoginPage,
    Mirror,
    SayNothing,
    StallAfter,
    Status,
)
from fmnist_fetch import FetchError
from processes import command, environment_of, fetch, start
from worlds import PIECE, World, dataset

# Signals.


@pytest.fixture
def no_nohup() -> Iterator[None]:
    """Let SIGHUP end the processes of a test, also where nohup ignores it for all that the tests start."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.usefixtures("no_nohup")
@pytest.mark.parametrize(
    ("number", "code", "word"),
    [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated"), (signal.SIGHUP, 143, "terminated")],
)
def test_an_interrupted_run_says_what_is_kept_and_keeps_it(
    world: World, number: signal.Signals, code: int, word: str
) -> None:
    # In lockstep: what is on its way to a run that ends is not counted.
    with Mirror(world.data.files, [Lockstep(), Line(MIB)]) as mirror:
        with start(world, mirror.url) as run:
            run.until(lambda: mirror.served >= MIB)
            run.process.send_signal(number)
            outcome = run.wait(timeout=10, code=code)
        kept, before = world.kept(), mirror.served
        assert kept >= 8
        assert outcome.message == outcome.result["error"] == word
        assert outcome.hint.startswith(f"Kept: {kept} of {world.data.pieces} pieces")
        fetch(world, mirror.url, code=0)
        assert mirror.served <= 1.05 * world.data.size
        assert mirror.served - before <= (world.data.pieces - kept) * PIECE


@pytest.mark.parametrize("fault", [SayNothing(), StallAfter(1000), Drip(10), Status(503), LoginPage()])
def test_an_interrupt_ends_a_run_that_waits_for_a_mirror(world: World, fault: Fault) -> None:
    with Mirror(world.data.files, [fault]) as mirror, start(world, mirror.url) as run:
        run.until(lambda: bool(mirror.journal))
        run.process.send_signal(signal.SIGINT)
        # Less than the time-out of a mirror, which is five seconds.
        outcome = run.wait(timeout=4, code=130)
    assert "Run the same command again" in outcome.hint


def test_a_second_interrupt_does_no_harm(world: World) -> None:
    with Mirror(world.data.files, [Line(MIB)]) as mirror, start(world, mirror.url) as run:
        run.until(lambda: mirror.served >= MIB)
        run.process.send_signal(signal.SIGINT)
        run.process.send_signal(signal.SIGTERM)
        # The second signal may arrive at the very end of the process, where Python handles signals no more.
        run.wait(timeout=10, code=(130, 143, -signal.SIGTERM))


def test_a_stopped_owner_of_the_lock_is_overtaken_and_still_ends_right(world: World) -> None:
    with Mirror(world.data.files, [Line(3 * MIB)]) as mirror:
        with start(world, mirror.url) as sleeper:
            sleeper.until(lambda: mirror.served >= MIB)
            sleeper.process.send_signal(signal.SIGSTOP)
            outcome = fetch(world, mirror.url)
            assert outcome.code == 0
            assert outcome.err.count("makes no progress; going on without the lock") == 1
            asleep = [path.name for path in world.raw.iterdir() if path.suffix == ".tmp"]
            world.assert_complete(leftovers=asleep)
            sleeper.process.send_signal(signal.SIGCONT)
            sleeper.wait(code=0)
        # It continues with its own work and does not read the disk again: at most twice the bytes.
        assert mirror.served <= 2.05 * world.data.size


# Disks.


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Path]:
    """Return an empty file system of its own to which nobody can write."""
    place = tmp_path / "disk"
    place.mkdir()
    tmpfs: list[str | Path] = ["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", place]
    if os.geteuid() or subprocess.run(tmpfs, capture_output=True, check=False).returncode:
        pytest.skip("only root may mount a file system, and not everywhere")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


def test_a_read_only_disk_is_reported_before_anything_is_fetched(tmp_path: Path, read_only: Path) -> None:
    world = World(tmp_path, dataset(), root=read_only / "root")
    with Mirror(world.data.files) as mirror:
        outcome = fetch(world, mirror.url, code=5)
        assert mirror.connections == 0
    assert "the file system is read-only" in outcome.message
    assert str(world.root) in outcome.message
    assert "--root" in outcome.hint


def test_a_root_removed_under_its_feet_ends_in_a_message_or_in_a_complete_dataset(world: World) -> None:
    with Mirror(world.data.files, [Line(MIB)]) as mirror:
        with start(world, mirror.url) as run:
            run.until(lambda: mirror.served >= MIB)
            shutil.rmtree(world.root)
            outcome = run.wait(code=(0, 5))
        assert outcome.code == 0 or str(world.root) in outcome.message
        fetch(world, mirror.url, code=0)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_progress_display_and_a_log_that_fail_cost_no_download(world: World) -> None:
    with Mirror(world.data.files, [CutAfter(300 * KIB)]) as mirror, open("/dev/full", "wb") as full:
        line = command(world, [mirror.url], ["--log", "/dev/full"])
        env = environment_of(world)
        done = subprocess.run(line, stdout=subprocess.DEVNULL, stderr=full, env=env, cwd=world.folder, timeout=60)
    assert done.returncode == 0
    world.assert_complete()


@pytest.mark.parametrize(
    "wrong",
    [[Status(404)], [FlipByte(100)], [Status(404), StallAfter(10)], []],
    ids=["a refusal", "wrong bytes", "a stall", "no failure"],
)
def test_no_thread_no_file_and_no_socket_is_left_behind_after(world: World, wrong: list[Fault]) -> None:
    before, descriptors = set(threading.enumerate()), len(os.listdir("/proc/self/fd"))
    with Mirror(world.data.files, wrong) as mirror:
        for _ in range(3 if wrong == [Status(404)] else 1):
            with contextlib.nullcontext() if not wrong else pytest.raises(FetchError):
                fmnist_fetch.fetch(str(world.manifest), world.root, mirrors=[mirror.url], progress=lambda _: None)
        ours = {thread for thread in threading.enumerate() if not thread.name.startswith("mirror-")} - before
        for thread in ours:
            thread.join(5)
        assert not any(thread.is_alive() for thread in ours)
    assert len(os.listdir("/proc/self/fd")) <= descriptors
    world.assert_nothing_wrong()
