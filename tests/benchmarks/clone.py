"""Table 11: from a fresh clone to the data, and to a trained model, with all packages from an index on this machine."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from urllib.parse import quote

from benchmarks.measure import Peer, PeerError, UnavailableError
from benchmarks.servers import nginx
from benchmarks.table import Bench, Table, Target
from fmnist_fetch.environment.lock import STORE, Lock

PROJECT = Path(__file__).parents[2]
BEFORE = "def99a8"
"""The last commit whose environment pip made from its index."""
DATA, DATA_BEFORE = "make data", "make data, before the lock"
MODEL, MODEL_BEFORE = "make data && make train", "make data && make train, before the lock"
TORCHVISION = "pip install torch torchvision; FashionMNIST(download=True)"


def to_data(bench: Bench) -> Table:
    """Table 11, from a clone to the data."""
    with nginx(_index(bench, "data")) as url:
        done = bench.race([_make(bench, url, DATA), _make(bench, url, DATA_BEFORE, BEFORE)], 3, warm=False)
    return Table(
        11, "From a fresh clone to the data",
        "git clone, then the commands. The packages come from an index on this machine, the data from a folder; pip's"
        " cache is empty.",
        done, DATA,
        (Target("CPU, beside the set-up by pip", _cpu(done.cpu(DATA), done.cpu(DATA_BEFORE)), at_most=0.5),),
    )  # fmt: skip


def to_model(bench: Bench) -> Table:
    """Table 11, from a clone to a model."""
    with nginx(_index(bench, "train")) as url:
        rows = [_make(bench, url, MODEL), _make(bench, url, MODEL_BEFORE, BEFORE), _torchvision(bench, url)]
        done = bench.race(rows, 3, warm=False)
    return Table(
        11, "From a fresh clone to a trained model",
        "The same, and ten epochs. The row of pip ends with the data as torchvision unpacks it, and trains nothing.",
        done, MODEL,
        (Target("CPU, beside the set-up by pip", _cpu(done.cpu(MODEL), done.cpu(MODEL_BEFORE)), at_most=0.5),),
    )  # fmt: skip


def _cpu(ours: float | None, theirs: float | None) -> float | None:
    return ours / theirs if ours and theirs else None


def _index(bench: Bench, group: str) -> Path:
    """A package index (PEP 503) of the wheels that GROUP needs here, and of torchvision's, if it can be had."""
    lock, folder = Lock.read(PROJECT / "pylock.toml"), bench.work / "index"
    wheels = [PROJECT / STORE / wheel.name for wheel in lock.select(group)]
    wheels += [PROJECT / STORE / wheel.name for wheel in lock.select("dev") if wheel.package == "setuptools"]
    if absent := [path.name for path in wheels if not path.exists()]:
        raise UnavailableError(f"{absent[0]} is not in {STORE}/; run make train first")
    (folder / "files").mkdir(parents=True)
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder / "files")]
    if group == "train":
        subprocess.run([*pip, "torchvision==0.28.0"], check=False, capture_output=True)
    for path in dict.fromkeys(wheels):
        shutil.copy(path, folder / "files")
    for path in (folder / "files").iterdir():
        page = folder / "simple" / path.name.partition("-")[0].replace("_", "-").lower() / "index.html"
        page.parent.mkdir(parents=True, exist_ok=True)
        digest = sha256(path.read_bytes()).hexdigest()
        with page.open("a") as file:
            file.write(f'<a href="/files/{quote(path.name)}#sha256={digest}">{path.name}</a><br>\n')
    return folder


def _make(bench: Bench, url: str, name: str, commit: str = "HEAD") -> Peer:
    """NAME's commands in a fresh clone of this project at COMMIT."""
    commands = name.partition(",")[0].replace("make", "make TORCH_INDEX=")
    script = f"git clone --quiet --no-hardlinks {PROJECT} . && git checkout --quiet {commit} && {commands}"
    return Peer(name, ("sh", "-c", script), _complete(name), ("git", "make"), environment=_environment(bench, url))


def _complete(name: str) -> Callable[[Path], None]:
    def check(folder: Path) -> None:
        wanted = ["data/FashionMNIST/processed/fashion-mnist.safetensors"]
        wanted += ["runs/fashion-mnist/summary.json"] if "train" in name else []
        if absent := [path for path in wanted if not (folder / path).exists()]:
            raise PeerError(f"{absent[0]} is not there")

    return check


def _torchvision(bench: Bench, url: str) -> Peer:
    """What most people do: a virtual environment, pip, and torchvision's own download."""
    program = (
        "from torchvision.datasets import FashionMNIST; "
        f"FashionMNIST.mirrors = ['file://{bench.raw}/']; FashionMNIST('.', download=True)"
    )
    steps = [
        f"{sys.executable} -m venv env",
        "env/bin/pip install --quiet torch torchvision",
        f'env/bin/python -c "{program}"',
    ]
    return Peer(TORCHVISION, ("sh", "-c", " && ".join(steps)), environment=_environment(bench, url))


def _environment(bench: Bench, url: str) -> dict[str, str]:
    return {
        "PIP_INDEX_URL": f"{url}simple/",
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_FIND_LINKS": "",
        "PIP_NO_CACHE_DIR": "1",
        "FMNIST_MIRRORS": str(bench.raw),
        "HOME": str(bench.work),
    }
