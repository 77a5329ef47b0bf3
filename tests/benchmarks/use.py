"""Tables 7 and 8: from a complete root to tensors, to batches, and to a trained model."""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks.measure import Peer, PeerError
from benchmarks.peers import script
from benchmarks.table import Bench, Table, Target

LOAD, LOAD_MAP = "load, in a new process", "load(verify=False), in a new process"
AGAIN, AGAIN_MAP, ALWAYS = "load, again", "load(verify=False), again", 'load(verify="always"), again'
NUMPY = "python -c 'import numpy'"
FIRST, FIRST_MAP = "load, first batch", "load(verify=False), first batch"
BATCHES = "trainer.data.load_data_fashion_mnist"
LOADER, WORKERS = "torchvision + DataLoader", "torchvision + DataLoader, 2 workers"
WHOLE = " CPU and memory are the whole process's."
TRAINER, TORCH, BOOK = "python -m trainer --no-pictures", "python -c 'import torch'", "the book's way"
PICTURES, SGD = "python -m trainer", "scikit-learn's SGDClassifier"
NEEDS = ("import torch",)
FLOOR = 0.7
"""A test accuracy that any of them reaches after one epoch."""


def tensors(bench: Bench) -> Table:
    """Table 7, to tensors."""
    rows = [
        _load(bench, LOAD, "load"),
        _load(bench, LOAD_MAP, "map"),
        _load(bench, AGAIN, "load", "again"),
        _load(bench, AGAIN_MAP, "map", "again"),
        _load(bench, ALWAYS, "always", "again"),
        _load(bench, "safetensors.torch.load_file", "safetensors"),
        _load(bench, "numpy.fromfile of the IDX payloads", "numpy"),
        _load(bench, "torchvision FashionMNIST(train=True)", "torchvision"),
    ]
    done = bench.race(rows, 7)
    return Table(
        7, "The training images and labels as tensors, once torch is imported",
        "In-process seconds. In a new process the import of fmnist_fetch counts too; 'again' is the median of 20 calls"
        " after the first. By default `load` hashes the split's 47 MB against the manifest, once in a process while the"
        " file stays as it is." + WHOLE,
        done, AGAIN_MAP,
        (
            Target("load(verify=False), which only maps", done.wall(AGAIN_MAP), at_most=0.002, unit=" s"),
            Target("load, which has hashed 47 MB at its first call", done.wall(AGAIN), at_most=0.002, unit=" s"),
        ),
    )  # fmt: skip


def _load(bench: Bench, name: str, *words: str) -> Peer:
    needs = ("import torchvision",) if "torchvision" in words else ()
    return script(name, "load_tensors.py", str(bench.root), *words, timed=True, needs=("import torch", *needs))


def first_batch(bench: Bench) -> Table:
    """Table 7, to the first batch."""
    rows = [
        script(FIRST, "first_batch.py", str(bench.root), "load"),
        script(FIRST_MAP, "first_batch.py", str(bench.root), "map"),
        Peer(NUMPY, (sys.executable, "-c", "import numpy")),
    ]
    done = bench.race(rows, 15)
    return Table(
        7, "Process start to the first batch in numpy",
        "256 images as float32 in [0, 1], and their labels.",
        done, FIRST,
        (
            Target("load, beside `import numpy`", done.ratio(FIRST, NUMPY), at_most=2),
            Target("load(verify=False), beside `import numpy`", done.ratio(FIRST_MAP, NUMPY), at_most=2),
        ),
    )  # fmt: skip


def batches(bench: Bench) -> Table:
    """Table 7, all batches."""
    loader = {"timed": True, "needs": ("import torch", "import torchvision")}
    rows = [
        script(BATCHES, "read_batches.py", str(bench.root), "trainer", timed=True, needs=("import torch",)),
        script("numpy, by hand", "read_batches.py", str(bench.root), "numpy", timed=True),
        script(LOADER, "read_batches.py", str(bench.root), "0", **loader),  # type: ignore[arg-type]
        script(WORKERS, "read_batches.py", str(bench.root), "2", **loader),  # type: ignore[arg-type]
    ]
    done = bench.race(rows, 5)
    return Table(
        7, "All training images in shuffled batches of 256",
        "In-process seconds of the first pass: 235 batches as float32 in [0, 1], with their labels." + WHOLE,
        done, BATCHES,
        (
            Target("faster than torchvision + DataLoader", done.ratio(LOADER, BATCHES), at_least=20),
            Target("faster than the same with 2 workers", done.ratio(WORKERS, BATCHES), at_least=20),
        ),
        megabytes=60_000 * 784 / 1e6,
    )  # fmt: skip


def training(bench: Bench) -> Table:
    """Table 8, beside the import with which every training starts: short rows, in many rounds."""
    epochs = _epochs(bench)
    bare = Peer(TORCH, (sys.executable, "-c", "import torch"), needs=NEEDS)
    done = bench.race([_trainer(bench), _trainer(bench, PICTURES), bare], 9)
    return Table(
        8, f"Training softmax regression: {epochs} epochs, a test after each",
        "Process start to exit, and all of it on the disk.",
        done, TRAINER,
        (
            Target("beside bare `import torch`", done.ratio(TRAINER, TORCH), at_most=1.25,
                   reason="the ten epochs take that long beside a fast import"),
            Target("memory", done.peak(TRAINER), at_most=400, unit=" MB"),
        ),
    )  # fmt: skip


def other_ways(bench: Bench) -> Table:
    """Table 8, beside others that train the same model."""
    epochs = _epochs(bench)
    rows = [
        _trainer(bench),
        _learner(bench, SGD, "train_sgd.py", epochs, "import sklearn"),
        _learner(bench, BOOK, "train_book.py", epochs, "import torchvision"),
    ]
    done = bench.race(rows, 2, warm=False)
    return Table(
        8, f"The same training in other ways: {epochs} epochs, a test after each",
        "Process start to exit. The book's way is its chapter 3.6: torchvision, a DataLoader with 4 workers, autograd."
        " SGDClassifier goes through the images one by one (log loss, one against all).",
        done, TRAINER,
        (Target("faster than the book's way", done.ratio(BOOK, TRAINER), at_least=12),),
    )  # fmt: skip


def _epochs(bench: Bench) -> str:
    return str(bench.pick(10, 1))


def _trainer(bench: Bench, name: str = TRAINER) -> Peer:
    argv = (sys.executable, "-m", "trainer", "--root", str(bench.root), "--epochs", _epochs(bench), "--out", "run")
    if name == PICTURES:
        return Peer(name, argv, learned, (*NEEDS, "import matplotlib"))
    return Peer(name, (*argv, "--no-pictures"), learned, NEEDS)


def _learner(bench: Bench, name: str, file: str, epochs: str, need: str) -> Peer:
    return script(name, file, str(bench.root), epochs, check=learned, needs=(*NEEDS, need))


def learned(folder: Path) -> None:
    """Raise PeerError unless the model learned: the last line of metrics.jsonl or of the file accuracy shows it."""
    import json

    metrics, accuracy = folder / "run" / "metrics.jsonl", folder / "accuracy"
    if metrics.is_file():
        found = float(json.loads(metrics.read_text().splitlines()[-1])["test_accuracy"])
    else:
        found = float(accuracy.read_text())
    if not FLOOR < found <= 1:
        raise PeerError(f"it learned too little: test accuracy {found}")
