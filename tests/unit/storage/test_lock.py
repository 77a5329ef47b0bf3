"""One download for several processes: waiting, but not for ever."""

from __future__ import annotations

import fcntl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from errno import ENOSYS
from pathlib import Path
from threading import Thread

import pytest

from faults import Latency, Mirror
from fmnist_fetch.errors import DiskError
from fmnist_fetch.events import Event, Message, silent
from fmnist_fetch.storage import lock
from fmnist_fetch.storage.lock import alone
from processes import environment
from samples import Sample

HOLDER = """
import sys
from filelock import FileLock
with FileLock(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def held(path: Path) -> Iterator[subprocess.Popen[str]]:
    """Let another process own the lock until its standard input is closed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-c", HOLDER, str(path)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment()
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        try:
            yield holder
        finally:
            holder.kill()


def sentences(events: list[Event]) -> list[str]:
    return [event.sentence for event in events if isinstance(event, Message)]


def test_alone_the_lock_is_taken_and_given_back_without_a_word(sample: Sample, root: Path) -> None:
    events: list[Event] = []
    for _ in range(2):
        with alone(sample.layout(root), events.append) as locked:
            assert locked
    assert events == []


def test_a_holder_is_waited_for_and_mentioned_once(sample: Sample, root: Path) -> None:
    layout, events = sample.layout(root), list[Event]()
    with held(layout.lock) as holder:

        def release(event: Event) -> None:
            events.append(event)
            assert holder.stdin is not None
            holder.stdin.close()

        with alone(layout, release) as locked:
            assert locked
    assert sentences(events) == ["another process is fetching this dataset; waiting for it"]


def test_a_holder_without_progress_is_passed_by(sample: Sample, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "PATIENCE_S", 0.2)
    events: list[Event] = []
    with held(sample.layout(root).lock), alone(sample.layout(root), events.append) as locked:
        assert not locked
    assert sentences(events)[1:] == [
        "the other process makes no progress; going on without the lock, which does no harm"
    ]


def test_a_holder_that_gets_on_with_it_is_waited_for_longer(
    sample: Sample, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "PATIENCE_S", 1.5)
    layout = sample.layout(root)
    layout.raw.mkdir(parents=True)
    outcome: list[bool] = []
    with held(layout.lock) as holder:

        def wait() -> None:
            with alone(layout, silent) as locked:
                outcome.append(locked)

        waiter = Thread(target=wait)
        waiter.start()
        for number in range(30):
            # Something new all the time, for twice its patience.
            (layout.raw / "growing").write_bytes(bytes(number))
            waiter.join(0.1)
        assert waiter.is_alive()
        assert holder.stdin is not None
        holder.stdin.close()
        waiter.join(20)
    assert outcome == [True]


def test_where_no_lock_can_be_taken_the_work_goes_on_and_it_is_mentioned(sample: Sample, root: Path) -> None:
    events: list[Event] = []
    sample.layout(root).lock.mkdir(parents=True)
    with alone(sample.layout(root), events.append) as locked:
        assert not locked
    (sentence,) = sentences(events)
    assert sentence.startswith("the lock can't be taken here (")
    assert sentence.endswith("); going on without it, which does no harm")


def test_a_failure_under_the_lock_gives_it_back(sample: Sample, root: Path) -> None:
    def fail() -> None:
        with alone(sample.layout(root), silent):
            raise ValueError

    with pytest.raises(ValueError, match=r"^$"):
        fail()
    with alone(sample.layout(root), silent) as locked:
        assert locked


def test_a_root_that_is_a_file_is_a_disk_error_and_stays_as_it_is(sample: Sample, root: Path) -> None:
    root.write_bytes(b"mine")
    with pytest.raises(DiskError, match="a part of this path is a file"), alone(sample.layout(root), silent):
        pass
    assert root.read_bytes() == b"mine"


def test_processes_that_fetch_at_once_do_the_work_once(sample: Sample, root: Path, tmp_path: Path) -> None:
    with Mirror(sample.files, faults=[Latency(0.05)]) as mirror:
        words = ["fetch", sample.write(tmp_path), "--root", str(root), "--mirror", mirror.url, "--quiet"]
        command = [sys.executable, "-m", "fmnist_fetch", *words]
        processes = [subprocess.Popen(command, env=environment()) for _ in range(3)]
        assert [process.wait(60) for process in processes] == [0, 0, 0]
        assert mirror.served == sample.size


@pytest.mark.parametrize("target", ["elsewhere", "nowhere"])
def test_a_link_in_place_of_the_lock_is_not_followed(target: str, sample: Sample, root: Path, tmp_path: Path) -> None:
    layout, events = sample.layout(root), list[Event]()
    (tmp_path / "elsewhere").write_bytes(b"mine")
    layout.lock.parent.mkdir(parents=True)
    layout.lock.symlink_to(tmp_path / target)
    with alone(layout, events.append) as locked:
        assert not locked
    assert sentences(events) == [
        "the lock can't be taken here (.lock is not a file); going on without it, which does no harm"
    ]
    assert (tmp_path / "elsewhere").read_bytes() == b"mine"
    assert not (tmp_path / "nowhere").exists()


def test_where_there_is_no_flock_nothing_is_printed(
    sample: Sample, root: Path, monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    def refuse(_descriptor: int, _operation: int) -> None:
        raise OSError(ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with alone(sample.layout(root), silent):
        pass
    assert not recwarn.list
