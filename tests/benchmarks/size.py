"""Table 4: one large file, a large .gz with everything that follows, and how the cost grows with the size."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks import peers
from benchmarks.materials import MIB, Served, packed, single
from benchmarks.measure import Race
from benchmarks.peers import OURS
from benchmarks.servers import nginx
from benchmarks.table import Bench, Table, Target

MEMORY, GROWTH = 60, 20
"""MB of the program's largest process at any size, and between the smallest and the largest size."""
HEAP = "each connection holds a block that it received, and glibc's heap has gaps between them"
TWICE = "every byte is hashed, and written to the tensor file too, and all of it is synced; curl does none of that"
SIZES = (1, 4, 16, 64, 256, 1024, 4096)


def single_file(bench: Bench) -> Table:
    """Table 4, a file that is its own payload."""
    served = single(bench, bench.pick(2048, 256) * MIB)
    with nginx(served.folder) as url:
        rows = [
            peers.ours(served, [url]),
            peers.curl(served, url),
            peers.curl_sync(served, url),
            peers.curl_copy(served, url),
            peers.aria_checksum(served, url),
            peers.aria_metalink(served, url),
            peers.pooch(served, url),
        ]
        done = bench.race(rows, 3, warm=False)
    return Table(
        4, f"One file of {served.megabytes / MIB * 1e6:,.0f} MiB",
        f"A plain IDX file of {len(served.manifest.files[0].pieces):,} pieces. fmnist-fetch verifies it, writes the"
        " tensor file, which is as large again, and brings both to the disk.",
        done, OURS,
        (
            Target("beside curl", done.ratio(OURS, peers.CURL), at_most=1.3, reason=TWICE),
            Target("beside curl with as many bytes on the disk", done.ratio(OURS, peers.CURL_COPY), at_most=1.3),
            memory(done),
        ),
        megabytes=served.megabytes,
    )  # fmt: skip


def packed_file(bench: Bench) -> Table:
    """Table 4, a file that is unpacked."""
    served = packed(bench, bench.pick(40, 4))
    with nginx(served.folder) as url:
        rows = [
            peers.ours(served, [url]),
            peers.ours(served, [url], peers.ZLIB, isal=False),
            peers.coreutils(served, url),
            peers.openssl(served, url),
            peers.curl(served, url),
        ]
        done = bench.race(rows, 3, warm=False)
    size = served.manifest.files[0].payload.size / 1e6
    return Table(
        4, f"A .gz of {served.megabytes:,.0f} MB that unpacks to {size:,.0f} MB, the whole way",
        "Download, verify, unpack; fmnist-fetch also verifies the payload, writes the tensor file and brings all three"
        " to the disk.",
        done, OURS,
        (Target(f"beside `{peers.COREUTILS}`", done.ratio(OURS, peers.COREUTILS), at_most=0.35), memory(done)),
        megabytes=served.megabytes,
    )  # fmt: skip


def growth(bench: Bench) -> Table:
    """Table 4, from 1 MB to 4 GiB."""
    sizes = bench.pick(SIZES, SIZES[:5])
    done = Race((), {}, {})
    moved: dict[str, float] = {}
    for size in sizes:
        served = single(bench, size * MIB)
        found = _pair(bench, served, 2 if size > 1000 else 5)
        done = joined(done, found, f"{size:,} MiB: ")
        moved |= dict.fromkeys(done.names[-2:], served.megabytes)
        for file in served.folder.iterdir():
            file.unlink()
    ours, last, before = [f"{size:,} MiB: {OURS}" for size in sizes], sizes[-1], sizes[-2]
    slower = done.wall(ours[-1]), done.wall(ours[-2])
    worked = done.cpu(ours[-1]), done.cpu(ours[-2])
    peaks = [peak for name in ours if (peak := done.peak(name)) is not None]
    return Table(
        4, f"How the cost grows, from {sizes[0]} MiB to {last:,} MiB",
        "As the first of these tables.",
        done, "",
        (
            Target(f"seconds of {last:,} MiB beside those of {before:,} MiB", quotient(*slower), at_most=4.8),
            Target("the same of the processor's seconds", quotient(*worked), at_most=4.8),
            Target("memory at any of these sizes", max(peaks, default=None), at_most=MEMORY, unit=" MB"),
            Target("growth of the memory over these sizes", max(peaks) - min(peaks) if peaks else None,
                   at_most=GROWTH, unit=" MB", reason=HEAP),
        ),
        ("![seconds over size](growth.png)",),
        megabytes=moved,
        draw=lambda path: plot(done, sizes, path),
    )  # fmt: skip


def _pair(bench: Bench, served: Served, rounds: int) -> Race:
    with nginx(served.folder) as url:
        rows = [peers.ours(served, [url]), peers.curl_sync(served, url)]
        return bench.race(rows, rounds, warm=False)


def joined(race: Race, more: Race, prefix: str) -> Race:
    """Return RACE and the rows of MORE, whose names get PREFIX."""
    return Race(
        (*race.names, *(prefix + name for name in more.names)),
        race.runs | {prefix + name: runs for name, runs in more.runs.items()},
        race.absent | {prefix + name: reason for name, reason in more.absent.items()},
    )


def quotient(value: float | None, other: float | None) -> float | None:
    """Return VALUE divided by OTHER, if both are known."""
    return value / other if value and other else None


def memory(done: Race) -> Target:
    """Return the target for the peak of the program."""
    return Target("memory", done.peak(OURS), at_most=MEMORY, unit=" MB")


def plot(race: Race, sizes: Sequence[int], path: Path) -> None:
    """Draw seconds over MiB on logarithmic axes: a linear cost is a line that rises by one decade in a decade."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.add_subplot()
    for name, style in ((OURS, "o-"), (peers.CURL_SYNC, "s--")):
        known = [(size, race.wall(f"{size:,} MiB: {name}")) for size in sizes]
        points = [(size, wall) for size, wall in known if wall]
        axes.loglog(*zip(*points, strict=True), style, label=name)
    axes.set(xlabel="size of the file in MiB", ylabel="seconds, start to exit")
    axes.grid(visible=True, alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=100)
