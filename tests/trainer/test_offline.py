"""Offline: what a training imports, and that it opens no socket and starts no process."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: run make train first")

from tinydata import Tiny, environment  # noqa: E402

# What the tensor reader and the printing of lines need. A training imports nothing else of the fetcher.
PARTS = {
    "": ("datasets", "errors", "events"),
    ".console": ("formatting", "output", "parser"),
    ".download": ("backoff",),
    ".manifest": ("caches", "catalog", "idx", "model", "pieces", "toml", "validation"),
    ".storage": ("atomic", "durability", "files", "layout"),
    ".tensors": ("arrays", "split", "tensor_file"),
}
READER = {
    f"fmnist_fetch{package}{part}" for package, parts in PARTS.items() for part in ("", *(f".{p}" for p in parts))
}

SPY = """
import json, sys
events = []
sys.addaudithook(lambda name, args: events.append(name) if name.startswith(("socket.", "pickle.", "subprocess.",
    "os.fork", "os.posix_spawn", "os.exec", "os.system", "urllib.")) else None)
from trainer.__main__ import main
del events[:]  # what other libraries do while they are imported is theirs
code = main(sys.argv[1:])
print(json.dumps({"code": code, "modules": sorted(sys.modules), "events": sorted(set(events))}))
"""


def imported_by_torch() -> set[str]:
    """What torch imports by itself, needed or not."""
    lines = "import sys, torch; print(*sys.modules)"
    return set(subprocess.run([sys.executable, "-c", lines], capture_output=True, text=True, check=True).stdout.split())


def spy(*words: str) -> dict[str, object]:
    """Run a command in a process that reports its modules and its system calls."""
    done = subprocess.run([sys.executable, "-c", SPY, *words], env=environment(), capture_output=True, check=True)
    report: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return report


def test_a_training_imports_only_the_tensor_reader_and_opens_no_socket_starts_no_process_and_uses_no_pickle(
    tiny: Tiny, tmp_path: Path
) -> None:
    report = spy(*tiny.options, "--out", str(tmp_path / "run"), "--epochs", "2", "--no-pictures")
    assert (report["code"], report["events"]) == (0, [])
    modules = set(map(str, report["modules"]))  # type: ignore[call-overload]
    assert {name for name in modules if name.split(".")[0] == "fmnist_fetch"} <= READER
    heavy = {"requests", "urllib3", "http.client", "tqdm", "filelock", "matplotlib"}
    assert not (modules - imported_by_torch()) & heavy


def test_the_package_itself_imports_no_torch() -> None:
    lines = "import sys, trainer; from trainer.__main__ import parser; parser(); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", lines], env=environment(), capture_output=True, check=True)
    assert done.stdout.strip() == b"False"


def test_public_names_come_from_the_root_and_none_of_them_is_a_module_in_disguise() -> None:
    import trainer

    for name in trainer.__all__:
        assert getattr(trainer, name) is getattr(trainer, name)
    assert not callable(trainer.d2l)
    assert "train" not in trainer.__all__
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        trainer.nonsense  # noqa: B018
