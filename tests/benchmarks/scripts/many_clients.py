"""Many clients of one server at once: many_clients.py COUNT URL NAME:SIZE:DIGEST...; prints the seconds.

Each is a thread with one connection that reads every file into memory.
"""

import hashlib
import socket
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

count, address = int(sys.argv[1]), urlsplit(sys.argv[2])
files = [(name, int(size), digest) for name, size, digest in (word.split(":") for word in sys.argv[3:])]
# Written to once, so that the kernel has allocated the memory before the clock runs.
clients = [[bytearray(b"\1" * size) for _, size, _ in files] for _ in range(count)]


def download(buffers: list[bytearray]) -> None:
    """Get every file on one connection."""
    with socket.create_connection((address.hostname, address.port)) as connection:
        for (name, _, _), buffer in zip(files, buffers, strict=True):
            connection.sendall(f"GET {address.path}{name} HTTP/1.1\r\nHost: {address.netloc}\r\n\r\n".encode())
            head = b""
            while b"\r\n\r\n" not in head:
                head += connection.recv(1)
            if not head.startswith(b"HTTP/1.1 200 "):
                raise SystemExit(f"{name}: {head!r}")
            view = memoryview(buffer)
            while view:
                got = connection.recv_into(view, 0, socket.MSG_WAITALL)
                if not got:
                    raise SystemExit("the server hung up")
                view = view[got:]


with ThreadPoolExecutor(count) as pool:
    began = time.perf_counter()
    list(pool.map(download, clients))
    seconds = time.perf_counter() - began
for buffers in clients:
    for (name, _, digest), buffer in zip(files, buffers, strict=True):
        if hashlib.sha256(buffer).hexdigest() != digest:
            raise SystemExit(f"{name}: wrong bytes")
print(seconds)
