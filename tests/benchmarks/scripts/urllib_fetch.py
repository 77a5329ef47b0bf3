"""The four files as torchvision downloads them: urllib 32 KiB at a time, MD5, gzip: urllib_fetch.py BASE NAME:MD5...

It stands for FashionMNIST(download=True) where no build of torchvision fits the build of torch.
"""

import gzip
import hashlib
import shutil
import sys
import urllib.request
from pathlib import Path

for word in sys.argv[2:]:
    name, _, digest = word.partition(":")
    with urllib.request.urlopen(sys.argv[1] + name) as answer, Path(name).open("wb") as file:
        while data := answer.read(32 * 1024):
            file.write(data)
    with Path(name).open("rb") as file:
        assert hashlib.file_digest(file, "md5").hexdigest() == digest
    with gzip.open(name) as packed, Path(name).with_suffix("").open("wb") as file:
        shutil.copyfileobj(packed, file)
