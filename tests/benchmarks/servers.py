"""The sources of the bytes: nginx, nginx behind a slow link, capped mirrors, the server of the program."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks.measure import PATH, UnavailableError, clean_environment

NGINX = """
worker_processes auto;
error_log stderr crit;
pid {folder}/pid;
{user}
events {{ worker_connections 1024; }}
http {{
    access_log off;
    sendfile on;
    tcp_nopush on;
    keepalive_requests 100000;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    server {{ listen {host}:{port}; root {served}; }}
}}
"""
HOST = "127.0.0.1"
LINE = "10.213.7"


@contextmanager
def nginx(served: Path, *, host: str = HOST, prefix: Sequence[str] = ()) -> Iterator[str]:
    """Run nginx on the files in SERVED and yield its URL; PREFIX comes before the command. Raise UnavailableError."""
    need("nginx")
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        user = "user root;" if os.geteuid() == 0 else ""
        configuration = Path(folder) / "nginx.conf"
        text = NGINX.format(folder=folder, host=host, port=port, served=served.absolute(), user=user)
        configuration.write_text(text)
        with running([*prefix, "nginx", "-c", str(configuration), "-g", "daemon off;"]):
            if not prefix:
                await_server(port)
            yield f"http://{host}:{port}/"


@contextmanager
def line(served: Path, megabits: int) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield the URL of an nginx behind a link of some Mbit/s, and the words that run a command at this end.

    Two network namespaces with a pair of devices between them, limited by a token bucket (tbf) at the server's end.
    """
    need("ip", "tc", "nginx")
    if os.geteuid() != 0:
        raise UnavailableError("a network namespace needs root")
    here, there = f"bench-here-{os.getpid()}", f"bench-there-{os.getpid()}"
    enter = ("ip", "netns", "exec", there)
    with ExitStack() as stack:
        for name in (here, there):
            _ip("netns", "add", name)
            stack.callback(_ip, "netns", "del", name)
        _ip("-n", here, "link", "add", "bench0", "type", "veth", "peer", "name", "bench1", "netns", there)
        for name, device, address in ((here, "bench0", f"{LINE}.1/24"), (there, "bench1", f"{LINE}.2/24")):
            _ip("-n", name, "addr", "add", address, "dev", device)
            _ip("-n", name, "link", "set", device, "up")
            _ip("-n", name, "link", "set", "lo", "up")
        bucket = ("rate", f"{megabits}mbit", "burst", "64kb", "latency", "50ms")
        _run([*enter, "tc", "qdisc", "add", "dev", "bench1", "root", "tbf", *bucket])
        url = stack.enter_context(nginx(served, host=f"{LINE}.2", prefix=enter))
        words = ("ip", "netns", "exec", here)
        _await_line(words, url)
        yield url, words


class Room:
    """Machines, each a network namespace, on one bridge; and UPSTREAM, a server behind a slow link to the same bridge.

    Attributes:
    upstream: The URL of the server.
    names: The namespaces of the machines.
    carried: For each row of a table the bytes that the link has carried, run by run.
    """

    def __init__(self, upstream: str, names: Sequence[str], counter: Sequence[str]) -> None:
        self.upstream = upstream
        self.names = names
        self.carried: dict[str, list[int]] = {}
        self._counter = counter
        self._before = self._count()

    def note(self, row: str) -> None:
        """Note what the link has carried since the last time."""
        before, self._before = self._before, self._count()
        self.carried.setdefault(row, []).append(self._before - before)

    def _count(self) -> int:
        return int(subprocess.check_output(self._counter))


def address(number: int) -> str:
    """Return the address of a machine in a room."""
    return f"{LINE}.{number + 10}"


@contextmanager
def switch(served: Path, megabits: int, machines: int) -> Iterator[Room]:
    """Yield a bridge with a number of MACHINES, and nginx on the files in SERVED behind a link of some Mbit/s."""
    need("ip", "tc", "nginx")
    if os.geteuid() != 0:
        raise UnavailableError("a network namespace needs root")
    bridge, upstream, *names = (
        f"bench-{name}-{os.getpid()}" for name in ("bridge", "upstream", *map(str, range(machines)))
    )
    with ExitStack() as stack:
        for name in (bridge, upstream, *names):
            _ip("netns", "add", name)
            stack.callback(_ip, "netns", "del", name)
            _ip("-n", name, "link", "set", "lo", "up")
        _ip("-n", bridge, "link", "add", "bench0", "type", "bridge")
        _ip("-n", bridge, "link", "set", "bench0", "up")
        for number, name in enumerate((*names, upstream)):
            _ip("-n", bridge, "link", "add", f"port{number}", "type", "veth", "peer", "name", "bench1", "netns", name)
            _ip("-n", bridge, "link", "set", f"port{number}", "master", "bench0", "up")
            _ip("-n", name, "addr", "add", f"{address(number)}/24", "dev", "bench1")
            _ip("-n", name, "link", "set", "bench1", "up")
        enter = ("ip", "netns", "exec", upstream)
        bucket = ("rate", f"{megabits}mbit", "burst", "64kb", "latency", "50ms")
        _run([*enter, "tc", "qdisc", "add", "dev", "bench1", "root", "tbf", *bucket])
        url = stack.enter_context(nginx(served, host=address(machines), prefix=enter))
        _await_line(("ip", "netns", "exec", names[0]), url)
        yield Room(url, names, (*enter, "cat", "/sys/class/net/bench1/statistics/tx_bytes"))


@contextmanager
def capped(served: Path, rates: Sequence[int], each: str, latency: float = 0.0) -> Iterator[list[str]]:
    """Yield the URL of a mirror for each of RATES, bytes per second of EACH "connection" or of the whole "mirror".

    Each answer starts LATENCY seconds after its request.
    """
    with ExitStack() as stack:
        urls = []
        for rate in rates:
            program = str(Path(__file__).parent / "bucket.py")
            argv = [sys.executable, program, str(rate), each, str(latency), str(served)]
            process = stack.enter_context(running(argv, reads=True))
            assert process.stdout is not None
            urls.append(f"http://{HOST}:{int(process.stdout.readline())}/")
        yield urls


@contextmanager
def own(root: Path) -> Iterator[str]:
    """Run the server of the program and yield its URL."""
    port = free_port()
    words = ["-m", "fmnist_fetch", "serve", "--root", str(root), "--host", HOST, "--port", str(port)]
    with running([sys.executable, *words]):
        await_server(port)
        yield f"http://{HOST}:{port}/"


@contextmanager
def running(argv: Sequence[str], *, reads: bool = False) -> Iterator[subprocess.Popen[bytes]]:
    """Run a process until the end of the block."""
    stdout = subprocess.PIPE if reads else subprocess.DEVNULL
    process = subprocess.Popen(argv, stdout=stdout, stderr=subprocess.DEVNULL, env=clean_environment({}))
    try:
        yield process
    finally:
        process.terminate()
        process.wait()
        if process.stdout:
            process.stdout.close()


def need(*programs: str) -> None:
    """Raise UnavailableError unless the programs are installed."""
    if absent := [name for name in programs if shutil.which(name, path=PATH) is None]:
        raise UnavailableError(f"{' and '.join(absent)} not installed")


def free_port() -> int:
    """Return a port that is free at the moment."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def await_server(port: int) -> None:
    """Wait until a process listens on PORT; raise UnavailableError."""
    for _ in range(200):
        try:
            socket.create_connection((HOST, port)).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise UnavailableError(f"no server came up at port {port}")


def _await_line(words: Sequence[str], url: str) -> None:
    for _ in range(100):
        if subprocess.run([*words, "curl", "-q", "-s", "-o", os.devnull, url], check=False).returncode == 0:
            return
        time.sleep(0.05)
    raise UnavailableError("nothing came through the line")


def _ip(*words: str) -> None:
    _run(["ip", *words])


def _run(argv: Sequence[str]) -> None:
    done = subprocess.run(argv, capture_output=True, text=True, check=False, env=clean_environment({}))
    if done.returncode:
        raise UnavailableError(f"`{' '.join(argv)}` failed: {done.stderr.strip()}")
