"""The run folder, and interrupted runs: the command line in processes of its own."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: run make train first")

from tinydata import Command, Tiny, environment, listing  # noqa: E402

MANY = 300
FILES = {"metrics.jsonl", "summary.json", "model.safetensors", "checkpoint.safetensors"}


def numbers(run: Path) -> list[dict[str, float]]:
    """Return the lines of metrics.jsonl without their seconds."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "seconds"} for line in lines]


def typed(line: str) -> "subprocess.CompletedProcess[str]":
    """Run the command of a hint, as a shell does."""
    return subprocess.run(line, shell=True, env=environment(), capture_output=True, text=True, check=False)


def interrupt(tiny: Tiny, out: Path, *more: str) -> int:
    """Train and send Ctrl-C; return how many epochs are safe."""
    with start_and_signal(tiny, out, signal.SIGINT, *more) as process:
        _, complaint = process.communicate()
    assert process.returncode == 130, complaint
    return len(numbers(out))


def start_and_signal(tiny: Tiny, out: Path, number: int, *more: str) -> "subprocess.Popen[str]":
    """Train, and send a signal as soon as three epochs are on the disk."""
    words = [sys.executable, "-m", "trainer", *tiny.options, "--out", str(out), "--no-pictures", *more]
    process = subprocess.Popen(
        [*words, "--epochs", str(MANY)],
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    metrics = out / "metrics.jsonl"
    while process.poll() is None and (not metrics.exists() or metrics.read_text().count("\n") < 3):
        time.sleep(0.001)
    process.send_signal(number)
    return process


@pytest.fixture(scope="module")
def whole(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run of many epochs without an interruption."""
    out = tmp_path_factory.mktemp("whole") / "run"
    words = [*tiny.options, "--out", str(out), "--epochs", str(MANY), "--no-pictures"]
    subprocess.run([sys.executable, "-m", "trainer", *words], env=environment(), check=True, capture_output=True)
    return out


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")
def test_a_run_that_was_killed_and_resumed_ends_as_one_that_was_not(
    tiny: Tiny, whole: Path, tmp_path: Path, command: Command
) -> None:
    out = tmp_path / "run"
    with start_and_signal(tiny, out, signal.SIGKILL) as process:
        assert process.wait() == -signal.SIGKILL
    assert not (out / "model.safetensors").exists()
    done = command("--resume", "--out", out, "--root", tiny.root, "--no-pictures")
    assert done.returncode == 0, done.stderr
    assert 3 < done.stdout.count("epoch") < MANY
    assert numbers(out) == numbers(whole)
    assert (out / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
    assert sorted(listing(out)) == sorted(listing(whole))


@pytest.mark.skipif(os.name == "nt", reason="Windows has other signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_keeps_the_checkpoint_and_says_how_to_go_on(
    tiny: Tiny, whole: Path, tmp_path: Path, number: signal.Signals
) -> None:
    out = tmp_path / "a run"
    with start_and_signal(tiny, out, number) as process:
        _, complaint = process.communicate()
    assert process.returncode == 130
    error, hint = complaint.splitlines()
    assert error.startswith("error: interrupted after epoch ")
    assert error.endswith(f" of {MANY}; the checkpoint is kept")
    assert hint.startswith("hint: Continue with: ")
    done = typed(hint.removeprefix("hint: Continue with: "))
    assert done.returncode == 0, done.stderr
    kept = error.removeprefix("error: interrupted after epoch ").removesuffix("; the checkpoint is kept")
    assert done.stdout.startswith(f"continuing the run in {out} after epoch {kept}\n")
    assert numbers(out) == numbers(whole)
    assert (out / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()


def test_a_run_leaves_what_the_readme_promises(tiny: Tiny, tmp_path: Path, command: Command) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed: run make train first")
    out = tmp_path / "run"
    done = command(*tiny.options, "--out", out, "--epochs", 3, "--seed", 4)
    assert (done.returncode, done.stderr) == (0, "")
    pictures = {"curves.png", "predictions.png", "confusion.png"}
    files = listing(out)
    assert files.keys() == {*FILES, *pictures}
    assert all(files[name].startswith(b"\x89PNG") for name in pictures)
    lines = [json.loads(line) for line in files["metrics.jsonl"].splitlines()]
    assert [list(line) for line in lines] == [["epoch", "train_loss", "train_accuracy", "test_accuracy", "seconds"]] * 3
    summary = json.loads(files["summary.json"])
    assert summary["settings"]["seed"] == 4
    assert summary["final"]["test_accuracy"] == lines[-1]["test_accuracy"]
    assert summary["model_sha256"] == hashlib.sha256(files["model.safetensors"]).hexdigest()
    assert summary["versions"]["torch"] == torch.__version__
    assert len(summary["data"]) == 4


def test_a_finished_run_can_be_given_more_epochs(tiny: Tiny, tmp_path: Path, command: Command) -> None:
    longer, straight = tmp_path / "longer", tmp_path / "straight"
    options = [*tiny.options, "--no-pictures"]
    assert command(*options, "--out", longer, "--epochs", 2).returncode == 0
    assert command(*options, "--out", longer, "--epochs", 4, "--resume").returncode == 0
    assert command(*options, "--out", straight, "--epochs", 4).returncode == 0
    assert numbers(longer) == numbers(straight)
    assert (longer / "model.safetensors").read_bytes() == (straight / "model.safetensors").read_bytes()


def test_a_resumed_run_keeps_its_settings_and_refuses_others(tiny: Tiny, tmp_path: Path, command: Command) -> None:
    out = tmp_path / "run"
    options = [*tiny.options, "--out", out, "--no-pictures"]
    assert command(*options, "--epochs", 2, "--seed", 5).returncode == 0
    before = listing(out)
    refused = command(*options, "--resume", "--seed", 6)
    assert refused.returncode == 2
    assert f"error: {out} has a run (epoch 2 of 2) with seed 5, not 6" in refused.stderr
    assert listing(out) == before


def test_resume_without_a_checkpoint_begins_with_the_first_epoch(tiny: Tiny, tmp_path: Path, command: Command) -> None:
    done = command(*tiny.options, "--resume", "--out", tmp_path / "run", "--epochs", 2, "--no-pictures")
    assert done.returncode == 0
    assert "beginning with epoch 1" in done.stdout
    assert len(numbers(tmp_path / "run")) == 2


def test_a_run_is_not_resumed_on_other_data(own_tiny: Tiny, tmp_path: Path, command: Command) -> None:
    from tinydata import make_tiny

    (tmp_path / "other").mkdir()
    other = make_tiny(tmp_path / "other", seed=6)
    out = tmp_path / "run"
    assert command(*own_tiny.options, "--out", out, "--epochs", 2, "--no-pictures").returncode == 0
    before = listing(out)
    own_tiny.manifest.write_bytes(other.manifest.read_bytes())
    refused = command("--resume", "--out", out, "--root", other.root, "--epochs", 4)
    assert refused.returncode == 3
    assert listing(out) == before


def test_a_finished_run_is_kept_beside_the_new_one_and_strangers_files_stay(
    tiny: Tiny, tmp_path: Path, command: Command
) -> None:
    out = tmp_path / "run"
    options = [*tiny.options, "--out", out, "--no-pictures"]
    assert command(*options, "--epochs", 3).returncode == 0
    (out / "curves.png").write_bytes(b"of the old run")
    finished = listing(out)
    (out / "notes.txt").write_text("mine")
    (out / ".checkpoint.safetensors.0123456789ab.tmp").write_bytes(b"of one that was killed")
    for number in (2, 3):
        done = command(*options, "--epochs", 1)
        assert done.returncode == 0, done.stderr
        assert f"the earlier run in {out} is kept in {out}-{number}" in done.stdout
        assert len(numbers(out)) == 1
    assert (out / "notes.txt").read_text() == "mine"
    assert listing(tmp_path / "run-2") == finished
    assert command("evaluate", tmp_path / "run-2", "--root", tiny.root).returncode == 0
    assert listing(out).keys() == {"notes.txt", *FILES}


@pytest.mark.skipif(os.name == "nt", reason="Windows has other signals")
def test_a_command_that_names_no_epochs_takes_those_of_the_interrupted_run_and_another_number_is_said(
    tiny: Tiny, tmp_path: Path, command: Command
) -> None:
    out = tmp_path / "run"
    done = interrupt(tiny, out)
    options = [*tiny.options, "--out", out, "--no-pictures"]
    fewer = command(*options, "--epochs", done + 2)
    assert fewer.stdout.startswith(
        f"continuing the run in {out} after epoch {done} of {done + 2} (it was started for {MANY})\n"
    )
    assert len(numbers(out)) == done + 2
    assert command(*options, "--epochs", 5, "--out", tmp_path / "fresh").returncode == 0
    assert numbers(tmp_path / "fresh")[: min(5, done)] == numbers(out)[: min(5, done)]


@pytest.mark.skipif(os.name == "nt", reason="Windows has other signals")
def test_a_command_with_other_settings_says_what_differs_and_how_to_begin_beside_it(
    tiny: Tiny, whole: Path, tmp_path: Path, command: Command
) -> None:
    out = tmp_path / "the run"
    done = interrupt(tiny, out)
    before = listing(tmp_path)
    refused = command(*tiny.options, "--out", out, "--epochs", 2, "--seed", 9, "--no-pictures")
    assert refused.returncode == 2
    error, hint = refused.stderr.splitlines()
    assert error == (
        f"error: {out} has a run (epoch {done} of {MANY}) with seed 0, not 9; {done} epochs done, more than 2"
    )
    assert listing(tmp_path) == before
    beside, onward = hint.removeprefix("hint: Start another run beside it: ").split(" - or continue it: ")
    started = typed(beside)
    assert started.returncode == 0, started.stderr
    assert len(numbers(tmp_path / "the run-2")) == 2
    assert len(numbers(out)) == done
    assert typed(onward).returncode == 0
    assert numbers(out) == numbers(whole)


def test_a_run_without_a_finished_epoch_leaves_nothing_to_keep(tiny: Tiny, tmp_path: Path, command: Command) -> None:
    out = tmp_path / "run"
    assert command(*tiny.options, "--out", out, "--epochs", 1, "--learning-rate", 1e38).returncode == 1
    assert numbers(out) == []
    assert command(*tiny.options, "--out", out, "--epochs", 1, "--no-pictures").returncode == 0
    assert [path.name for path in tmp_path.iterdir() if path.is_dir() and path.name.startswith("run")] == ["run"]


def test_a_setting_aside_that_is_interrupted_can_be_finished_from_the_checkpoint(
    tiny: Tiny, tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    from trainer.run_dir import set_aside

    out = tmp_path / "run"
    options = [*tiny.options, "--out", out, "--no-pictures", "--epochs", 2]
    assert command(*options).returncode == 0
    finished = listing(out)
    rename = Path.rename
    left = iter(range(2))

    def fail_later(path: Path, target: Path) -> Path:
        if next(left, None) is None:
            raise KeyboardInterrupt
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", fail_later)
    with pytest.raises(KeyboardInterrupt):
        set_aside(out)
    done = command(*options)
    assert done.returncode == 0, done.stderr
    assert "continuing the run" in done.stdout
    assert (out / "model.safetensors").read_bytes() == finished["model.safetensors"]
