"""PYTHONPATH=tests python -m benchmarks [--root data] [--only 3,6] [--quick] [--work FOLDER]; or `make bench`."""

from __future__ import annotations

import argparse
import datetime
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import clone, machine, network, report, room, roots, size, use
from benchmarks.measure import UnavailableError
from benchmarks.table import FASHION, Bench, Maker, Table
from fmnist_fetch.pipeline.status import inspect
from fmnist_fetch.storage.layout import Layout

HERE = Path(__file__).parent
RESULTS = HERE / "RESULTS.md"
HOW_TO_READ = """## How to read it

- **Rows.** Each is a whole process, from its start to its exit, in an empty folder. The rows run by turns, forwards and
  backwards, after a round that does not count. Every file that a row left was compared with its SHA-256 after the
  clock had stopped.
- **What is ours.** The rows of `fmnist-fetch` include work that the other rows leave out: every piece is verified
  before it is written, the payload is unpacked and verified too, the tensor file is written, and all of it is on the
  disk (fsync) at the end. The name of each other row says what it does.
- **Figures.** "median" is the median of the seconds. "takes" is the median of the ratios within the rounds. Both rows
  of such a ratio ran in the same round, so a machine that is slow for a while changes it little; it need not be the
  ratio of the medians. CPU is the user and system time of all processes of a row. Memory is the peak of the largest
  of them, at least 10 MB.
- **Bounds.** A bound is a promise and not a wish: it was set from what was measured, and a change that exceeds it is
  a fault to be found. Where this machine does not meet one, the reason is beside it."""
MAKERS: dict[int, tuple[Maker, ...]] = {
    1: (network.healthy,),
    2: (network.thin,),
    3: (network.cap,),
    4: (size.single_file, size.packed_file, size.growth),
    5: (roots.small_files, roots.distant_files),
    6: (roots.complete_root,),
    7: (use.tensors, use.first_batch, use.batches),
    8: (use.training, use.other_ways),
    9: (network.unequal, network.unequal_big),
    10: (roots.sharing,),
    11: (clone.from_clone,),
    12: (room.room,),
}


def main() -> int:
    """Make the tables, print each when it is ready, and write them to a file; return 1 if a row failed."""
    options = parse()
    # SIGTERM ends the with blocks too, so that servers and namespaces are removed.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if not inspect(Layout(options.root, FASHION)).complete:
        print(f"error: {options.root} is not complete\nhint: make data ROOT={options.root}", file=sys.stderr)
        return 1
    load = machine.load()
    options.work.mkdir(parents=True, exist_ok=True)
    tables: list[Table] = []
    texts: list[str] = []
    with tempfile.TemporaryDirectory(prefix="bench-", dir=options.work) as folder:
        shape = machine.shape(Path(folder))
        for number in options.only or sorted(MAKERS):
            for maker in MAKERS[number]:
                texts.append(made(number, maker, Path(folder), options, tables))
                print(f"{texts[-1]}\n", flush=True)
    text = "\n\n".join([head(load, shape, options.quick), report.summary(tables), *texts]) + "\n"
    print(report.summary(tables))
    target = options.out or RESULTS
    if options.out or not (options.quick or options.only):
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
        for table in tables:
            if table.draw:
                table.draw(target.parent / "growth.png")
    return int(any(table.race.failed for table in tables))


def made(number: int, maker: Maker, folder: Path, options: argparse.Namespace, tables: list[Table]) -> str:
    """Return one table as Markdown, or why there is none; remove what was made for it."""
    began = time.monotonic()
    work = folder / maker.__name__
    try:
        table = maker(Bench(options.root, work, options.quick))
    except UnavailableError as exc:
        return report.unavailable(number, str(exc))
    finally:
        shutil.rmtree(work, ignore_errors=True)
        print(f"table {number}: {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    tables.append(table)
    return report.markdown(table)


def head(load: str, shape: str, quick: bool) -> str:
    """Return what was measured when, where and how."""
    today = datetime.datetime.now(datetime.UTC).date()
    packages = ["fmnist-fetch", *machine.required(HERE / "requirements.txt"), "torch", "isal"]
    return "\n\n".join([
        "# Speed, measured beside the peers" + (" (quick: too few rounds for figures)" if quick else ""),
        f"`make bench` on {today}; {shape}; {load}.",
        f"Versions: {machine.versions(packages)}.",
        HOW_TO_READ,
    ])  # fmt: skip


def parse() -> argparse.Namespace:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(prog="make bench", description="The program and its peers, side by side.")
    parser.add_argument("--root", type=lambda text: Path(text).absolute(), default=Path("data").absolute())
    parser.add_argument("--work", type=lambda text: Path(text).absolute(), default=Path("dist/bench").absolute())
    parser.add_argument("--out", type=Path, help="write there instead of to RESULTS.md")
    parser.add_argument("--only", type=numbers, help="these tables, such as 3,6")
    parser.add_argument("--quick", action="store_true", help="fewer rounds, smaller files; leaves RESULTS.md alone")
    return parser.parse_args()


def numbers(text: str) -> list[int]:
    """Return the numbers of tables in a text such as "3,6"."""
    found = [int(word) for word in text.replace(",", " ").split()]
    if unknown := set(found) - set(MAKERS):
        raise argparse.ArgumentTypeError(f"there is no table {unknown}")
    return found


if __name__ == "__main__":
    sys.exit(main())
