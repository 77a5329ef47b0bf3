"""The set-up of a virtual environment: its command line, and its steps.

The steps are: create the environment; install what the engine needs, with the standard library alone; download and
install the rest with the engine. The modules of a step are imported when it begins: most runs find everything done.
"""

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from fmnist_fetch.console.formatting import counted, fetch_command
from fmnist_fetch.console.output import print_error
from fmnist_fetch.console.parser import Parser
from fmnist_fetch.console.progress import listener
from fmnist_fetch.environment.lock import GROUPS, LOCK, PROJECT, STORE, Lock, Wheel
from fmnist_fetch.errors import DiskError, FetchError, SourceError, UsageError, disk, size
from fmnist_fetch.events import Message
from fmnist_fetch.manifest.catalog import DATASET, find
from fmnist_fetch.sources.mirror import parse_mirror
from fmnist_fetch.storage.layout import DEFAULT_ROOT, Layout, checked_path

if TYPE_CHECKING:
    from fmnist_fetch.environment.store import Store
    from fmnist_fetch.events import Listener

TOOLS = ("packaging", "installer")
UNPACKED_RATIO = 4
"""How many times the size of a wheel its files take, about."""
_REDIRECTING_VARIABLES = ("PYTHONPATH", "PYTHONHOME", "PYTHONSAFEPATH", "PYTHONNOUSERSITE", "__PYVENV_LAUNCHER__")
"""Variables that make the interpreter of the environment find other modules than its own."""
_SLOW_IMPORTS = {
    "fetch": "requests, tqdm, filelock",
    "data": "numpy",
    "train": "numpy, torch.nn.functional, safetensors, matplotlib.pyplot, matplotlib.backends.backend_agg",
}


def run(words: Sequence[str]) -> int:
    """Run a command line, and return the exit code; an error is two lines on stderr."""
    try:
        options = parser().parse_args(words)
        if options.group == "lock":
            _lock()
        else:
            if options.group == "train" and options.root is not None:
                _require_data(options.dataset, options.root)
            _set_up(options, words)
    except FetchError as exc:
        # Most people see this through make, which has a variable for the option.
        hint = exc.hint.replace(
            "--mirror URL or --mirror FOLDER", "MIRROR=URL or MIRROR=FOLDER (without make: --mirror)"
        )
        print_error(exc.message, hint)
        return exc.exit_code
    except KeyboardInterrupt:
        print_error("interrupted", "Run the same command again; what has arrived is kept.")
        return 130
    return 0


def parser() -> Parser:
    """Return the parser of the command line."""
    description = "Set up the tools of this project from pylock.toml."
    parser = Parser(prog="python -m fmnist_fetch.environment", description=description)
    groups = [*(group or "fetch" for group in GROUPS), "lock"]
    parser.add_argument("group", choices=groups, help="what to set up; lock: make pylock.toml anew")
    add = parser.add_argument
    add("--venv", default=".venv", type=checked_path, help="the environment (default: %(default)s)")
    add("--mirror", action="append", default=[], type=parse_mirror, help="a URL or folder to ask first; repeatable")
    parser.add_argument("--lan", action="store_true", help="look for servers in the local network, and ask them too")
    parser.add_argument("--offline", action="store_true", help="open no socket")
    parser.add_argument("--root", help="train: look for the data here before anything is downloaded")
    parser.add_argument("--dataset", default=DATASET, help=argparse.SUPPRESS)
    return parser


def _require_data(dataset: str, root: str) -> None:
    """Raise FetchError where a dataset has no tensor file under a root: without it, training needs no packages."""
    tensors = Layout(root, find(dataset)).tensors
    if not tensors.exists():
        command = fetch_command(dataset, root if root != DEFAULT_ROOT else None)
        raise FetchError(f"{tensors} is not there", hint=f"Run: {command}")


def _lock() -> None:
    from fmnist_fetch.environment.relock import relock
    from fmnist_fetch.storage.atomic import write_all, write_atomically

    try:
        text = relock(PROJECT)
    except FileNotFoundError as exc:
        raise UsageError("uv is not installed", hint="Run: make lock, or pip install uv") from exc
    except subprocess.CalledProcessError as exc:
        raise DiskError("uv found no versions that fit together", hint="See its messages above.") from exc
    with write_atomically(PROJECT / LOCK) as file:
        write_all(file, text.encode())


def _set_up(options: argparse.Namespace, words: Sequence[str]) -> None:
    """Set up an environment, or have its own interpreter do so, which gets the same words as arguments."""
    venv = options.venv.absolute()
    if _is_set_up(venv, options.group):
        return
    if Path(sys.prefix).resolve() != venv.resolve():
        _create(venv)
        _continue_inside(venv, words)
    with _exclusively(venv):
        if not _is_set_up(venv, options.group):  # by another process meanwhile
            _install(options, venv)


def _is_set_up(venv: Path, group: str) -> bool:
    """Return whether the stamp of a group has these inputs; touch it then, since make compares its time."""
    stamp = venv / group
    with suppress(OSError):
        if stamp.read_text(encoding="utf-8") == _inputs() and _interpreter(venv).exists():
            os.utime(stamp)
            return True
    return False


def _inputs() -> str:
    """Return a digest of the files that decide what is installed."""
    found = hashlib.sha256()
    for name in (LOCK, "pyproject.toml"):
        with disk(PROJECT / name):
            found.update((PROJECT / name).read_bytes())
    return found.hexdigest()


def _interpreter(venv: Path) -> Path:
    return venv / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def _create(venv: Path) -> None:
    """Create a virtual environment without pip, unless it is complete already. Raises FetchError, DiskError."""
    interpreter, configuration = _interpreter(venv), venv / "pyvenv.cfg"
    if interpreter.exists() and interpreter.with_name("activate").exists() and configuration.exists():
        return
    try:
        from venv import EnvBuilder
    except ImportError as exc:
        raise FetchError(
            f"{sys.executable} has no module venv",
            hint="Install it (Debian, Ubuntu: sudo apt install python3-venv), or name another: make PYTHON=python3.12",
        ) from exc
    if venv.exists() and not configuration.exists() and any(venv.iterdir()):
        raise FetchError(f"{venv} is a folder, but not a virtual environment", hint="Move it away, or name another.")
    with disk(venv):
        if interpreter.is_symlink() and not interpreter.exists():
            shutil.rmtree(venv)  # The Python that it was made with no longer exists.
        EnvBuilder(symlinks=os.name != "nt", with_pip=False).create(venv)


def _continue_inside(venv: Path, words: Sequence[str]) -> NoReturn:
    environment = {name: value for name, value in os.environ.items() if name not in _REDIRECTING_VARIABLES}
    command = [str(_interpreter(venv)), "-m", "fmnist_fetch.environment", *words]
    os.chdir(PROJECT)
    sys.stdout.flush()
    if os.name == "nt":
        raise SystemExit(subprocess.run(command, env=environment, check=False).returncode)
    os.execve(command[0], command, environment)


@contextmanager
def _exclusively(venv: Path) -> Iterator[None]:
    """Wait until no other process sets up an environment; where the file system has no locks, do not wait."""
    with disk(venv), open(venv / ".lock", "a+b") as file:
        with suppress(OSError):
            if os.name == "nt":
                import msvcrt

                msvcrt.locking(file.fileno(), msvcrt.LK_LOCK, 1)  # type: ignore[attr-defined,unused-ignore]
            else:
                import fcntl

                fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _install(options: argparse.Namespace, venv: Path) -> None:
    from fmnist_fetch.environment.indexes import Configuration
    from fmnist_fetch.environment.store import Sources, Store
    from fmnist_fetch.sources.lan import advice, find_servers

    inputs, lock = _inputs(), Lock.read(PROJECT / LOCK)
    configuration = Configuration.read()
    configuration.apply()
    lines = listener("log", sys.stderr)
    servers = find_servers(lines, offline=options.offline) if options.lan else []
    mirrors = list(map(str, options.mirror))
    sources = Sources(PROJECT, mirrors, configuration, offline=options.offline, servers=servers)
    try:
        _install_first(lock, Store(PROJECT / STORE, sources, lines))
        # tqdm, which draws bars, has come with the first packages.
        display = listener("auto", sys.stderr)
        _install_rest(lock, options.group, Store(PROJECT / STORE, sources, display), display)
    except SourceError as exc:
        exc.hint = exc.hint if servers or not options.lan else advice(exc.hint)
        raise
    from fmnist_fetch.environment.install import install_project

    install_project(PROJECT)
    if sys.dont_write_bytecode and (modules := _SLOW_IMPORTS.get(options.group)):
        # -I ignores PYTHONDONTWRITEBYTECODE: without bytecode, every start would compile these modules again, which
        # takes seconds. Only files of the environment are written.
        subprocess.run([sys.executable, "-I", "-c", f"import {modules}"], cwd=sys.prefix, check=False)
    for group in (options.group, "fetch"):
        with disk(venv):
            (venv / group).write_text(inputs, encoding="utf-8")


def _install_first(lock: Lock, store: "Store") -> None:
    """Install the nameless group, which is what the engine needs, with the standard library alone."""
    tools = _not_installed([lock.tool(name) for name in TOOLS])
    store.fetch_first(store.missing(tools))
    sys.path[:0] = [str(store.path(tool)) for tool in tools]
    wheels = _not_installed(lock.select(""))
    store.fetch_first(store.missing(wheels))
    from fmnist_fetch.environment.install import install_wheels

    install_wheels(map(store.path, wheels))


def _install_rest(lock: Lock, group: str, store: "Store", notify: "Listener") -> None:
    from fmnist_fetch.environment.install import install_wheels

    try:
        wheels = _not_installed(lock.select("" if group == "fetch" else group))
    except LookupError as exc:
        hint = "Use CPython 3.11 to 3.14 on Linux, macOS (arm64) or Windows: make PYTHON=python3.12"
        raise FetchError(f"pylock.toml has no wheels for this machine: {exc}", hint=hint) from exc
    if not wheels:
        return
    missing = store.missing(wheels)
    packed_bytes = sum(wheel.size or 0 for wheel in wheels)
    _require_space(sum(wheel.size or 0 for wheel in missing) + UNPACKED_RATIO * packed_bytes)
    if missing:
        store.fetch(missing)
    notify(Message(f"installing {counted(len(wheels), 'package')}"))
    install_wheels(map(store.path, wheels))


def _not_installed(wheels: Sequence[Wheel]) -> list[Wheel]:
    """Return those of some wheels that this environment lacks, or has in part: RECORD is written last."""
    from importlib.metadata import distributions

    folders = list({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")})

    def versions(package: str) -> list[str]:
        return [one.version for one in distributions(name=package, path=folders) if one.read_text("RECORD") is not None]

    return [wheel for wheel in wheels if wheel.version not in versions(wheel.package)]


def _require_space(needed_bytes: int) -> None:
    """Raise DiskError where the environment has less free space."""
    folder = sysconfig.get_path("purelib")
    free_bytes = shutil.disk_usage(folder).free
    if free_bytes < needed_bytes:
        raise DiskError(
            f"{folder} has {size(free_bytes)} free, and {size(needed_bytes)} are needed",
            hint=f"Free {size(needed_bytes - free_bytes)} and run the same command again; what is there is kept.",
        )
