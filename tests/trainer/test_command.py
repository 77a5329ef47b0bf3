"""The command line: commands, exit codes, and two lines for everything that goes wrong."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: run make train first")

from tinydata import REPOSITORY, Tiny, complaint, environment, listing  # noqa: E402
from trainer.__main__ import main  # noqa: E402


def test_without_a_verb_it_trains(
    tiny: Tiny, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FMNIST_ROOT", str(tiny.root))
    assert main(["--dataset", str(tiny.manifest), "--epochs", "1", "--no-pictures"]) == 0
    assert "epoch  1   train loss" in capsys.readouterr().out
    assert Path("runs", "tiny", "model.safetensors").exists()


def test_the_defaults_are_the_books_job() -> None:
    from trainer import Settings

    assert Settings() == Settings("fashion-mnist", epochs=10, batch_size=256, learning_rate=0.1, seed=0, threads=2)


@pytest.mark.parametrize(
    "words",
    [
        ["--epochs", "0"],
        ["--epochs", "many"],
        ["--batch-size", "-1"],
        ["--learning-rate", "0"],
        ["--learning-rate", "nan"],
        ["--seed", "-1"],
        ["--seed", "4294967296"],
        ["--threads", "0"],
        ["--no-such-option"],
        ["evaluate"],
        ["predict", "run", "--top", "0"],
    ],
)
def test_a_command_that_makes_no_sense_is_a_usage_error(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    assert "--help" in complaint(capsys)[1]
    assert list(Path().iterdir()) == []


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has the device")
def test_a_device_that_is_not_there_is_a_usage_error(tiny: Tiny, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*tiny.options, "--device", "cuda"]) == 2
    assert complaint(capsys)[1] == "hint: Train with --device cpu."
    assert list(Path().iterdir()) == []


def test_missing_data_names_the_command_that_fetches_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--root", str(tmp_path / "data")]) == 1
    assert complaint(capsys)[1] == f"hint: Run: fmnist-fetch fetch --root {tmp_path / 'data'}"
    assert list(Path().iterdir()) == []


def test_damaged_data_names_the_command_that_repairs_it(own_tiny: Tiny, capsys: pytest.CaptureFixture[str]) -> None:
    whole = own_tiny.tensor_file.read_bytes()
    own_tiny.tensor_file.write_bytes(whole[:-5000] + bytes([whole[-5000] ^ 1]) + whole[-4999:])
    assert main([*own_tiny.options, "--no-pictures"]) == 3
    assert "fmnist-fetch fetch" in complaint(capsys)[1]
    assert list(Path().iterdir()) == []


def test_a_run_folder_that_is_a_file_is_a_disk_error(tiny: Tiny, capsys: pytest.CaptureFixture[str]) -> None:
    Path("taken").write_text("mine")
    assert main([*tiny.options, "--out", "taken"]) == 5
    assert "--out" in complaint(capsys)[1]
    assert Path("taken").read_text() == "mine"


def test_a_read_only_root_is_no_hindrance(tiny: Tiny) -> None:
    folders = [tiny.root, *(path for path in tiny.root.rglob("*") if path.is_dir())]
    before = listing(tiny.root)
    for folder in folders:
        folder.chmod(0o500)
    try:
        assert main([*tiny.options, "--epochs", "1", "--no-pictures"]) == 0
    finally:
        for folder in folders:
            folder.chmod(0o700)
    assert listing(tiny.root) == before


def test_a_run_that_misses_the_closing_bounds_is_kept_and_says_where_to_look(
    tiny: Tiny, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from trainer.train import Settings

    # The bounds are those of Fashion-MNIST, and no other dataset may take its name.
    monkeypatch.setattr(Settings, "dataset", "tiny")
    options = [*tiny.options, "--out", "run", "--no-pictures", "--learning-rate", "0.00001"]
    assert main([*options, "--epochs", "4"]) == 0
    capsys.readouterr()
    assert main([*options, "--epochs", "5"]) == 1
    assert Path("run-2", "summary.json").exists()
    error, hint = complaint(capsys)
    assert error.startswith("error: after 5 epochs the training loss is 2.")
    assert "--learning-rate" in hint
    assert Path("run", "summary.json").exists()


def test_evaluate_tests_the_model_anew_and_confirms_the_summary(
    tiny: Tiny, finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", str(finished), "--root", str(tiny.root)]) == 0
    shown = capsys.readouterr().out
    accuracy = json.loads((finished / "summary.json").read_bytes())["final"]["test_accuracy"]
    assert f"test acc {accuracy:.4f}   200 images" in shown
    assert "as summary.json says" in shown


def test_predict_prints_labels_with_probabilities_best_first(
    tiny: Tiny, finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["predict", str(finished), "0", "199", "--top", "2", "--root", str(tiny.root)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:3] for line in lines[::3]] == [["test", "image", "0"], ["test", "image", "199"]]
    for first, second in ((lines[1], lines[2]), (lines[4], lines[5])):
        assert 1 >= float(first.split()[-1]) >= float(second.split()[-1]) >= 0


def test_predict_without_an_item_takes_the_first_six_test_images(
    tiny: Tiny, finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["predict", str(finished), "--root", str(tiny.root)]) == 0
    assert capsys.readouterr().out.count("test image") == 6


def test_predict_refuses_an_index_that_is_not_there(
    tiny: Tiny, finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["predict", str(finished), "200", "--root", str(tiny.root)]) == 2
    assert "0 to 199" in complaint(capsys)[0]


def test_a_run_that_is_not_there_is_an_error_with_the_command_that_makes_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for command in ("evaluate", "predict"):
        assert main([command, "runs/none"]) == 1
        assert complaint(capsys)[1].endswith(" -m trainer --out runs/none")
    assert list(Path().iterdir()) == []
    Path("runs", "begun").mkdir(parents=True)
    assert main(["evaluate", "runs/begun"]) == 1
    error, hint = complaint(capsys)
    assert error == "error: there is no model.safetensors in runs/begun"
    assert hint.endswith(" -m trainer --out runs/begun --resume")


def test_a_reader_that_goes_away_stops_no_training(tiny: Tiny, tmp_path: Path) -> None:
    words = [sys.executable, "-m", "trainer", *tiny.options, "--out", str(tmp_path / "run"), "--no-pictures"]
    with subprocess.Popen(words, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()  # type: ignore[union-attr]
        assert process.wait() == 0
    assert (tmp_path / "run" / "summary.json").exists()


def test_without_torch_the_hint_is_a_command_that_installs_it(tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("raise ModuleNotFoundError('no torch', name='torch')")
    environ = environment()
    environ["PYTHONPATH"] = f"{tmp_path}{os.pathsep}{environ['PYTHONPATH']}"
    words = [sys.executable, "-m", "trainer"]
    hints = []
    for folder in (tmp_path, REPOSITORY):
        done = subprocess.run(words, env=environ, cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode == 1
        error, hint = done.stderr.splitlines()
        assert error == "error: torch is not installed, which the trainer needs"
        hints.append(hint)
    assert hints[0].startswith(f"hint: Run: {sys.executable} -m pip install torch ")
    assert hints[1] == "hint: Run: make train"


def trainer(*words: str, cwd: Path, shell: str = 'exec "$@"') -> subprocess.CompletedProcess[str]:
    """Run the trainer as a process of its own, started by SHELL."""
    line = ["sh", "-c", shell, "sh", sys.executable, "-m", "trainer", *words]
    variables = environment(PYTHONPATH=str(REPOSITORY))
    return subprocess.run(line, cwd=cwd, env=variables, capture_output=True, text=True, timeout=120, check=False)


def test_a_folder_that_has_been_deleted_is_reported_before_torch_is_loaded(tmp_path: Path) -> None:
    done = trainer("--root", str(tmp_path), cwd=tmp_path, shell='mkdir gone; cd gone; rmdir ../gone; exec "$@"')
    assert done.returncode == 5
    assert done.stderr == "error: the current folder has been deleted\nhint: Change to another folder: cd ~\n"


def test_a_closed_output_is_no_traceback(tmp_path: Path) -> None:
    done = trainer("--root", str(tmp_path / "none"), cwd=tmp_path, shell='exec "$@" >&-')
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 2


@pytest.mark.parametrize("name", ["random.py", "queue.py"])
def test_a_file_in_the_current_folder_is_none_of_pythons_modules(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("raise SystemExit('not this one')")
    done = trainer("--root", str(tmp_path / "none"), cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.splitlines()) == 2


@pytest.mark.parametrize("error", [RuntimeError, MemoryError, ValueError])
def test_an_error_that_was_not_foreseen_is_two_lines(
    error: type[Exception], tiny: Tiny, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise error("can't allocate memory \x1b[31m\u202e\nhint: delete everything")

    monkeypatch.setattr("trainer.fit.run_epochs", fail)
    assert main([*tiny.options, "--no-pictures"]) == 1
    assert "".join(complaint(capsys)).isprintable()


def test_a_note_about_a_picture_can_not_write_to_the_terminal(
    tiny: Tiny, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ValueError("no label \x1b]0;x\x07\u202e\nhint: delete everything")

    monkeypatch.setattr("trainer.pictures.Curves", fail)
    assert main([*tiny.options, "--epochs", "1"]) == 0
    note, hint = capsys.readouterr().err.splitlines()
    assert (note + hint).isprintable()
    assert note.startswith("note: curves.png could not be drawn (ValueError: no label ")
