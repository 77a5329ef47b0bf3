"""In a notebook: one bar that is redrawn in place, arrays at once, and errors of two lines."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from faults import Line, Mirror
from fmnist_fetch.console.notebook import Cell, in_notebook
from fmnist_fetch.console.progress import ProgressState
from fmnist_fetch.events import (
    Attempted,
    BytesInFlight,
    DownloadEnded,
    DownloadStarted,
    Event,
    Message,
    NoSourceReady,
    Unpacked,
    Verified,
)
from fmnist_fetch.manifest.pieces import Span
from notebooks import run_notebook
from samples import PROJECT_FOLDER, fill
from worlds import World, small

FETCH = "import fmnist_fetch\nreport = fmnist_fetch.fetch({!r}, mirrors=[{!r}])"
AGAIN = "report = fmnist_fetch.fetch({!r}, mirrors=[{!r}])"
LOAD = "train = fmnist_fetch.load({!r})\ntrain"
LOOK = "print(train.images[399].shape, train.labels.shape)"
ELSEWHERE = "fmnist_fetch.fetch({!r}, 'elsewhere', offline=True)"
LACKING = "fmnist_fetch.load({!r}, root='elsewhere')"
WIDGETS = "import sys\nprint('ipywidgets' in sys.modules, 'tqdm.auto' in sys.modules)"


@pytest.fixture
def world(tmp_path: Path) -> World:
    """An empty root, and the manifest of a small dataset."""
    return World(tmp_path / "world", small())


@pytest.mark.parametrize("widgets", ["absent", "broken"])
def test_a_notebook_shows_one_bar_then_arrays_and_errors_in_two_lines(
    widgets: str, world: World, tmp_path: Path
) -> None:
    path = str(PROJECT_FOLDER)
    if widgets == "broken":
        fill(tmp_path / "path" / "ipywidgets", {"__init__.py": b"raise ImportError('IProgress not found')"})
        path = f"{tmp_path / 'path'}:{path}"
    manifest = str(world.manifest)
    with Mirror(world.data.files, [Line(2_000_000)]) as mirror:
        sources = [FETCH.format(manifest, mirror.url), AGAIN.format(manifest, mirror.url), LOAD.format(manifest)]
        sources += [LOOK, ELSEWHERE.format(manifest), LACKING.format(manifest), WIDGETS]
        cells = run_notebook(sources, world.folder, PYTHONPATH=path, FMNIST_ROOT=str(world.root))
    world.assert_complete()
    fetched, again, loaded, looked, failed, lacking, modules = cells

    assert fetched.kinds == ["display_data"]
    assert fetched.redrawn >= 2
    shown = fetched.outputs[0]["data"]
    assert shown["text/plain"].startswith("100%  ")
    assert f'<progress value="{world.data.size}" max="{world.data.size}"' in shown["text/html"]
    assert shown["text/html"].endswith(f"{world.tensors} written</div>")

    assert again.kinds == []
    assert loaded.kinds == ["execute_result"]
    assert loaded.outputs[0]["data"]["text/plain"].startswith("<Split train of small\n  images   (400, 28, 28) uint8\n")
    assert loaded.outputs[0]["data"]["text/html"].count("data:image/png;base64,") == 1
    assert [output["text"] for output in looked.outputs] == ["(28, 28) (400,)\n"]

    assert failed.kinds == ["display_data", "error"]
    assert [line.split(":")[0] for line in failed.outputs[1]["traceback"]] == ["error", "hint"]
    assert lacking.outputs[0]["traceback"] == [
        f"error: {world.folder}/elsewhere/Small/processed/small.safetensors is not there",
        f"hint: Run: fmnist-fetch fetch {manifest} --root {world.folder}/elsewhere",
    ]
    assert modules.outputs[0]["text"] == "False False\n"


class Screen:
    """The outputs of a cell, as IPython keeps them."""

    def __init__(self) -> None:
        self.shown: list[str] = []
        self.html = ""
        self.now = 0.0

    def display(self, data: dict[str, str], *, raw: bool, display_id: bool) -> Screen:
        assert raw
        assert display_id
        assert self.shown == [], "a second output"
        self.update(data, raw=raw)
        return self

    def update(self, data: dict[str, str], *, raw: bool) -> None:
        assert raw
        self.shown.append(data["text/plain"])
        self.html = data["text/html"]


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Screen:
    screen = Screen()
    fake: Any = type(sys)("IPython.display")
    fake.display = screen.display
    monkeypatch.setitem(sys.modules, "IPython.display", fake)
    return screen


def shown_after(screen: Screen, *events: tuple[float, Event]) -> list[str]:
    """Return the outputs in order when the events happen at these times."""
    state = ProgressState(lambda: screen.now)
    cell = Cell(state)
    for moment, event in events:
        screen.now = moment
        state(event)
        cell(event)
    return screen.shown


BEGAN = DownloadStarted((("a", 1_000_000, 0), ("b", 1_000_000, 500_000)), 8, 2)


def test_it_begins_with_what_is_good_and_ends_with_the_last_step(screen: Screen) -> None:
    done = Verified("a", 1_500_000)
    assert shown_after(screen, (0, BEGAN), (1, done), (1, DownloadEnded()), (2, Message("all <written>"))) == [
        " 25%  500.0 kB of 2.0 MB verified\n2 of 8 pieces already good; 1.5 MB of 2.0 MB to fetch",
        "100%  2.0 MB of 2.0 MB verified",
        "100%  2.0 MB of 2.0 MB verified",
        "100%  2.0 MB of 2.0 MB verified\nall <written>",
    ]
    assert "all &lt;written&gt;" in screen.html


def test_it_is_redrawn_as_often_as_an_eye_can_follow(screen: Screen) -> None:
    piece = Verified("a", 1000)
    assert len(shown_after(screen, (0, BEGAN), *((number / 64, piece) for number in range(65)))) == 1 + 4


def test_a_rate_and_the_time_left_are_shown_once_they_are_known(screen: Screen) -> None:
    coming = [BytesInFlight((("a", count),)) for count in (100_000, 200_000, 500_000)]
    shown = shown_after(
        screen, (0, BEGAN), (0.5, coming[0]), (1, coming[1]), (4.5, coming[2]), (5, Verified("a", 500_000))
    )
    assert shown[1:] == [
        " 25%  500.0 kB of 2.0 MB verified",
        " 25%  500.0 kB of 2.0 MB verified",
        " 25%  500.0 kB of 2.0 MB verified\n100.0 kB/s, 10 s left",
        " 50%  1.0 MB of 2.0 MB verified\n100.0 kB/s, 10 s left",
    ]


def test_what_is_all_but_there_is_not_100_percent(screen: Screen) -> None:
    assert shown_after(screen, (0, BEGAN), (1, Verified("a", 1_499_999)))[-1].startswith(" 99%")


def test_waiting_is_reported_with_its_reason_when_it_lasts(screen: Screen) -> None:
    events = [(moment, NoSourceReady(("no route to host",), 100 - moment, 500_000)) for moment in (1, 2, 3, 4)]
    assert shown_after(screen, (0, BEGAN), *events)[1:] == [
        " 25%  500.0 kB of 2.0 MB verified\nwaiting (gives up in 96 s), 500.0 kB verified so far: no route to host"
    ]


def test_steps_without_a_transfer_have_no_bar(screen: Screen) -> None:
    attempt = Attempted("x", "a", Span(0, 1), None, 0, 0, 0.0, 0, None)
    assert shown_after(screen, (0, attempt), (1, Unpacked("a")), (2, Message("b"))) == ["a unpacked", "b"]
    assert "progress" not in screen.html


def test_a_test_is_no_notebook() -> None:
    assert not in_notebook()
