"""torchvision's own download, from another mirror: torchvision_fetch.py URL"""

import sys

import real_torchvision  # noqa: F401
from torchvision.datasets import FashionMNIST

FashionMNIST.mirrors = [sys.argv[1]]
FashionMNIST(".", download=True)
