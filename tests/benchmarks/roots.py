"""Tables 5, 6 and 10: many small files, a complete root, and a root that is shared."""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path

from benchmarks import peers
from benchmarks.materials import fashion, many
from benchmarks.measure import Peer
from benchmarks.peers import OURS
from benchmarks.servers import capped, nginx, own
from benchmarks.table import FASHION, Bench, Table, Target
from fmnist_fetch.storage.layout import Layout

VERIFY = "fmnist-fetch verify"
SERVE, NGINX = "fmnist-fetch serve", "nginx"
OPENSSL = "openssl sha256 of the same files"
ARIA_FOUR = "aria2c -j4, download only"
SMALL = (
    "each file is synced, renamed, and written to the tensor file too, which the other does not do, and four threads"
    " share the interpreter's lock"
)
START = "Python and the modules that hash take 50 ms to start, half of the time that openssl needs for all"
LATENCY = 0.02
"""Seconds from a request to its answer."""
OPENSSL_RATE = 1e9
"""Bytes per second that openssl has to hash where the bound in seconds holds."""


def small_files(bench: Bench) -> Table:
    """Table 5."""
    served = many(bench, bench.pick(2000, 100), 100_000)
    with nginx(served.folder) as url:
        rows = [
            peers.ours(served, [url]),
            peers.curl(served, url),
            peers.curl_sync(served, url),
            peers.wget(served, url),
            peers.aria(served, [url]),
            peers.aria_checksum(served, url),
            peers.loop(served, url),
        ]
        done = bench.race(rows, 5)
    return Table(
        5, f"{len(served.manifest.files):,} files of 100 KB from one manifest",
        "curl is one process with a list of URLs, and keeps its one connection.",
        done, OURS,
        (
            Target(f"beside `{peers.LOOP}` on one connection", done.ratio(OURS, peers.LOOP), at_most=1.3,
                   reason=SMALL),
            Target("beside aria2c --checksum", done.ratio(OURS, peers.ARIA_CHECK), at_most=0.8, reason=SMALL),
        ),
        megabytes=served.megabytes,
    )  # fmt: skip


def distant_files(bench: Bench) -> Table:
    """Table 5, where each answer starts after 20 ms."""
    served = many(bench, bench.pick(500, 100), 100_000)
    with capped(served.folder, [10**9], "connection", LATENCY) as [url]:
        rows = [
            peers.ours(served, [url]),
            peers.curl(served, url),
            peers.curl_parallel(served, url),
            peers.aria(served, [url], ARIA_FOUR, ("-j4",)),
        ]
        done = bench.race(rows, 3, warm=False)
    return Table(
        5, f"{len(served.manifest.files):,} files of 100 KB, {LATENCY * 1000:.0f} ms away",
        "Each answer begins so long after its request. fmnist-fetch, curl --parallel and aria2c have four connections.",
        done, OURS,
        (
            Target("faster than curl on one connection", done.ratio(peers.CURL, OURS), at_least=3),
            Target("beside curl --parallel with as many connections", done.ratio(OURS, peers.CURL_PARALLEL),
                   at_most=1.2),
        ),
        megabytes=served.megabytes,
    )  # fmt: skip


def complete_root(bench: Bench) -> Table:
    """Table 6."""
    root = bench.work / "complete"
    shutil.rmtree(root, ignore_errors=True)
    shutil.copytree(bench.root / FASHION.folder, root / FASHION.folder)
    layout = Layout(root, FASHION)
    paths = [path for file in FASHION.files for path in (layout.published(file), layout.payload(file))]
    paths.append(layout.tensors)
    size = sum(path.stat().st_size for path in paths)
    program = (sys.executable, "-m", "fmnist_fetch")
    rows = [
        Peer(OURS, (*program, "fetch", "--root", str(root))),
        Peer(VERIFY, (*program, "verify", "--root", str(root))),
        digests("sha256sum of the same files", "sha256sum", paths),
        digests(OPENSSL, "openssl dgst -sha256", paths),
        Peer("python, import numpy", (sys.executable, "-c", "import numpy")),
        Peer("python, nothing", (sys.executable, "-c", "")),
    ]
    done = bench.race(rows, 15)
    hashing = done.wall(OPENSSL)
    rate = size / hashing if hashing else 0.0
    return Table(
        6, f"fetch on a complete root: {size / 1e6:.0f} MB in {len(paths)} files",
        "Published files, payloads and the tensor file are all hashed; no socket is opened.",
        done, OURS,
        (
            Target(f"process start to exit, where openssl hashes 1 GB/s (here {rate / 1e9:.2f} GB/s)",
                   done.wall(OURS) if rate >= OPENSSL_RATE else None, at_most=0.10, unit=" s", reason=START),
            Target(f"beside `{OPENSSL}`", done.ratio(OURS, OPENSSL), at_most=1.0, reason=START),
        ),
    )  # fmt: skip


def digests(name: str, command: str, paths: list[Path]) -> Peer:
    """Return COMMAND on all of PATHS."""
    return Peer(name, (*shlex.split(command), *map(str, paths)), needs=(command.split()[0],))


def sharing(bench: Bench) -> Table:
    """Table 10."""
    clients = bench.pick(40, 10)
    served = fashion(bench)
    words = [f"{file.name}:{file.size}:{file.sha256}" for file in FASHION.files]
    with own(bench.root) as ours, nginx(served.folder) as theirs:
        rows = [
            peers.script(name, "many_clients.py", str(clients), url, *words, timed=True)
            for name, url in ((SERVE, ours), (NGINX, theirs))
        ]
        done = bench.race(rows, 7)
    return Table(
        10, f"`make serve`: {clients} clients at once, all four files each",
        "The clients are threads that let the kernel fill their buffers; every byte is checked after the clock has"
        " stopped. CPU and memory are the clients'.",
        done, SERVE,
        (Target("share of nginx's rate", done.ratio(NGINX, SERVE), at_least=0.5),),
        megabytes=served.megabytes * clients,
    )  # fmt: skip
