"""The script succeeds in every scene of one misbehaving mirror in which the engine succeeds, for the same bytes."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from faults import KIB, CutAfter, First, FlipByte, Line, Lockstep, Mirror, StallAfter, payload
from fmnist_fetch.download.standalone.script import script
from integration.test_scenarios import SCENES
from samples import Sample
from stage import Scene, rehearse
from worlds import IMAGES, dataset


class Played(NamedTuple):
    """The end of a scene: the exit code, and the bytes served in units of the size of the dataset."""

    code: int
    ratio: float


def program(data: Sample, *mirrors: str) -> dict[str, Any]:
    """Return the names that the script of DATA defines, with short time limits."""
    names: dict[str, Any] = {"__name__": "get"}
    exec(script(data.manifest._replace(mirrors=mirrors)), names)
    names.update(TIMEOUT_S=1.0, PATIENCE_S=20, MAX_WAIT_S=1.5, RATE_WINDOW_S=1.0)
    return names


def right(data: Sample, folder: Path) -> bool:
    """Return whether FOLDER contains the files of DATA, packed and unpacked, and no other file."""
    there = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    return there == data.files | data.payloads


def play(scene: Scene, folder: Path) -> Played:
    data = dataset()
    with Mirror(data.files, [Line(scene.pace) if scene.pace else Lockstep(), *scene.faults]) as mirror:
        names = program(data, mirror.url)
        code = names["main"](str(folder), names["MIRRORS"], names["FILES"])
        served = mirror.served
    assert code != 0 or right(data, folder)
    return Played(code, served / data.size)


@pytest.fixture(scope="module")
def plays(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str], Played]]:
    folder = tmp_path_factory.mktemp("scenes")
    yield from rehearse(request, lambda name, folder: play(SCENES[name], folder), folder)


@pytest.mark.parametrize("scene", SCENES)
def test_it_ends_right_at_the_ratio_of_the_engine_in(plays: Callable[[str], Played], scene: str) -> None:
    played = plays(scene)
    assert played.code == 0
    assert played.ratio <= SCENES[scene].ratio


def test_wrong_mirrors_give_way_to_a_right_one_and_a_damaged_piece_alone_is_repaired(tmp_path: Path) -> None:
    data = dataset()
    wrong = {name: payload(len(file), 5) for name, file in data.files.items()}
    with Mirror(wrong) as first, Mirror({}) as empty, Mirror(data.files) as good:
        names = program(data, first.url, empty.url, "http://127.0.0.1:1/", good.url)
        assert names["main"](str(tmp_path), names["MIRRORS"], names["FILES"]) == 0
        assert right(data, tmp_path)
        damaged = bytearray(data.files[IMAGES])
        damaged[100_000] ^= 1
        (tmp_path / IMAGES).write_bytes(damaged)
        before = good.served
        names = program(data, good.url)
        assert names["main"](str(tmp_path), names["MIRRORS"], names["FILES"]) == 0
        assert good.served - before == 64 * KIB
    assert right(data, tmp_path)


def test_wrong_bytes_everywhere_end_in_two_lines_and_no_final_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = dataset()
    with Mirror(data.files, [FlipByte(1000)]) as mirror:
        names = program(data, mirror.url)
        assert names["main"](str(tmp_path), names["MIRRORS"], names["FILES"]) == 3
    lines = capsys.readouterr().err.strip().splitlines()
    assert [line.partition(":")[0] for line in lines[-2:]] == ["error", "hint"]
    assert not [path for path in tmp_path.iterdir() if path.is_file() and path.suffix != ".part"]


@pytest.mark.parametrize("version", ["", "3.8", "3.9", "3.10", "3.12", "3.13", "3.14"])
def test_killed_anywhere_it_goes_on_where_it_ended(tmp_path: Path, version: str) -> None:
    interpreter = shutil.which(f"python{version}") if version else sys.executable
    if not interpreter or subprocess.run([interpreter, "-c", "0"], check=False, capture_output=True).returncode:
        pytest.skip(f"there is no Python {version}")
    data = dataset()
    with Mirror(data.files, [First(1, StallAfter(300 * KIB)), CutAfter(500 * KIB)]) as mirror:
        file = tmp_path / "get.py"
        file.write_text(script(data.manifest, [mirror.url]), encoding="ascii")
        folder = tmp_path / "data"
        command = [interpreter, "-I", str(file), str(folder)]
        environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
        with subprocess.Popen(command, env=environment) as run:
            part = folder / f"{data.manifest.files[0].name}.part"
            while run.poll() is None and not (part.exists() and part.stat().st_size >= 300 * KIB):
                pass
            run.send_signal(signal.SIGKILL)
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert "is complete and verified" in done.stdout
        assert mirror.served <= 1.05 * data.size
    assert right(data, folder)
