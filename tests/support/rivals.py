"""Several processes that fetch to one root and one cache, as a program: `python -m rivals FOLDER ROUNDS SEED`.

Each round forks three processes that fetch the same dataset, with pauses between their writes, and stops, continues and
kills them at random. At its end every file must be right, and every process that was not killed must have succeeded.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable
from errno import EXDEV
from pathlib import Path

from fmnist_fetch.pipeline.prepare import prepare
from fmnist_fetch.pipeline.status import inspect
from fmnist_fetch.sources.base import FetchOptions
from fmnist_fetch.storage import atomic, lock, part_file
from samples import Sample, fill, make

PROCESSES, KILLS, SIGNALS = 3, 2, 12
PLACE = "datasets/sample"


def pausing(write: Callable[..., None], rng: random.Random) -> Callable[..., None]:
    """Return WRITE with random short pauses before it."""

    def paused(*args: object) -> None:
        if rng.random() < 0.3:
            time.sleep(rng.random() * 0.003)
        write(*args)

    return paused


def other_disk(*_arguments: object, **_more: object) -> None:
    """Refuse a hard link, as between two file systems."""
    raise OSError(EXDEV, os.strerror(EXDEV))


def fetch(sample: Sample, root: Path, mirror: Path, rng: random.Random) -> int:
    """Fork a process that fetches SAMPLE to ROOT and to the cache of Keras; return its process ID."""
    seed, linkable = rng.random(), rng.random() < 0.5
    if number := os.fork():
        return number
    code = 1
    try:
        own = random.Random(seed)
        vars(part_file)["write_all"] = pausing(atomic.write_all, own)
        if not linkable:
            os.link = other_disk
        prepare(sample.layout(root), FetchOptions((str(mirror),), only_mirrors=True), also=("keras",))
        code = 0
    except BaseException as exc:
        print(f"{type(exc).__name__}: {exc}", file=sys.stderr, flush=True)
    finally:
        os._exit(code)


def disturb(processes: list[int], again: Callable[[], int], rng: random.Random) -> None:
    """Stop and continue PROCESSES at random, and kill and replace some."""
    kills = KILLS
    for _ in range(SIGNALS):
        place = rng.randrange(len(processes))
        if kills and rng.random() < 0.15:
            kills -= 1
            os.kill(processes[place], signal.SIGKILL)
            os.waitpid(processes[place], 0)
            processes[place] = again()
        else:
            os.kill(processes[place], rng.choice((signal.SIGSTOP, signal.SIGCONT)))
        time.sleep(rng.random() * 0.01)
    for number in processes:
        os.kill(number, signal.SIGCONT)


def wrong(sample: Sample, root: Path, cache: Path) -> list[str]:
    """Return what is wrong under ROOT and in CACHE."""
    state = inspect(sample.layout(root))
    found = [str(entry) for entry in (*state.files, state.tensors) if "damaged" in str(entry) or "absent" in str(entry)]
    found += [name for name, data in sample.files.items() if (cache / name).read_bytes() != data]
    return found


def play(sample: Sample, folder: Path, mirror: Path, rng: random.Random) -> list[str]:
    """Run one round; return what is wrong after it."""
    root, home = folder / "root", folder / "home"
    os.environ["KERAS_HOME"] = str(home)
    if rng.random() < 0.5:
        # A folder in its place makes the lock impossible.
        sample.layout(root).lock.mkdir(parents=True)
    processes = [fetch(sample, root, mirror, rng) for _ in range(PROCESSES)]
    disturb(processes, lambda: fetch(sample, root, mirror, rng), rng)
    codes = [os.waitpid(process, 0)[1] for process in processes]
    faults = [f"exit codes {codes}"] if any(codes) else wrong(sample, root, home / PLACE)
    shutil.rmtree(root)
    shutil.rmtree(home)
    return faults


def main(folder: Path, rounds: int, seed: int) -> None:
    """Run ROUNDS; raise SystemExit if anything is wrong after one."""
    sample = make()
    sample = sample.changed(caches={"keras": PLACE})
    mirror = fill(folder / "mirror", sample.files)
    lock.PATIENCE_S = 0.02
    for number in range(rounds):
        if faults := play(sample, folder, mirror, random.Random(f"{seed} {number}")):
            raise SystemExit(f"round {number} of seed {seed}: {faults}")
    print(f"{rounds} rounds")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
