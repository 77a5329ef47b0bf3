"""Measure the facts of the README's table "Why": python docs/scripts/comparison.py.

Needs wget, pooch, torchvision, and the data. Every peer downloads Fashion-MNIST from mirrors on this machine that count
what they send.
"""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "support")]

from faults import Line, Mirror, Replaced, SayNothing, payload  # noqa: E402
from fmnist_fetch.manifest.catalog import find  # noqa: E402

FILES = find("fashion-mnist").files
RATE = 8e6  # bytes per second of a mirror, so that a run lasts long enough to be killed
MD5 = """
import hashlib, sys
import real_torchvision
from torchvision.datasets import FashionMNIST
FashionMNIST.mirrors = sys.argv[2:]
FashionMNIST(sys.argv[1], download=True)
"""
POOCH = """
import pooch, sys
for line in open(sys.argv[1] + ".list"):
    name, sha256 = line.split()
    pooch.retrieve(sys.argv[2] + name, "sha256:" + sha256, fname=name, path=sys.argv[1])
"""


def fmnist_fetch(folder: Path, urls: list[str]) -> list[str]:
    """Return the command of this project."""
    mirrors = [word for url in urls for word in ("--mirror", url)]
    words = ["--root", str(folder), "--only-mirrors", "--progress", "none", "--patience", "20"]
    return [sys.executable, "-m", "fmnist_fetch", "fetch", *words, *mirrors]


def torchvision(folder: Path, urls: list[str]) -> list[str]:
    """Return the command that downloads with torchvision from these mirrors."""
    return [sys.executable, "-c", MD5, str(folder), *urls]


def wget(folder: Path, urls: list[str]) -> list[str]:
    """wget, which continues what is there."""
    words = ["--continue", "--quiet", "--tries=3", "--timeout=20", "--directory-prefix", str(folder)]
    return ["wget", *words, *(urls[0] + file.name for file in FILES)]


def pooch(folder: Path, urls: list[str]) -> list[str]:
    """pooch, with the SHA-256 of each file."""
    Path(f"{folder}.list").write_text("".join(f"{file.name} {file.sha256}\n" for file in FILES))
    return [sys.executable, "-c", POOCH, str(folder), *urls]


PEERS: list[Callable[[Path, list[str]], list[str]]] = [fmnist_fetch, torchvision, wget, pooch]


def environment() -> dict[str, str]:
    """Return the environment of the peers: no proxy, and this project."""
    kept = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    paths = [str(ROOT), str(ROOT / "tests" / "benchmarks" / "scripts"), kept.get("PYTHONPATH", "")]
    return {**kept, "PYTHONPATH": os.pathsep.join(paths)}


def run(command: list[str], limit: float = 60) -> int:
    """Run COMMAND; its exit code, or -1 where it does not end within LIMIT seconds."""
    try:
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        return subprocess.run(command, env=environment(), timeout=limit, check=False, **quiet).returncode  # type: ignore[call-overload,no-any-return]
    except subprocess.TimeoutExpired:
        return -1


def right(folder: Path) -> str:
    """How many files in FOLDER, as published or unpacked, have the right bytes, and how many have not."""
    good = bad = 0
    digests = {file.name: file.sha256 for file in FILES} | {file.payload.name: file.payload.sha256 for file in FILES}
    for path in folder.rglob("*ubyte*"):
        if path.name in digests:
            good += (same := hashlib.sha256(path.read_bytes()).hexdigest() == digests[path.name])
            bad += not same
    return f"{good} right, {bad} wrong"


def killed(peer: Callable[[Path, list[str]], list[str]], folder: Path, data: dict[str, bytes]) -> str:
    """Kill it when half of the bytes have been sent, run it again: the bytes sent beside those that are needed."""
    size = sum(map(len, data.values()))
    with Mirror(data, [Line(RATE)]) as mirror:
        process = subprocess.Popen(peer(folder, [mirror.url]), stderr=subprocess.DEVNULL, env=environment())
        while mirror.served < size / 2 and process.poll() is None:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
        code = run(peer(folder, [mirror.url]))
        return f"{mirror.served / size:.3f} x the bytes, exit {code}, {right(folder)}"


def damaged(peer: Callable[[Path, list[str]], list[str]], folder: Path, data: dict[str, bytes]) -> str:
    """Flip one byte of each large file of a complete folder, run it again: the bytes sent, and whether it is right."""
    with Mirror(data) as mirror:
        run(peer(folder, [mirror.url]))
        for path in folder.rglob("train-images-idx3-ubyte*"):
            changed = bytearray(path.read_bytes())
            changed[5_000_000] ^= 1
            path.write_bytes(changed)
        before = mirror.served
        code = run(peer(folder, [mirror.url]))
        return f"{(mirror.served - before) / 1e6:.2f} MB, exit {code}, {right(folder)}"


def silent(peer: Callable[[Path, list[str]], list[str]], folder: Path, data: dict[str, bytes]) -> str:
    """Return the seconds until all files exist, at most 60, where the first mirror accepts and is silent."""
    with Mirror(data, [SayNothing()]) as first, Mirror(data) as second:
        start = time.monotonic()
        code = run(peer(folder, [first.url, second.url]))
        return f"{time.monotonic() - start:.1f} s, exit {code}, {right(folder)}"


def parallel(peer: Callable[[Path, list[str]], list[str]], folder: Path, data: dict[str, bytes]) -> str:
    """Two mirrors of 8 MB/s each: the seconds, and how many of them were used."""
    with Mirror(data, [Line(RATE)]) as first, Mirror(data, [Line(RATE)]) as second:
        start = time.monotonic()
        code = run(peer(folder, [first.url, second.url]))
        used = sum(mirror.served > 0 for mirror in (first, second))
        return f"{time.monotonic() - start:.1f} s, {used} of 2 mirrors, exit {code}"


def wrong(peer: Callable[[Path, list[str]], list[str]], folder: Path, data: dict[str, bytes]) -> str:
    """Return the exit code and the files in the folder where the only mirror has other bytes of the same size."""
    with Mirror(data, [Replaced(payload(len(data[FILES[0].name]), 7))]) as mirror:
        return f"exit {run(peer(folder, [mirror.url]))}, {right(folder)}"


def main() -> int:
    """Print a line for each fact and peer; return the exit code."""
    raw = ROOT / "data" / "FashionMNIST" / "raw"
    data = {file.name: (raw / file.name).read_bytes() for file in FILES}
    for fact in (killed, damaged, silent, parallel, wrong):
        for peer in PEERS:
            with tempfile.TemporaryDirectory() as folder:
                place = Path(folder, "data")
                place.mkdir()
                print(f"{fact.__name__:9} {peer.__name__:13} {fact(peer, place, data)}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
