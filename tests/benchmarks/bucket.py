"""A mirror that caps its rate: python bucket.py BYTES_PER_SECOND connection|mirror SECONDS FOLDER

It prints its port. Each answer starts SECONDS after its request. The cap applies from the first byte on, to each
connection or to all of them together: a token bucket that starts empty and contains at most the bytes of a hundredth
of a second. nginx's limit_rate starts again with each request and does not limit its first second, so that it
would compare sizes of requests and not tools.
"""

from __future__ import annotations

import re
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

STEPS = 100
"""Steps in a second."""


class Bucket:
    """A token is a byte; RATE of them come per second, and at most one step of them is kept."""

    def __init__(self, rate: int) -> None:
        self.step = max(1, rate // STEPS)
        self._rate = rate
        self._due = time.monotonic()
        self._lock = threading.Lock()

    def take(self, count: int) -> None:
        """Wait until COUNT bytes, at most a step, are available. Connections that share the bucket take turns."""
        with self._lock:
            now = time.monotonic()
            self._due = due = max(self._due, now - self.step / self._rate) + count / self._rate
        time.sleep(max(0.0, due - now))


class Mirror(BaseHTTPRequestHandler):
    """GET and HEAD with single ranges (RFC 9110, section 14) and keep-alive."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    rate = 1
    latency = 0.0
    shared: Bucket | None = None
    folder = Path()

    def setup(self) -> None:
        """Start a connection."""
        super().setup()
        self.bucket = self.shared or Bucket(self.rate)

    def do_GET(self) -> None:
        """Send the requested bytes, a step at a time."""
        time.sleep(self.latency)
        path = self.folder / Path(self.path).name
        if not path.is_file():
            self.send_error(404)
            return
        size = path.stat().st_size
        start, stop = self._head(size)
        if self.command == "HEAD":
            return
        with path.open("rb") as file:
            file.seek(start)
            while start < stop:
                data = file.read(min(self.bucket.step, stop - start))
                self.bucket.take(len(data))
                try:
                    self.wfile.write(data)
                except OSError:
                    # The client has what it needs, and has closed the connection.
                    self.close_connection = True
                    return
                start += len(data)

    do_HEAD = do_GET  # noqa: N815

    def _head(self, size: int) -> tuple[int, int]:
        """Send the head of the answer; return the span of bytes that follows."""
        start, stop = 0, size
        if asked := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "")):
            start = min(int(asked[1]), size)
            stop = min(int(asked[2] or size - 1) + 1, size)
        self.send_response(206 if asked else 200)
        if asked:
            self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{size}")
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(stop - start))
        self.end_headers()
        return start, stop

    def log_message(self, *_words: object) -> None:
        """Print nothing."""


class Server(ThreadingHTTPServer):
    """One thread for each connection."""

    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, *_words: object) -> None:
        """Ignore a client that closes the connection."""


def main() -> None:
    """Serve until the process is ended."""
    Mirror.rate, Mirror.latency, Mirror.folder = int(sys.argv[1]), float(sys.argv[3]), Path(sys.argv[4])
    Mirror.shared = Bucket(Mirror.rate) if sys.argv[2] == "mirror" else None
    with Server(("127.0.0.1", 0), Mirror) as server:
        print(server.server_address[1], flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main()
