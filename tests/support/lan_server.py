"""The server of the local network as a process of its own, and a plain client for it."""

from __future__ import annotations

import http.client
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, Self
from urllib.parse import urlsplit

from processes import environment

SERVER = """
import sys
from pathlib import Path
from fmnist_fetch.manifest.catalog import find
from fmnist_fetch.commands.serve.server import serve
from fmnist_fetch.commands.serve.files import ServedFiles
from fmnist_fetch.commands.serve.wheels import ServedWheels
root, project, *names = sys.argv[1:]
wheels = ServedWheels.of_project(Path(project or root))
files = ServedFiles(Path(root), [find(name) for name in names])
serve(files, wheels, "127.0.0.1", 0, lambda line: print(line, flush=True))
"""


class Answer(NamedTuple):
    """The response to a request."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes


class Server:
    """A server of DATASETS in a process of its own, on ROOT, and of the wheels of PROJECT.

    `code` is run first there; `descriptors` limits its open files, soft and hard.
    """

    def __init__(
        self, root: Path, *datasets: str, project: Path | None = None, code: str = "", descriptors: int | None = None
    ) -> None:
        self.rest = ""
        limited = ["sh", "-c", f'ulimit -n {descriptors}; exec "$@"', "sh"] if descriptors else []
        self.process = subprocess.Popen(
            [*limited, sys.executable, "-c", f"{code}\n{SERVER}", root, project or "", *datasets],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(),
        )
        assert self.process.stdout is not None
        self.first_line = self.process.stdout.readline()
        self.url = self.first_line.rpartition(" ")[2].strip()
        assert self.url.startswith("http://127.0.0.1:"), self.process.communicate(timeout=20)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *unused: object) -> None:
        if self.process.poll() is None:
            assert self.end() == (0, "")

    def connect(self) -> socket.socket:
        """Return a connection on which nothing was sent yet."""
        parts = urlsplit(self.url)
        return socket.create_connection((parts.hostname, parts.port), timeout=20)

    def line_with(self, text: str) -> str:
        """Wait for a line on stdout that contains TEXT."""
        assert self.process.stdout is not None
        return next(line for line in self.process.stdout if text in line)

    def connections(self) -> int:
        """Return how many sockets it has open besides the one that it listens on. Linux only."""
        found = [str(entry.readlink()) for entry in Path(f"/proc/{self.process.pid}/fd").iterdir()]
        # One listens; asyncio wakes its loop with a pair.
        return sum(link.startswith("socket:") for link in found) - 3

    def ask(self, path: str, method: str = "GET", **headers: str) -> Answer:
        connection = http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=20)
        connection.request(method, path, headers={name.replace("_", "-"): text for name, text in headers.items()})
        response = connection.getresponse()
        answer = Answer(response.status, response.headers, response.read())
        connection.close()
        return answer

    def end(self, number: signal.Signals = signal.SIGTERM) -> tuple[int, str]:
        """Send the signal; return the exit code and what it printed on stderr, and keep the rest of stdout."""
        self.process.send_signal(number)
        self.rest, errors = self.process.communicate(timeout=20)
        return self.process.returncode, errors


def until(condition: Callable[[], bool]) -> None:
    """Wait until CONDITION is true; fail after 30 seconds."""
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end, "the condition never became true"
        time.sleep(0.05)
