"""Download files of known size and SHA-256 over bad networks, with the standard library alone.

Received bytes go to NAME.part at once and stay there if the program is killed; the next run asks
only for the rest. A file gets its final name after its digest has been verified.

The text below is also the program of the script that people paste, as it is. So it runs on Python
3.8, and comments beside the definitions take the place of docstrings.

`fetch` takes the options `pieces`, the SHA-256 of each `step` bytes or their beginnings; `report`,
which is called with the name, the bytes there and the size; and `patience` in seconds.
"""

from __future__ import annotations

import gzip, hashlib, http.client, os, random, shutil, sys, time, urllib.error, urllib.request, zlib
from typing import Any, BinaryIO, Iterable, Iterator
from urllib.parse import quote, unquote, urlsplit
TIMEOUT_S, PATIENCE_S, MAX_WAIT_S, MIN_RATE_BPS, RATE_WINDOW_S = 10, 120, 30, 4096, 10
BLOCK_BYTES = 256 * 1024
AGAIN = "Check the network and run the same command again; what has arrived is kept."

class Failure(Exception):  # An error in two lines, and the exit code of the process.
    def __init__(self, facts: str, hint: str, exit_code: int) -> None:
        super().__init__(f"error: {facts}\nhint: {hint}")
        self.facts, self.hint, self.exit_code = facts, hint, exit_code

class Source:  # A URL of a file, and how it has behaved so far.
    def __init__(self, url: str, name: str, size: int) -> None:
        base, mark, query = url.partition("?")
        if unquote(base).rpartition("/")[2] != name:
            base = base.rstrip("/") + "/" + quote(name)
        self.url, self.size = base + mark + query, size
        self.host = urlsplit(url).netloc.rpartition("@")[2]
        self.error, self.ready, self.failures, self.wrong = "not tried", 0.0, 0, 0
        self.usable = self.ranges = True
    def read(self, start: int, end: int) -> Iterator[bytes]:  # Yield these bytes.
        ranged = self.ranges and (start, end) != (0, self.size)  # Ask for a part.
        span = {"Range": f"bytes={start}-{end - 1}"} if ranged else {}
        headers = {"User-Agent": "fmnist-fetch", "Accept-Encoding": "identity", **span}
        request = urllib.request.Request(self.url, headers=headers)
        try:
            answer: Any = urllib.request.urlopen(request, timeout=TIMEOUT_S)
        except urllib.error.HTTPError as error:
            if not ranged or error.code not in (400, 403, 405, 416, 501):
                raise
            answer = error
        with answer:
            header = answer.headers.get
            stated = " ".join(header("Content-Range", "").lower().split())
            partial = answer.status == 206 and stated.startswith(f"bytes {start}-")
            if partial or answer.status == 200:
                length, wanted = header("Content-Length"), end - start if partial else self.size
                # Many servers say gzip of a .gz file, but send it as it is.
                coded = "gzip" in header("Content-Encoding", "") and length != str(wanted)
                total = stated.rpartition("/")[2] if partial else None if coded else length
                if total != str(self.size) and "text/html" in header("Content-Type", ""):
                    raise OSError("sends a web page")  # A login page may go away.
                if total and total.isdigit() and int(total) != self.size:
                    self.wrong += 1
                    raise OSError(f"has {total} bytes, not {self.size}")
                self.ranges = partial or not ranged
                yield from self._span(blocks(answer, coded), start if partial else 0, start, end)
                return
        if not ranged:
            raise OSError("does not send the whole file")
        self.ranges = False  # Ask for the whole file.
        yield from self.read(start, end)
    def _span(self, received: Iterable[bytes], at: int, start: int, end: int) -> Iterator[bytes]:
        since, before = time.monotonic(), at
        for data in received:
            wanted = data[max(start - at, 0) : end - at]
            at += len(data)
            if wanted:
                yield wanted
            if at >= end:
                return
            if time.monotonic() - since > RATE_WINDOW_S:
                if at - before < MIN_RATE_BPS * RATE_WINDOW_S:
                    self.failures = 1  # Another source is asked next.
                    raise OSError("is too slow")
                since, before = time.monotonic(), at
        raise OSError(f"ended at byte {at} of {self.size}")
    def fail(self, error: Exception) -> None:  # Note when to try again.
        text = str(getattr(error, "reason", None) or error)
        # A server may have written it.
        self.error = "".join(char if char.isprintable() else "?" for char in text[:200])
        self.failures += 1
        code = getattr(error, "code", 0)
        gone = 400 <= code < 500 and code not in (408, 416, 425, 429)
        self.usable = self.wrong < 3 and not gone
        wait = random.uniform(0, 2.0 ** min(self.failures, 9) / 4) if self.failures else 0
        asked = str((getattr(error, "headers", None) or {}).get("Retry-After"))
        wait = min(int(asked) if asked.isdigit() else wait, MAX_WAIT_S)
        self.ready = time.monotonic() + wait
        getattr(error, "close", bool)()

def blocks(answer: Any, coded: bool) -> Iterator[bytes]:  # Yield the unpacked body.
    unpacker = zlib.decompressobj(31)
    while data := answer.read1(BLOCK_BYTES):
        while coded and data:
            yield unpacker.decompress(data, BLOCK_BYTES)
            data = unpacker.unconsumed_tail
        yield data

def choose(sources: list[Source], deadline: float, what: str) -> Source:
    # Wait for the best of SOURCES that is ready, until DEADLINE; raise Failure.
    while True:
        now = time.monotonic()
        usable = [source for source in sources if source.usable]
        if not usable or now > deadline:
            told = "; ".join(f"{one.host}: {one.error}" for one in sources) or "any source"
            code = 3 if any(one.wrong for one in sources) else 4
            raise Failure(f"could not download {what} from {told}", AGAIN, code)
        best = min(usable, key=lambda one: (max(one.ready, now), one.wrong, one.failures))
        if best.ready <= now:
            return best
        time.sleep(min(best.ready - now, 1))

def digest(file: BinaryIO, start: int, count: int) -> str:
    # Return the SHA-256 of COUNT bytes of FILE, or of all that there are.
    found, stop = hashlib.sha256(), start + count
    file.seek(start)
    while start < stop and (data := file.read(min(stop - start, BLOCK_BYTES))):
        found.update(data)
        start += len(data)
    return found.hexdigest()

def verifies(path: str, size: int, sha256: str) -> bool:  # Return whether it is right.
    try:
        with open(path, "rb") as file:
            return os.path.getsize(path) == size and digest(file, 0, size) == sha256
    except OSError:
        return False

def show(name: str, done: int, size: int) -> None:  # Show the progress on a terminal.
    if sys.stderr.isatty():
        line = f"\r{name}: {done / 1e6:.1f} of {size / 1e6:.1f} MB"
        print(line.ljust(70), end="\n" if done == size else "", file=sys.stderr, flush=True)

def complete(out: BinaryIO, missing: dict[int, str], step: int, size: int, **more: Any) -> None:
    # Write the MISSING pieces (offset: SHA-256) of STEP bytes to OUT, in their order.
    name, report = os.path.basename(out.name)[:-5], more.get("report", show)
    patience = more.get("patience", PATIENCE_S)
    at, deadline = out.seek(0, os.SEEK_END), time.monotonic() + patience
    givers: set[object] = {"an earlier run"}  # Who sent the incomplete piece.
    while missing:  # Ask a source for what is missing, and check it.
        start = min(missing)
        stop = min(start + step, size)
        end = next((other for other in range(start, size, step) if other not in missing), size)
        if not start < at < stop:  # Nothing of this piece is there.
            at, givers = start, set()
        done = size - sum(min(step, size - other) for other in missing) + at - start
        source = choose(more["sources"], deadline, f"{name} ({done} of {size} bytes)")
        try:
            for data in source.read(at, end):
                out.seek(at)
                out.write(data)
                out.flush()
                at, done = at + len(data), done + len(data)
                givers.add(source)
                source.failures, deadline = -1, time.monotonic() + patience
                report(name, done, size)
                while start < end and at >= stop:
                    if not digest(out, start, stop - start).startswith(missing[start]):
                        source.wrong += givers == {source}
                        # They may be from another place of the file.
                        source.ranges = source.ranges and source.wrong < 2
                        raise OSError("sends wrong bytes")
                    del missing[start]  # This piece is verified.
                    start, stop, givers = stop, min(stop + step, size), {source}
        except (OSError, ValueError, http.client.HTTPException, zlib.error) as error:
            source.fail(error)

def fetch(path: str, size: int, sha256: str, sources: list[Source], **options: Any) -> None:
    # Make PATH the file of SIZE bytes with this digest; nothing locks it.
    if verifies(path, size, sha256):
        return
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    part = path + ".part"
    if os.path.exists(path) and not os.path.exists(part):
        os.replace(path, part)  # The good pieces of a damaged file are kept.
    open(part, "ab").close()
    with open(part, "r+b") as out:
        step, pieces = options.pop("step", 0) or size, options.pop("pieces", ()) or [sha256]
        listed = [(at, pieces[at // step]) for at in range(0, size, step)]
        missing = {at: sha for at, sha in listed if not digest(out, at, step).startswith(sha)}
        complete(out, missing, step, size, sources=sources, **options)
        out.truncate(size)
        os.fsync(out.fileno())
        if digest(out, 0, size) != sha256:
            out.truncate(0)  # The shortened digests of its pieces were not enough.
            raise Failure(f"{path} has right pieces but a wrong SHA-256", AGAIN, 3)
    os.replace(part, path)  # Only a verified file gets its name.

def unpack(path: str, size: int, sha256: str) -> None:  # Unpack NAME.gz to NAME.
    target, temporary = path[:-3], path[:-3] + ".tmp"
    if not verifies(target, size, sha256):
        with gzip.open(path) as packed, open(temporary, "wb") as out:
            shutil.copyfileobj(packed, out, BLOCK_BYTES)
        os.replace(temporary, target)

def main(folder: str, mirrors: list[str], files: list[Any]) -> int:  # Download all.
    try:
        for name, size, sha256, step, pieces, unpacked_size, unpacked_sha256 in files:
            path = os.path.join(folder, name)
            sources = [Source(url, name, size) for url in mirrors]
            fetch(path, size, sha256, sources, step=step, pieces=pieces.split())
            if name.endswith(".gz"):
                unpack(path, unpacked_size, unpacked_sha256)
        print(f"{os.path.abspath(folder)} is complete and verified")
        return 0
    except (Failure, OSError, KeyboardInterrupt) as error:
        disk = Failure(str(error), "Free some space, or name another folder.", 5)
        stopped = disk if isinstance(error, OSError) else Failure("interrupted", AGAIN, 130)
        failure = error if isinstance(error, Failure) else stopped
        print(f"\n{failure}", file=sys.stderr)
        return failure.exit_code
