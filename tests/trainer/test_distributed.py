"""Several processes train one model: torchrun, gloo, the loopback."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: run make train first")
if not torch.distributed.is_available():
    pytest.skip("this build of torch has no torch.distributed", allow_module_level=True)

from fmnist_fetch.errors import UsageError  # noqa: E402
from tinydata import Command, Tiny, environment  # noqa: E402
from trainer import distributed  # noqa: E402
from trainer.distributed import SINGLE_PROCESS, MissingProcessError, ProcessGroup, init_process_group  # noqa: E402


def torchrun(processes: int, *words: object) -> "subprocess.CompletedProcess[str]":
    """Run the trainer in several processes on this machine."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    return subprocess.run(
        [*launcher, "-m", "trainer", *map(str, words)], env=environment(), capture_output=True, text=True, timeout=120
    )


def metrics(run: Path) -> list[list[float]]:
    """Return loss and accuracies of each epoch."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [[line[name] for name in ("train_loss", "train_accuracy", "test_accuracy")] for line in lines]


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_the_shares_of_a_batch_are_the_batch(size: int) -> None:
    batch = torch.arange(96)
    shares = [ProcessGroup(rank, size).shard(batch) for rank in range(size)]
    assert torch.equal(torch.cat(shares).sort().values, batch)
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_a_team_of_one_changes_no_gradient_and_no_sum() -> None:
    step = (torch.ones(2, 3), torch.ones(2))
    SINGLE_PROCESS.average_gradients(step, 5, 5)
    assert all((part == 1).all() for part in step)
    assert SINGLE_PROCESS.sum_columns(torch.tensor([[1.0, 2.0], [0.0, 1.0]])) == [3.0, 1.0]
    assert SINGLE_PROCESS.broadcast_json({"a": 1}) == {"a": 1}


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


def test_a_foreseeable_error_is_reported_once(tmp_path: Path) -> None:
    done = torchrun(2, "--root", tmp_path / "nothing", "--out", tmp_path / "run")
    assert done.returncode != 0
    assert done.stderr.count("error: ") == done.stderr.count("hint: ") == 1
    assert "trainer/fit.py" not in done.stderr  # the launcher prints a traceback of its own
    assert not (tmp_path / "run").exists()


def is_listening(port: int) -> bool:
    """Return whether a process of this machine waits for connections on PORT."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def launched(**changes: str) -> dict[str, str]:
    """Return the variables of the first of two processes, with a free port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    whole = {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    return {**whole, **changes}


@pytest.mark.parametrize("wrong", [{"RANK": "two"}, {"RANK": "2"}, {"WORLD_SIZE": "0"}])
def test_numbers_that_are_not_the_rank_and_size_of_a_group_are_a_usage_error(
    wrong: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in launched(**wrong).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match="are not the rank and size of a group"):
        init_process_group("cpu")


def test_a_peer_that_does_not_come_is_an_error_that_names_the_place(monkeypatch: pytest.MonkeyPatch) -> None:
    variables = launched()
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(distributed, "RENDEZVOUS_TIMEOUT_S", 1)
    with pytest.raises(
        MissingProcessError, match=f"not all of the 2 processes connected to 127.0.0.1:{variables['MASTER_PORT']}"
    ):
        init_process_group("cpu")


@pytest.mark.skipif(os.name == "nt", reason="Windows has other signals")
def test_ctrl_c_ends_the_wait_for_a_peer(tiny: Tiny, tmp_path: Path) -> None:
    words = [sys.executable, "-m", "trainer", *tiny.options, "--out", str(tmp_path / "run")]
    variables = launched()
    with subprocess.Popen(words, env=environment(**variables), stderr=subprocess.PIPE, text=True) as process:
        while process.poll() is None and not is_listening(int(variables["MASTER_PORT"])):
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, complaint = process.communicate(timeout=30)
    assert process.returncode == 130
    assert complaint.startswith("error: interrupted before the first epoch\nhint: ")


def test_a_process_whose_peers_end_says_so_in_two_lines(tiny: Tiny, tmp_path: Path) -> None:
    variables = launched()
    words = [sys.executable, "-m", "trainer", *tiny.options, "--out", str(tmp_path / "run"), "--epochs", "100000"]

    def start(rank: int) -> "subprocess.Popen[str]":
        environ = environment(**{**variables, "RANK": str(rank)})
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} if rank == 0 else {}
        return subprocess.Popen([*words, "--no-pictures"], env=environ, text=True, **streams)  # type: ignore[call-overload,no-any-return]

    with start(0) as first, start(1) as second:
        assert first.stdout is not None
        assert first.stdout.readline().startswith("epoch  1")
        second.kill()
        _, complaint = first.communicate(timeout=60)
    assert first.returncode == 1
    error, hint = complaint.splitlines()
    assert error.startswith("error: another process of this training ended or does not answer, after epoch ")
    assert hint.startswith("hint: ")
