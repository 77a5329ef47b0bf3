"""The machine and the versions of the programs; no names, no paths."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from benchmarks.measure import PATH

TOOLS = {
    "nginx": "-v",
    "curl": "--version",
    "wget": "--version",
    "aria2c": "--version",
    "igzip": "--version",
    "gzip": "--version",
    "sha256sum": "--version",
    "openssl": "version",
}
BUSY = 0.5
"""Processes that run beside a measurement, above which its figures are no good."""


def shape(work: Path) -> str:
    """Return processors, memory, kernel, and the file system of WORK."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    kernel = re.match(r"[\d.]*\d", platform.release())
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return (
        f"{cores} cores ({_processor()}), {memory / 1e9:.0f} GB of memory,"
        f" {platform.system()} {kernel[0] if kernel else ''}, files on {_file_system(work)}"
    )


def versions(packages: list[str]) -> str:
    """Return the versions of Python, the PACKAGES, and the programs."""
    found = [f"Python {platform.python_version()}"]
    for package in packages:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            found.append(f"{package} -")
    return ", ".join([*found, *map(_tool, TOOLS)])


def load() -> str:
    """Return how busy the machine was in the minute before the measurements."""
    before = os.getloadavg()[0]
    advice = ": look whether something ran beside it" if before > BUSY else ""
    return f"load average {before:.1f} in the minute before{advice}"


def required(path: Path) -> list[str]:
    """Return the packages that a requirements file names."""
    lines = (line.partition("#")[0].strip() for line in path.read_text().splitlines())
    return [re.split(r"[=<>~!;\[ ]", line)[0] for line in lines if line]


def _tool(name: str) -> str:
    if shutil.which(name, path=PATH) is None:
        return f"{name} -"
    command = [name, TOOLS[name]]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "PATH": PATH})
    number = re.search(r"\d+(\.\d+)+", done.stdout + done.stderr)
    return f"{name} {number[0] if number else '?'}"


def _processor() -> str:
    try:
        found = re.search(r"model name\s*:\s*(.*)", Path("/proc/cpuinfo").read_text())
    except OSError:
        found = None
    return " ".join(found[1].split()) if found else platform.machine()


def _file_system(folder: Path) -> str:
    done = subprocess.run(["df", "--output=fstype", str(folder)], capture_output=True, text=True, check=False)
    return done.stdout.split()[-1] if done.returncode == 0 else "an unknown file system"
