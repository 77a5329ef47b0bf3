"""huggingface_hub's download of one URL, on which its cache is built: hub_get.py URL..."""

import sys
from pathlib import Path

from huggingface_hub.file_download import http_get

for url in sys.argv[1:]:
    with Path(url.rpartition("/")[2]).open("wb") as file:
        http_get(url, file)
