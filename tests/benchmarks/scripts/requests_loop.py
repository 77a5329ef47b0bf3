"""The plain loop: requests.get, sha256, write, on one connection: requests_loop.py BASE SHA256SUMS"""

import sys
from hashlib import sha256
from pathlib import Path

import requests

with requests.Session() as session:
    for line in Path(sys.argv[2]).read_text().splitlines():
        digest, name = line.split()
        answer = session.get(sys.argv[1] + name, timeout=60)
        answer.raise_for_status()
        assert sha256(answer.content).hexdigest() == digest
        Path(name).write_bytes(answer.content)
