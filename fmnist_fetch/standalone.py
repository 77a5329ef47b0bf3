"""Download files of known size and SHA-256 over bad networks, with the standard library alone.

Received bytes go to NAME.part at once and stay there if the program is killed; the next run asks
only for the rest. A file gets its final name after its digest has been verified.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import random
import shutil
import sys
import time
from collections.abc import Callable, Sequence  # Python 3.8 has no other Callable
from http.client import HTTPException
from typing import IO, Any
from urllib.error import HTTPError
from urllib.parse import quote, unquote, urlsplit
from urllib.request import Request, urlopen

TIMEOUT_S, PATIENCE_S, MAX_WAIT_S, MIN_RATE_BPS, RATE_WINDOW_S = 10, 120, 30, 4096, 10
BLOCK = 256 * 1024
AGAIN = "Check the network and run the same command again; what has arrived is kept."
Report = Callable[[str, int, int], None]


class Failure(Exception):
    """A download that cannot go on: two lines for people, and the exit code of the process."""

    def __init__(self, facts: str, hint: str, exit_code: int) -> None:
        super().__init__(f"error: {facts}\nhint: {hint}")
        self.facts, self.hint, self.exit_code = facts, hint, exit_code


class Source:
    """A URL of the file NAME, or of the folder that has it, and how it has behaved so far."""

    def __init__(self, url: str, name: str, size: int) -> None:
        base, mark, query = url.partition("?")
        if unquote(base).rpartition("/")[2] != name:
            base = base.rstrip("/") + "/" + quote(name)
        self.url, self.size, self.name = base + mark + query, size, urlsplit(url).netloc
        self.body: Any = None
        self.position = self.failures = self.wrong = 0
        self.ready, self.window, self.error = 0.0, (0.0, 0), "not tried"
        self.usable = self.ranges = True

    def read(self, start: int, stop: int, end: int) -> bytes:
        """Return bytes from START on, none past STOP; a new request asks for all up to END."""
        if self.body is None or self.position != start:
            self.close()
            self.body = self._request(start, end)
            self.window = (time.monotonic(), start)
            while self.position < start:  # The server sends the file from its beginning.
                self._receive(start - self.position)
        return self._receive(stop - start)

    def close(self) -> None:
        """Close the connection."""
        if self.body is not None:
            self.body.close()
        self.body = None

    def _receive(self, most: int) -> bytes:
        data: bytes = self.body.read1(min(most, BLOCK))
        if not data:
            raise OSError(f"ended at byte {self.position} of {self.size}")
        self.position += len(data)
        (since, before), now = self.window, time.monotonic()
        if now - since > RATE_WINDOW_S:
            self.window = (now, self.position)
            if self.position - before < MIN_RATE_BPS * RATE_WINDOW_S:
                self.failures = 1  # Let another source have its turn.
                raise OSError("is too slow")
        return data

    def _request(self, start: int, end: int) -> Any:
        headers = {"User-Agent": "fmnist-fetch", "Accept-Encoding": "identity"}
        ranged = self.ranges and (start, end) != (0, self.size)
        if ranged:
            headers["Range"] = f"bytes={start}-{end - 1}"
        try:
            answer = urlopen(Request(self.url, headers=headers), timeout=TIMEOUT_S)
        except HTTPError as error:
            if not ranged or error.code not in (400, 403, 405, 416, 501):
                raise
            answer = error
        stated = " ".join(answer.headers.get("Content-Range", "").lower().split())
        partial = answer.status == 206 and stated.startswith(f"bytes {start}-")
        if answer.status != 200 and not partial:
            answer.close()
            if not ranged:
                raise OSError("does not send the whole file")
            self.ranges = False  # Ranges save bytes, but the file can do without them.
            return self._request(start, end)
        total = stated.rpartition("/")[2] if partial else answer.headers.get("Content-Length", "")
        page = "text/html" in answer.headers.get("Content-Type", "")
        if page or (total.isdigit() and int(total) != self.size):
            answer.close()
            self.wrong += not page  # The login page of a network may be gone in a minute.
            raise OSError("sends a web page" if page else f"has {total} bytes, not {self.size}")
        self.position, self.ranges = (start if partial else 0), (partial or not ranged)
        return answer


class Download:
    """One file on its way to PATH, from one source at a time; nothing locks it."""

    def __init__(self, path: str, size: int, urls: Sequence[str], report: Report) -> None:
        self.path, self.size, self.name, self.report = path, size, os.path.basename(path), report
        self.sources = [Source(url, self.name, size) for url in urls]
        self.progress, self.done, self.patience = time.monotonic(), 0, float(PATIENCE_S)

    def run(self, sha256: str, pieces: Sequence[str], step: int) -> None:
        """Complete the file; PIECES are the SHA-256, or their beginnings, of each STEP bytes."""
        part = self.path + ".part"
        if os.path.exists(self.path) and not os.path.exists(part):
            os.replace(self.path, part)  # The good pieces of a damaged file are kept.
        open(part, "ab").close()
        with open(part, "r+b") as out:
            have, starts = out.seek(0, os.SEEK_END), range(0, self.size, step)
            good = {at for at in starts if digest(out, at, step).startswith(pieces[at // step])}
            self.done = sum(min(step, self.size - at) for at in good)
            for start in starts:
                if start not in good:
                    stop = min(start + step, self.size)
                    end = next((at for at in starts[start // step :] if at in good), self.size)
                    at = have if start < have < stop else start
                    self._receive(out, (start, at, stop, end), pieces[start // step])
            out.truncate(self.size)
            os.fsync(out.fileno())
            if digest(out, 0, self.size) != sha256:
                raise Failure(f"{self.path} has right pieces but a wrong SHA-256", AGAIN, 3)
        os.replace(part, self.path)

    def close(self) -> None:
        """Close all connections."""
        for source in self.sources:
            source.close()

    def _receive(self, out: IO[bytes], span: tuple[int, int, int, int], sha: str) -> None:
        start, at, stop, end = span
        givers: set[Source | None] = {None} if at > start else set()
        self.done += at - start
        while at < stop:
            source = self._choose()
            try:
                data = source.read(at, stop, end)
            except (OSError, HTTPException, ValueError) as error:
                self._fail(source, error)
                continue
            out.seek(at)
            out.write(data)
            out.flush()
            givers.add(source)
            at, self.done = at + len(data), self.done + len(data)
            self.progress, source.failures = time.monotonic(), -1
            self.report(self.name, self.done, self.size)
            if at == stop and not digest(out, start, stop - start).startswith(sha):
                source.ranges = False  # They may be from another place of the file.
                source.wrong += givers == {source}
                self._fail(source, OSError("sends wrong bytes"))
                self.done -= stop - start
                at, givers = start, set()

    def _fail(self, source: Source, error: Exception) -> None:
        source.close()
        source.error = str(getattr(error, "reason", None) or error)
        source.failures += 1
        code = getattr(error, "code", 0)
        gone = 400 <= code < 500 and code not in (408, 416, 425, 429)
        source.usable = source.wrong < 2 and not gone
        asked = ""
        if isinstance(error, HTTPError):
            asked = str(error.headers.get("Retry-After"))
            error.close()
        wait = random.uniform(0, 2.0 ** min(source.failures, 9) / 4) if source.failures else 0
        wait = min(int(asked) if asked.isdigit() else wait, MAX_WAIT_S)
        source.ready = time.monotonic() + wait

    def _choose(self) -> Source:
        while True:
            now = time.monotonic()
            usable = [source for source in self.sources if source.usable]
            if not usable or now - self.progress > self.patience:
                told = "; ".join(f"{source.name}: {source.error}" for source in self.sources)
                facts = f"could not download {self.name} ({self.done} of {self.size} bytes)"
                wrong = any(source.wrong for source in self.sources)
                raise Failure(f"{facts} from {told or 'nowhere'}", AGAIN, 3 if wrong else 4)
            best = min(usable, key=lambda one: (max(one.ready, now), one.wrong, one.failures))
            if best.ready <= now:
                return best
            time.sleep(min(best.ready - now, 1))


def digest(file: IO[bytes], start: int, count: int) -> str:
    """Return the SHA-256 of COUNT bytes of FILE, or of all that there are."""
    found, stop = hashlib.sha256(), start + count
    file.seek(start)
    while start < stop and (data := file.read(min(stop - start, BLOCK))):
        found.update(data)
        start += len(data)
    return found.hexdigest()


def verifies(path: str, size: int, sha256: str) -> bool:
    """Return whether PATH is a file of SIZE bytes with this digest."""
    try:
        with open(path, "rb") as file:
            return os.path.getsize(path) == size and digest(file, 0, size) == sha256
    except OSError:
        return False


def show(name: str, done: int, size: int) -> None:
    """Show the progress in one line, on a terminal only."""
    if sys.stderr.isatty():
        line = f"\r{name}: {done / 1e6:.1f} of {size / 1e6:.1f} MB"
        print(line.ljust(70), end="\n" if done == size else "", file=sys.stderr, flush=True)


def fetch(path: str, size: int, sha256: str, urls: Sequence[str], **options: Any) -> None:
    """Make PATH the file of SIZE bytes with this digest, from URLS of the file or its folder.

    Options: `pieces`, SHA-256 digests of each `step` bytes, or their beginnings; `report`.
    """
    if not verifies(path, size, sha256):
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        download = Download(path, size, urls, options.get("report", show))
        try:
            download.run(sha256, options.get("pieces") or [sha256], options.get("step") or size)
        finally:
            download.close()


def unpack(path: str, size: int, sha256: str) -> None:
    """Unpack PATH, NAME.gz, to NAME, of SIZE bytes with this digest."""
    target, temporary = path[:-3], path[:-3] + ".tmp"
    if not verifies(target, size, sha256):
        with gzip.open(path) as packed, open(temporary, "wb") as out:
            shutil.copyfileobj(packed, out, BLOCK)
        os.replace(temporary, target)


def main(folder: str, mirrors: Sequence[str], files: Sequence[Sequence[Any]]) -> int:
    """Download and unpack FILES into FOLDER; return the exit code.

    A row of FILES: name, size, SHA-256, step and digests of pieces, unpacked size and SHA-256.
    """
    try:
        for name, size, sha256, step, pieces, unpacked_size, unpacked_sha256 in files:
            path = os.path.join(folder, name)
            fetch(path, size, sha256, mirrors, pieces=pieces.split(), step=step)
            if name.endswith(".gz"):
                unpack(path, unpacked_size, unpacked_sha256)
        print(f"{os.path.abspath(folder)} is complete and verified")
        return 0
    except Failure as error:
        failure = error
    except OSError as error:
        failure = Failure(str(error), "Free some space or name another folder.", 5)
    except KeyboardInterrupt:
        failure = Failure("interrupted", AGAIN, 130)
    print(f"\n{failure}", file=sys.stderr)
    return failure.exit_code
