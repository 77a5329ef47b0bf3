"""The page of the server in a browser: on a phone and on a wide screen, light and dark, compared as a picture."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from lan_server import Server
from samples import Sample, fill

pytest.importorskip("aiohttp", reason="aiohttp is not installed: run make serve first")
Image = pytest.importorskip("PIL.Image", reason="pillow is not installed: run make train first")

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="Chromium is not installed")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip
PAGE_COLOURS = {"light": (246, 248, 250), "dark": (13, 17, 23)}
MARGIN = 14  # pixels at the edges, which must have the colour of the page


@pytest.fixture
def server(sample: Sample, root: Path, tmp_path: Path) -> Iterator[Server]:
    long = sample.changed(title="A dataset with a title that has more words than a line of a phone can hold")
    fill(long.layout(root).raw, long.files)
    running = Server(root, long.write(tmp_path))
    yield running
    assert running.end() == (0, "")


def browse(url: str, folder: Path, *options: str) -> subprocess.CompletedProcess[bytes]:
    assert BROWSER
    command = [BROWSER, *FLAGS, f"--user-data-dir={folder / 'profile'}", *options, url]
    return subprocess.run(command, capture_output=True, timeout=120, check=True)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_it_fits_the_screen_in_the_colours_that_the_reader_prefers(
    width: int, scheme: str, server: Server, tmp_path: Path
) -> None:
    path = tmp_path / "page.png"
    prefers = f"--blink-settings=preferredColorScheme={0 if scheme == 'dark' else 1}"
    browse(server.url, tmp_path, prefers, f"--window-size={width},1800", f"--screenshot={path}")
    with Image.open(path) as picture:
        shown = picture.convert("RGB")
    assert shown.width == width
    edge = shown.crop((width - MARGIN, 0, width, shown.height))
    assert edge.getcolors() == [(MARGIN * shown.height, PAGE_COLOURS[scheme])]
    assert len(shown.getcolors(1_000_000)) > 20  # something is drawn


def test_it_loads_nothing_and_runs_no_script(server: Server, tmp_path: Path) -> None:
    done = browse(server.url, tmp_path, "--dump-dom", "--enable-logging=stderr", "--v=0")
    assert b"MIRROR=" in done.stdout
    assert b"<script" not in done.stdout
    assert b"Refused to" not in done.stderr  # the Content-Security-Policy allows only the style
