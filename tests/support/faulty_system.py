"""Processes in which system calls fail: faulty_system.c, compiled and loaded before the C library."""

from __future__ import annotations

import errno
import shutil
import subprocess
import sys
from pathlib import Path

import pytest


def library(folder: Path) -> Path:
    """Compile the library into FOLDER; skip the test where that is not possible."""
    compiler = shutil.which("gcc") or shutil.which("clang")
    if compiler is None or not sys.platform.startswith("linux"):
        pytest.skip("this needs Linux and a C compiler")
    source, built = Path(__file__).with_name("faulty_system.c"), folder / "faulty_system.so"
    command = [compiler, "-shared", "-fPIC", "-o", str(built), str(source), "-ldl"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode:
        pytest.skip(f"the compiler can't make it: {done.stderr.splitlines()[0]}")
    return built


def variables(built: Path, root: Path, faults: str, after: int = 0) -> dict[str, str]:
    """Return the environment in which the calls that FAULTS names fail, for files under ROOT.

    Args:
        built: What `library` returned.
        root: The folder whose file system misbehaves.
        faults: CALL=FAULT, separated by commas; a fault is a name of `errno` or a word of faulty_system.c.
        after: How many bytes are moved before a call that moves bytes fails.
    """
    pairs = (pair.partition("=") for pair in faults.split(","))
    numbered = (f"{call}={getattr(errno, fault, fault)}" for call, _, fault in pairs)
    return {
        "LD_PRELOAD": str(built),
        "FAULTS": ",".join(numbered),
        "FAULT_ROOT": str(root),
        "FAULT_AFTER": str(after),
    }
