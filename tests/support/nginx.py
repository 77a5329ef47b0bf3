"""A running nginx."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

PATH = f"{os.environ['PATH']}{os.pathsep}/usr/sbin{os.pathsep}/usr/local/sbin{os.pathsep}/sbin"
CONFIGURATION = """
daemon off; pid {folder}/pid; error_log {folder}/errors; {user}
events {{ }}
http {{
    access_log off;
    log_format lines '$status $body_bytes_sent';
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
{server}
}}
"""


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@contextlib.contextmanager
def nginx(folder: Path, server: str, port: int) -> Iterator[str]:
    """Run nginx with the block SERVER, which listens on PORT, and yield its URL; skip the test without nginx."""
    program = shutil.which("nginx", path=PATH)
    if program is None:
        pytest.skip("nginx is not installed")
    folder.mkdir(exist_ok=True)
    user = "user root;" if os.geteuid() == 0 else ""
    (folder / "nginx.conf").write_text(CONFIGURATION.format(folder=folder, user=user, server=server))
    command: list[str | Path] = [program, "-e", folder / "errors", "-p", folder, "-c", folder / "nginx.conf"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            _wait_for(port, process)
            yield f"http://127.0.0.1:{port}/"
        finally:
            process.terminate()


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + 20
    while time.monotonic() < end and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.02)
    raise AssertionError("nginx does not come up")
