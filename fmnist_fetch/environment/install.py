"""Virtual environments: made without pip, filled with wheels from the store and with this project as a path."""

import json
import os
import shutil
import sys
import sysconfig
from collections.abc import Iterable, Sequence
from contextlib import suppress
from email.message import Message
from importlib.metadata import Distribution, PathDistribution, distributions
from pathlib import Path
from typing import Any

from fmnist_fetch import __version__
from fmnist_fetch.errors import FetchError, disk

PROJECT = "fmnist-fetch"
INSTALLER = b"fmnist_fetch.environment\n"
UNPACKED = 4
"""How many times the size of a wheel its files take, about."""


def create(venv: Path, interpreter: Path) -> None:
    """Make VENV, with this INTERPRETER and without pip; a whole one is left alone. Raises FetchError, DiskError."""
    activate = interpreter.with_name("activate")
    if interpreter.exists() and activate.exists() and (venv / "pyvenv.cfg").exists():
        return
    try:
        from venv import EnvBuilder
    except ImportError as exc:
        raise FetchError(
            f"{sys.executable} has no module venv",
            hint="Install it (Debian, Ubuntu: sudo apt install python3-venv), or name another: make PYTHON=python3.12",
        ) from exc
    if venv.exists() and not (venv / "pyvenv.cfg").exists() and any(venv.iterdir()):
        raise FetchError(f"{venv} is a folder, but not a virtual environment", hint="Move it away, or name another.")
    with disk(venv):
        if interpreter.is_symlink() and not interpreter.exists():
            shutil.rmtree(venv)  # The Python that it was made with is gone.
        EnvBuilder(symlinks=os.name != "nt", with_pip=False).create(venv)


class SitePackages:
    """The packages of the environment that runs this program."""

    def __init__(self) -> None:
        self._paths = sysconfig.get_paths()
        self.folder = Path(self._paths["purelib"])

    def versions(self) -> dict[str, str]:
        """Return the versions of the packages that are installed completely, by normalized names."""
        folders = list(dict.fromkeys([self._paths["purelib"], self._paths["platlib"]]))
        found = {}
        for one in distributions(path=folders):
            if _has_record(one):
                found[_normalized(one.name)] = one.version
        return found

    def install(self, wheels: Sequence[Path]) -> None:
        """Install WHEELS, which are verified, without bytecode; other versions give way. Raises DiskError."""
        from fmnist_fetch.environment.unpack import unpack

        paths = {**self._paths, "headers": str(self.folder.parent / "include")}
        for wheel in wheels:
            with disk(self.folder):
                self.remove(wheel.name.partition("-")[0])
                unpack(wheel, paths, {"INSTALLER": INSTALLER})

    def install_project(self, project: Path, table: dict[str, Any]) -> None:
        """Make PROJECT importable by a path file, with its commands and its metadata (TABLE: [project])."""
        from installer.scripts import Script
        from installer.utils import get_launcher_kind

        scripts = table.get("scripts", {})
        folder = self.folder / f"{PROJECT.replace('-', '_')}-{__version__}.dist-info"
        with disk(self.folder):
            self.remove(PROJECT)
            folder.mkdir(parents=True, exist_ok=True)
            written = [self.folder / f"{PROJECT.replace('-', '_')}.pth"]
            written[0].write_text(f"{project}\n", encoding="utf-8")
            for name, target in scripts.items():
                module, _, attribute = target.partition(":")
                name, content = Script(name, module, attribute, "console").generate(sys.executable, get_launcher_kind())
                path = Path(self._paths["scripts"], name)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
                path.chmod(0o755)
                written.append(path)
            entries = "".join(f"{name} = {target}\n" for name, target in scripts.items())
            about = {
                "METADATA": _metadata(table),
                "INSTALLER": INSTALLER.decode(),
                "entry_points.txt": f"[console_scripts]\n{entries}",
                "direct_url.json": json.dumps({"url": project.as_uri(), "dir_info": {"editable": True}}),
            }
            for name, text in about.items():
                (folder / name).write_text(text, encoding="utf-8")
                written.append(folder / name)
            record = "".join(f"{os.path.relpath(path, self.folder)},,\n" for path in (*written, folder / "RECORD"))
            (folder / "RECORD").write_text(record.replace(os.sep, "/"), encoding="utf-8")

    def remove(self, name: str) -> None:
        """Remove what is installed of the package NAME."""
        for one in distributions(name=_normalized(name), path=[str(self.folder)]):
            for file in one.files or ():
                with suppress(OSError):
                    Path(str(file.locate())).unlink()
            if isinstance(one, PathDistribution) and isinstance(folder := getattr(one, "_path", None), Path):
                shutil.rmtree(folder, ignore_errors=True)


def demand_space(folder: Path, download: int, install: int) -> None:
    """Raise DiskError where FOLDER has no room for the wheels: DOWNLOAD bytes to fetch, INSTALL bytes to unpack."""
    from fmnist_fetch.errors import DiskError

    needed = int(download + install * UNPACKED)
    there = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    free = shutil.disk_usage(there).free
    if free < needed:
        raise DiskError(
            f"{there} has {free / 1e6:,.0f} MB free, and {needed / 1e6:,.0f} MB are needed",
            hint=f"Free {(needed - free) / 1e6:,.0f} MB and run the same command again; what is there is kept.",
        )


def _has_record(one: Distribution) -> bool:
    """Return whether the installation of ONE came to its end: the record is written last."""
    return one.read_text("RECORD") is not None and "Name" in _keys(one)


def _keys(one: Distribution) -> Iterable[str]:
    metadata = one.metadata
    return metadata.keys() if isinstance(metadata, Message) else metadata


def _normalized(name: str) -> str:
    return name.replace("_", "-").replace(".", "-").lower()


def _metadata(table: dict[str, Any]) -> str:
    lines = ["Metadata-Version: 2.4", f"Name: {table['name']}", f"Version: {__version__}"]
    lines += [f"Summary: {table['description']}", f"Requires-Python: {table['requires-python']}"]
    lines += [f"Requires-Dist: {text}" for text in table["dependencies"]]
    for extra, texts in table["optional-dependencies"].items():
        lines.append(f"Provides-Extra: {extra}")
        for text in texts:
            requirement, _, marker = text.partition(";")
            condition = f"extra == '{extra}'"
            condition = f"({marker.strip()}) and {condition}" if marker else condition
            lines.append(f"Requires-Dist: {requirement.strip()}; {condition}")
    return "\n".join(lines) + "\n"
