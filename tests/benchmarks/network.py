"""Tables 1, 2, 3 and 9: the four files over a healthy network, a slow link, capped connections, unequal mirrors."""

from __future__ import annotations

from dataclasses import replace

from benchmarks import peers
from benchmarks.materials import fashion, single
from benchmarks.measure import Peer
from benchmarks.peers import OURS
from benchmarks.servers import capped, line, nginx
from benchmarks.table import Bench, Table, Target

ONE = "fmnist-fetch --jobs 1"
CURL_ONE = peers.CURL
ARIA_FOUR = "aria2c -x4 -s4, download only"
START = "0.1 s are the start of Python and the import of requests and filelock, and fsync is in our row alone"
UNEQUAL = (10_000_000, 5_000_000, 1_000_000, 10_000)


def healthy(bench: Bench) -> Table:
    """Table 1."""
    served = fashion(bench)
    with nginx(served.folder) as url:
        rows = [
            peers.ours(served, [url]),
            peers.ours(served, [url], peers.ZLIB, isal=False),
            peers.coreutils(served, url),
            peers.openssl(served, url),
            peers.curl(served, url),
            peers.curl_sync(served, url),
            peers.wget(served, url),
            peers.aria(served, [url]),
            peers.aria_checksum(served, url),
            peers.aria_metalink(served, url),
            peers.seed(served, url),
            peers.pooch(served, url),
            peers.hub(served, url),
            peers.torchvision(served, url),
        ]
        done = bench.race(rows, 11)
    ratio = done.ratio
    return Table(
        1, "A healthy network: the four files from nginx on loopback",
        "Process start to exit, into an empty folder. fmnist-fetch downloads, verifies, unpacks, verifies what it"
        " unpacked, writes the tensor file and brings all of it to the disk (fsync); no other row does the last two.",
        done, OURS,
        (
            Target(f"beside `{peers.COREUTILS}`", ratio(OURS, peers.COREUTILS), at_most=0.62,
                   reason=START),
            Target(f"beside `{peers.OPENSSL}`", ratio(OURS, peers.OPENSSL), at_most=1.45,
                   reason=START),
            Target("faster than torchvision's download", ratio(peers.TORCHVISION, OURS), at_least=11),
            Target("beside pooch's mere download", ratio(OURS, peers.POOCH), at_most=1),
            Target("beside huggingface_hub's mere download", ratio(OURS, peers.HUB), at_most=1),
            Target(f"with zlib only, beside `{peers.COREUTILS}`", ratio(peers.ZLIB, peers.COREUTILS), at_most=0.75,
                   reason="zlib inflates on one core what gzip inflates on it too, and " + START),
        ),
        ("torchvision's compiled operators are left out where no build of them fits this torch; its datasets and"
         " transforms need none of them.",),
        served.megabytes,
    )  # fmt: skip


def thin(bench: Bench) -> Table:
    """Table 2."""
    served = fashion(bench)
    with line(served.folder, 100) as (url, words):
        rows = [
            peers.ours(served, [url]),
            peers.curl(served, url),
            peers.coreutils(served, url),
            peers.aria_metalink(served, url),
        ]
        done = bench.race([through(words, peer) for peer in rows], 5)
    return Table(
        2, "A line of 100 Mbit/s",
        "nginx in a network namespace of its own, behind a token bucket (tbf).",
        done, OURS,
        (Target("beside curl's mere download", done.ratio(OURS, peers.CURL), at_most=1.06,
                reason="the start and the end of the process are 0.15 s, 5 % of the download"),),
        megabytes=served.megabytes,
    )  # fmt: skip


def through(words: tuple[str, ...], peer: Peer) -> Peer:
    """Return PEER at the client's end of the link."""
    return replace(peer, argv=(*words, *peer.argv))


def cap(bench: Bench) -> Table:
    """Table 3."""
    served = fashion(bench)
    rate = bench.pick(2, 10)
    with capped(served.folder, [rate * 1_000_000], "connection") as [url]:
        rows = [
            peers.ours(served, [url]),
            peers.ours(served, [url], ONE, jobs=1),
            peers.curl(served, url),
            peers.aria(served, [url], ARIA_FOUR, ("-x4", "-s4", "-k1M", "-j1")),
        ]
        done = bench.race(rows, 2, warm=False)
    return Table(
        3, f"A cap of {rate} MB/s for each connection",
        "A token bucket from the first byte on. fmnist-fetch and aria2c have four connections, the others one.",
        done, OURS,
        (
            Target("beside aria2c with as many connections", done.ratio(OURS, ARIA_FOUR), at_most=1.1),
            Target("four connections, faster than one", done.ratio(ONE, OURS), at_least=3.5),
        ),
        megabytes=served.megabytes,
    )  # fmt: skip


def unequal(bench: Bench) -> Table:
    """Table 9, with the four files."""
    return _unequal(bench, big=False)


def unequal_big(bench: Bench) -> Table:
    """Table 9, with one large file."""
    return _unequal(bench, big=True)


def _unequal(bench: Bench, *, big: bool) -> Table:
    served = single(bench, bench.pick(200, 20) * 1_000_000) if big else fashion(bench)
    with capped(served.folder, UNEQUAL, "mirror") as urls:
        rows = [
            peers.ours(served, urls),
            peers.aria(served, urls, "aria2c -s4, download only", ("-s4", "-k1M", "-j1")),
        ]
        done = bench.race(rows, 2 if big else 5, warm=False)
    ideal = served.megabytes / (sum(UNEQUAL) / 1e6)
    seconds = done.wall(OURS)
    return Table(
        9, "Four mirrors of 10, 5, 1 and 0.01 MB/s" + (f": one file of {served.megabytes:.0f} MB" if big else ""),
        f"Caps of the mirrors, however many connections they have: 16.01 MB/s together, {ideal:.2f} s.",
        done, OURS,
        (Target("of the sum of their rates, process start to exit", seconds and 100 * ideal / seconds,
                at_least=90, unit=" %"),),
        megabytes=served.megabytes,
    )  # fmt: skip
