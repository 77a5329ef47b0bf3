"""Several processes train one model: torchrun, gloo, the loopback."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: run make train first")
if not torch.distributed.is_available():
    pytest.skip("this build of torch has no torch.distributed", allow_module_level=True)

from tinydata import Command, Tiny, environment  # noqa: E402
from trainer.ranks import ALONE, Team  # noqa: E402


def torchrun(processes: int, *words: object) -> "subprocess.CompletedProcess[str]":
    """Run the trainer in several processes on this machine."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    return subprocess.run(
        [*launcher, "-m", "trainer", *map(str, words)], env=environment(), capture_output=True, text=True, timeout=120
    )


def metrics(run: Path) -> list[list[float]]:
    """Loss and accuracies of each epoch."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [[line[name] for name in ("train_loss", "train_accuracy", "test_accuracy")] for line in lines]


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_the_shares_of_a_batch_are_the_batch(size: int) -> None:
    batch = torch.arange(96)
    shares = [Team(rank, size).share(batch) for rank in range(size)]
    assert torch.equal(torch.cat(shares).sort().values, batch)
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_a_team_of_one_changes_no_gradient_and_no_sum() -> None:
    step = (torch.ones(2, 3), torch.ones(2))
    ALONE.average(step, 5, 5)
    assert all((part == 1).all() for part in step)
    assert ALONE.total(torch.tensor([[1.0, 2.0], [0.0, 1.0]])) == [3.0, 1.0]
    assert ALONE.tell({"a": 1}) == {"a": 1}


def test_several_processes_give_the_curve_of_one_and_one_of_them_writes(
    tiny: Tiny, tmp_path: Path, command: Command
) -> None:
    words = [*tiny.options, "--epochs", 6, "--no-pictures"]
    assert command(*words, "--out", tmp_path / "one").returncode == 0
    done = torchrun(3, *words, "--out", tmp_path / "three")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("epoch  6") == 1
    for alone, together in zip(metrics(tmp_path / "one"), metrics(tmp_path / "three"), strict=True):
        assert together == pytest.approx(alone, abs=1e-4)
    assert json.loads((tmp_path / "three" / "summary.json").read_bytes())["processes"] == 3


def test_a_run_of_one_process_is_resumed_by_two(tiny: Tiny, tmp_path: Path, command: Command) -> None:
    for name in ("one", "two"):
        words = [*tiny.options, "--epochs", 3, "--no-pictures", "--seed", 3, "--out", tmp_path / name]
        assert command(*words).returncode == 0
    again = ["--resume", "--root", tiny.root, "--epochs", 6, "--no-pictures"]
    assert command(*again, "--out", tmp_path / "one").returncode == 0
    assert torchrun(2, *again, "--out", tmp_path / "two").returncode == 0
    for alone, together in zip(metrics(tmp_path / "one"), metrics(tmp_path / "two"), strict=True):
        assert together == pytest.approx(alone, abs=1e-4)


def test_what_is_foreseeable_is_told_once(tmp_path: Path) -> None:
    done = torchrun(2, "--root", tmp_path / "nothing", "--out", tmp_path / "run")
    assert done.returncode != 0
    assert done.stderr.count("error: ") == done.stderr.count("hint: ") == 1
    assert "trainer/job.py" not in done.stderr  # the launcher's own traceback is not ours to keep away
    assert not (tmp_path / "run").exists()
