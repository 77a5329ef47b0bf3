"""Other tools read the fetched files where they are, without a network."""

from __future__ import annotations

from hashlib import md5
from importlib.util import find_spec
from pathlib import Path

import pytest

from fmnist_fetch.manifest.model import Manifest
from fmnist_fetch.pipeline.prepare import prepare
from fmnist_fetch.sources.base import FetchOptions
from fmnist_fetch.storage.layout import Layout
from processes import python
from samples import fill, sha256
from worlds import NAMES, dataset

SAMPLE = dataset(100, 100)  # Paddle reads by the hundred.
ALONE = """
import sys

def refuse(event, arguments):
    if event == "socket.getaddrinfo" or (event == "socket.connect" and isinstance(arguments[1], tuple)):
        raise AssertionError("a socket was asked for")

sys.addaudithook(refuse)
import hashlib
import numpy as np

def show(*arrays):
    for array in arrays:
        print(hashlib.sha256(np.ascontiguousarray(array, np.uint8)).hexdigest())
"""
TORCHVISION = """
from torchvision.datasets import FashionMNIST
for train in (True, False):
    split = FashionMNIST(sys.argv[1], train=train, download=False)
    show(split.data.numpy(), split.targets.numpy())
    split[0]
"""
KERAS = """
import keras
for split in keras.datasets.fashion_mnist.load_data():
    show(*split)
"""
PADDLE = """
from paddle.vision.datasets import FashionMNIST
FashionMNIST.TRAIN_IMAGE_MD5, FashionMNIST.TRAIN_LABEL_MD5 = sys.argv[2:4]
FashionMNIST.TEST_IMAGE_MD5, FashionMNIST.TEST_LABEL_MD5 = sys.argv[4:6]
for mode in ("train", "test"):
    split = FashionMNIST(mode=mode, backend="cv2")
    show([split[number][0] for number in range(len(split))], [split[number][1][0] for number in range(len(split))])
"""
BOOK = """
import matplotlib
matplotlib.use("agg")
from d2l import torch as d2l
d2l.get_dataloader_workers = lambda: 0
train, test = d2l.load_data_fashion_mnist(100)
for batches in (train.dataset, test.dataset):
    show(batches.data.numpy(), batches.targets.numpy())
"""
NUMPY = """
raw = sys.argv[1] + "/FashionMNIST/raw/"
for name in ("train", "t10k"):
    show(np.fromfile(raw + name + "-images-idx3-ubyte", np.uint8)[16:])
    show(np.fromfile(raw + name + "-labels-idx1-ubyte", np.uint8)[8:])
"""
SAFETENSORS = """
from importlib import import_module
path = sys.argv[1] + "/FashionMNIST/processed/sample.safetensors"
stored = import_module("safetensors." + sys.argv[2]).load_file(path)
show(*(np.asarray(stored[name]) for name in ("train_images", "train_labels", "test_images", "test_labels")))
"""


@pytest.fixture(scope="module")
def manifest() -> Manifest:
    """Return a small dataset in place of Fashion-MNIST."""
    caches = {"keras": "datasets/fashion-mnist", "paddle": "fashion-mnist"}
    return SAMPLE.manifest._replace(folder="FashionMNIST", caches=caches)


@pytest.fixture
def data(manifest: Manifest, tmp_path: Path) -> Path:
    """Fetch it to a root, to the default place of the book, and to the caches of Keras and Paddle."""
    root = Path("../data").resolve()
    stick = fill(tmp_path / "stick", SAMPLE.files)
    choice = FetchOptions((str(stick),), only_mirrors=True)
    prepare(Layout(root, manifest), choice, also=list(manifest.caches))
    return root


def seen_by(code: str, root: Path, *words: str) -> list[str]:
    """Return the digests of the arrays that CODE returns."""
    done = python(ALONE + code, str(root), *words, KERAS_BACKEND="torch")
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-4:]


@pytest.fixture(scope="module")
def right() -> list[str]:
    """Return the right digests of the arrays: images and labels, train and test."""
    return [sha256(SAMPLE.payloads[name][16 if role == "images" else 8 :]) for (_, role), name in NAMES.items()]


MD5S = [md5(SAMPLE.files[f"{name}.gz"], usedforsecurity=False).hexdigest() for name in NAMES.values()]
# The program, its arguments after the root, and the module that it needs.
TOOLS = {
    "numpy reads the unpacked files": (NUMPY, [], "numpy"),
    "safetensors reads the tensor file for numpy": (SAFETENSORS, ["numpy"], "numpy"),
    "safetensors reads the tensor file for torch": (SAFETENSORS, ["torch"], "torch"),
    "safetensors reads the tensor file for flax": (SAFETENSORS, ["flax"], "flax"),
    "torchvision reads the root": (TORCHVISION, [], "torchvision"),
    "the book's package reads the folder data beside its own": (BOOK, [], "d2l.torch"),
    "keras reads its cache": (KERAS, [], "keras"),
    "paddle reads its cache": (PADDLE, MD5S, "paddle"),
}


@pytest.mark.parametrize("what", TOOLS)
def test_without_a_download(what: str, data: Path, right: list[str]) -> None:
    code, words, module = TOOLS[what]
    if find_spec(module.partition(".")[0]) is None:
        pytest.skip(f"{module} is not installed")
    # Not each of its versions fits the libraries beside it, and those say so in many ways.
    if module in ("torchvision", "d2l.torch") and python(f"import {module}").returncode:
        pytest.skip(f"this {module} does not fit the libraries beside it")
    assert seen_by(code, data, *words) == right
