"""The loop of most courses: requests, 8 KiB at a time, one connection: seed_loop.py URL..."""

import sys
from pathlib import Path

import requests

with requests.Session() as session:
    for url in sys.argv[1:]:
        with session.get(url, stream=True, timeout=60) as answer, Path(url.rpartition("/")[2]).open("wb") as file:
            answer.raise_for_status()
            for data in answer.iter_content(8192):
                file.write(data)
