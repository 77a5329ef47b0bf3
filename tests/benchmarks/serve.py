"""Many clients at once on the built-in server, beside nginx on the same files: total rates, and every byte checked.

    python tests/benchmarks/serve.py [--root data] [--clients 40] [--rounds 5]

The clients are threads that let the kernel fill their buffers, so that the servers are what is measured. Digests are
taken after the clock has stopped. Ends with 1 if bytes were wrong, or if the server is below half of nginx's rate.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from fmnist_fetch.catalogue import find
from fmnist_fetch.layout import Layout
from fmnist_fetch.state import Condition, survey

MANIFEST = find("fashion-mnist")
NGINX = """
worker_processes auto;
error_log stderr;
pid {folder}/pid;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    sendfile on;
    tcp_nopush on;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    server {{ listen 127.0.0.1:{port}; root {raw}; }}
}}
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def await_server(port: int) -> None:
    for _ in range(200):
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise SystemExit(f"nothing serves at port {port}")


@contextmanager
def ours(root: Path) -> Iterator[str]:
    """The built-in server."""
    port = free_port()
    words = ["-m", "fmnist_fetch", "serve", "--root", str(root), "--host", "127.0.0.1", "--port", str(port)]
    process = subprocess.Popen([sys.executable, *words], stdout=subprocess.DEVNULL)
    try:
        await_server(port)
        yield f"http://127.0.0.1:{port}/"
    finally:
        process.terminate()
        process.wait()


@contextmanager
def nginx(root: Path) -> Iterator[str]:
    """nginx with as many workers as there are processors, as it is packaged."""
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        configuration = Path(folder) / "nginx.conf"
        raw = Layout(root, MANIFEST).raw.absolute()
        configuration.write_text(NGINX.format(folder=folder, port=port, raw=raw))
        command = ["nginx", "-c", str(configuration), "-g", "daemon off; user root;"]
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        try:
            await_server(port)
            yield f"http://127.0.0.1:{port}/"
        finally:
            process.terminate()
            process.wait()


def download(url: str, buffers: list[bytearray]) -> None:
    """Get every file on one connection, into BUFFERS."""
    address = urlsplit(url)
    with socket.create_connection((address.hostname, address.port)) as connection:
        for file, buffer in zip(MANIFEST.files, buffers, strict=True):
            connection.sendall(f"GET {address.path}{file.name} HTTP/1.1\r\nHost: {address.netloc}\r\n\r\n".encode())
            head = b""
            while b"\r\n\r\n" not in head:
                head += connection.recv(1)
            assert head.startswith(b"HTTP/1.1 200 "), head
            view = memoryview(buffer)
            while view:
                got = connection.recv_into(view, 0, socket.MSG_WAITALL)
                assert got, "the server hung up"
                view = view[got:]


def measure(url: str, clients: list[list[bytearray]]) -> float:
    """The total rate in MB/s of all CLIENTS at once, each of whom must have got the right bytes."""
    for buffers in clients:
        for buffer in buffers:
            buffer[:] = bytes(len(buffer))
    with ThreadPoolExecutor(len(clients)) as pool:
        began = time.monotonic()
        list(pool.map(lambda buffers: download(url, buffers), clients))
        seconds = time.monotonic() - began
    for buffers in clients:
        for file, buffer in zip(MANIFEST.files, buffers, strict=True):
            if hashlib.sha256(buffer).hexdigest() != file.sha256:
                raise SystemExit(f"wrong bytes of {file.name} from {url}")
    return sum(len(buffer) for buffers in clients for buffer in buffers) / seconds / 1e6


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure fmnist-fetch serve beside nginx.")
    parser.add_argument("--root", type=Path, default=Path("data"))
    parser.add_argument("--clients", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    state = survey(MANIFEST, Layout(options.root, MANIFEST))
    if any(entry.published is not Condition.GOOD for entry in state.files):
        raise SystemExit(f"the files are not complete under {options.root}: run make data")
    clients = [[bytearray(file.size) for file in MANIFEST.files] for _ in range(options.clients)]
    total = sum(file.size for file in MANIFEST.files) * options.clients / 1e6
    print(f"{options.clients} clients at once, {total:,.0f} MB in each of {options.rounds} rounds")
    rates: dict[str, list[float]] = {}
    with ExitStack() as stack:
        urls = {"serve": stack.enter_context(ours(options.root))}
        if shutil.which("nginx"):
            urls["nginx"] = stack.enter_context(nginx(options.root))
        # By turns, so that what else the machine does falls on both.
        for name, url in list(urls.items()) * options.rounds:
            rates.setdefault(name, []).append(measure(url, clients))
    medians = {name: statistics.median(found) for name, found in rates.items()}
    for name, found in rates.items():
        print(f"  {name}: {medians[name]:7,.0f} MB/s  ({min(found):,.0f} to {max(found):,.0f}), every byte right")
    if "nginx" not in medians:
        print("  nginx is not installed: nothing to compare with")
        return 0
    share = medians["serve"] / medians["nginx"]
    print(f"  serve is at {share:.0%} of nginx")
    return 0 if share >= 0.5 else 1


if __name__ == "__main__":
    sys.exit(main())
