"""Tables 5, 6 and 10: many small files, a root that is complete already, and a root that is shared."""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path

from benchmarks import peers
from benchmarks.materials import fashion, many
from benchmarks.measure import Peer
from benchmarks.peers import OURS
from benchmarks.servers import nginx, own
from benchmarks.table import FASHION, Bench, Table, Target
from fmnist_fetch.storage.layout import Layout

VERIFY = "fmnist-fetch verify"
SERVE, NGINX = "fmnist-fetch serve", "nginx"


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
        ]
        done = bench.race(rows, 5)
    return Table(
        5, f"{len(served.manifest.files):,} files of 100 KB from one manifest",
        "curl is one process with a list of URLs, and keeps its one connection.",
        done, OURS,
        (Target("beside curl on one connection", done.ratio(OURS, peers.CURL), at_most=1.2),),
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
        digests("openssl sha256 of the same files", "openssl dgst -sha256", paths),
        Peer("python, import numpy", (sys.executable, "-c", "import numpy")),
        Peer("python, nothing", (sys.executable, "-c", "")),
    ]
    done = bench.race(rows, 15)
    return Table(
        6, f"fetch on a complete root: {size / 1e6:.0f} MB in {len(paths)} files",
        "Published files, payloads and the tensor file are all hashed; no socket is opened.",
        done, OURS,
        (Target("process start to exit", done.wall(OURS), at_most=0.10, unit=" s"),),
    )  # fmt: skip


def digests(name: str, command: str, paths: list[Path]) -> Peer:
    """COMMAND on all of PATHS."""
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
