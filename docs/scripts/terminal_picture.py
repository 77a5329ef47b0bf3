"""Draw docs/pictures/fetch.svg, a real download in a real terminal: `make picture`; needs pyte, and the data."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import NamedTuple

import pyte

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "support")]

from faults import Line, Mirror  # noqa: E402
from fmnist_fetch.manifest.catalog import find  # noqa: E402

PICTURE = ROOT / "docs" / "pictures" / "fetch.svg"
COLUMNS, LINES = 80, 17
RATE = 5e6  # bytes per second of the mirror
CUT = 0.55  # the share of the bytes after which Ctrl-C is typed
FRAME_S = 0.5
FONTS = "ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace"
BUTTONS = ("#ff5f56", "#ffbd2e", "#27c93f")
WIDTH, HEIGHT, MARGIN = 8.4, 19, 16  # pixels of a character, and around all of them


class Frame(NamedTuple):
    """What the terminal shows for some seconds."""

    lines: tuple[str, ...]
    seconds: float


def main() -> int:
    """Record both runs and draw the picture; return the exit code."""
    PICTURE.parent.mkdir(exist_ok=True)
    PICTURE.write_text(draw(list(record())), encoding="utf-8")
    return 0


def record() -> Iterator[Frame]:
    """Run `make data` twice in one terminal: the first run is interrupted, the second one completes the data."""
    manifest = find("fashion-mnist")
    raw = ROOT / "data" / manifest.folder / "raw"
    data = {file.name: (raw / file.name).read_bytes() for file in manifest.files}
    screen = pyte.Screen(COLUMNS, LINES)
    stream = pyte.Stream(screen)
    with tempfile.TemporaryDirectory() as folder, Mirror(data, [Line(RATE)]) as mirror:
        for name in ("fmnist_fetch", "Makefile"):  # In a clone the program names the targets of make.
            _copy(ROOT / name, Path(folder, name))
        for share in (CUT, 2.0):
            stream.feed("$ make data\r\n")
            yield _frame(screen, mirror.url, 1.0)
            limit = share * sum(map(len, data.values()))
            command = [sys.executable, "-m", "fmnist_fetch", "fetch", "--only-mirrors", "--mirror", mirror.url]
            master, process = _start(command, folder)
            drawn, stopped = time.monotonic(), False
            while chunk := _read(master):
                stream.feed(chunk)
                if not stopped and mirror.served > limit:
                    process.send_signal(signal.SIGINT)
                    stopped = True
                if time.monotonic() - drawn > FRAME_S:
                    drawn = time.monotonic()
                    yield _frame(screen, mirror.url, FRAME_S)
            process.wait()
            os.close(master)
            stream.feed("\r\n" if stopped else "")
            yield _frame(screen, mirror.url, 2.5 if stopped else 6.0)


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copy(source, target)


def _start(command: list[str], root: str) -> tuple[int, subprocess.Popen[bytes]]:
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
    kept = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    kept.pop("FMNIST_ROOT", None)
    environment = {**kept, "TERM": "xterm", "PYTHONPATH": root}
    process = subprocess.Popen(
        command, stdin=slave, stdout=slave, stderr=slave, env=environment, cwd=root, start_new_session=True
    )
    os.close(slave)
    return master, process


def _read(master: int) -> str:
    try:
        select.select([master], [], [], 60)
        return os.read(master, 65536).decode(errors="replace")
    except OSError:  # the last process has closed the terminal
        return ""


def _frame(screen: pyte.Screen, url: str, seconds: float) -> Frame:
    # The reader's data comes from the first mirror of the manifest, whose longer name a bar has no room for.
    lines = (line.rstrip().replace(url, find("fashion-mnist").mirrors[0]) for line in screen.display)
    return Frame(tuple(line if len(line) <= COLUMNS else line.partition("  from ")[0] for line in lines), seconds)


def draw(frames: list[Frame]) -> str:
    """Return an SVG that shows FRAMES one after the other, for ever; the last one where nothing moves."""
    whole = sum(frame.seconds for frame in frames)
    width, height = COLUMNS * WIDTH + 2 * MARGIN, LINES * HEIGHT + 2 * MARGIN + 24
    style = [
        f"text {{ font: 14px {FONTS}; fill: #e6edf3; white-space: pre }}",
        "@media (prefers-reduced-motion: no-preference) { .f { visibility: hidden; animation-iteration-count: infinite;"
        f" animation-duration: {whole:.1f}s; animation-timing-function: step-end }} }}",
        "@media (prefers-reduced-motion: reduce) { .f { visibility: hidden } .last { visibility: visible } }",
    ]
    groups = []
    start = 0.0
    for number, frame in enumerate(frames):
        begin, end = 100 * start / whole, 100 * (start + frame.seconds) / whole
        start += frame.seconds
        shown = f"{begin:.2f}% {{ visibility: visible }}"
        style.append(
            f"@keyframes k{number} {{ 0% {{ visibility: hidden }} {shown} {end:.2f}% {{ visibility: hidden }} }}"
        )
        style.append(f"#f{number} {{ animation-name: k{number} }}")
        last = " last" if number == len(frames) - 1 else ""
        groups.append(f'<g class="f{last}" id="f{number}">{"".join(_lines(frame))}</g>')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" role="img" '
        f'aria-label="make data is interrupted and goes on">\n<style>{chr(10).join(style)}</style>\n'
        f'<rect width="100%" height="100%" rx="8" fill="#0d1117"/>'
        + "".join(f'<circle cx="{20 + 18 * n}" cy="17" r="5.5" fill="{c}"/>' for n, c in enumerate(BUTTONS))
        + "\n"
        + "\n".join(groups)
        + "\n</svg>\n"
    )  # fmt: skip


def _lines(frame: Frame) -> Iterator[str]:
    for number, line in enumerate(frame.lines):
        if line:
            y = MARGIN + 24 + (number + 0.8) * HEIGHT
            place = f'x="{MARGIN}" y="{y:.0f}" textLength="{len(line) * WIDTH:.0f}"'
            yield f'<text {place} xml:space="preserve">{escape(line)}</text>'


if __name__ == "__main__":
    sys.exit(main())
