"""The machine that wheels are for: which tags it takes, and what its markers say."""

import platform
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from fmnist_fetch.errors import UsageError

_PYTHON = re.compile(r"3\.\d{1,2}")
_PLATFORM = re.compile(r"(manylinux_2_(\d+)|manylinux2014|musllinux_1_\d+|linux|macosx_\d+_\d+|win)_([a-z0-9_]+)")
_OLDEST_GLIBC = 5
_LEGACY = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}
_SYSTEMS = {"macosx": ("darwin", "posix", "Darwin"), "win": ("win32", "nt", "Windows")}


class Target(NamedTuple):
    """A Python version ("3.12") on a platform as wheels name it ("manylinux_2_28_x86_64"), None for this machine's."""

    python: str
    platform: str | None

    @classmethod
    def parse(cls, python: str | None, platform: str | None) -> "Target":
        """The machine with this Python and platform, this one's where they are None; raises UsageError."""
        ours = "{}.{}".format(*sys.version_info)
        if python is not None and not _PYTHON.fullmatch(python):
            raise UsageError(f"{python!r} is not a version of Python", hint="Write it as in --python 3.12.")
        if platform is not None and not _PLATFORM.fullmatch(platform):
            raise UsageError(
                f"{platform!r} is not a platform that wheels are made for",
                hint="For example manylinux_2_28_x86_64, manylinux_2_17_aarch64, macosx_14_0_arm64, win_amd64.",
            )
        return cls(python or ours, platform)

    @property
    def words(self) -> str:
        """For people."""
        return f"Python {self.python} on {self.platform or f'{platform.system()} {self.machine}'}"

    @property
    def machine(self) -> str:
        """The processor, as `uname -m` says it."""
        match = _PLATFORM.fullmatch(self.platform or "")
        return match[3] if match else platform.machine().lower()

    def flags(self) -> list[str]:
        """What pip is to be told of it; nothing for the machine and the Python that it runs on."""
        flags = [word for tag in dict.fromkeys(self._tags()) for word in ("--platform", tag)]
        if flags or self.python != "{}.{}".format(*sys.version_info):
            flags += ["--python-version", self.python, "--implementation", "cp"]
        return flags

    def wanted(self, requirements: Iterable[str], extras: Iterable[str] = ()) -> Iterator[str]:
        """Those of REQUIREMENTS that this machine has, without their markers; EXTRAS are those that were asked for."""
        from packaging.requirements import Requirement

        environments = [{**self._markers(), "extra": extra} for extra in ("", *extras)]
        for text in requirements:
            requirement = Requirement(text)
            marker, requirement.marker = requirement.marker, None
            if marker is None or any(marker.evaluate(environment) for environment in environments):
                yield str(requirement)

    def _tags(self) -> Iterator[str]:
        """The platform, and the older ones that run there too, which pip does not know of by itself."""
        match = _PLATFORM.fullmatch(self.platform or "")
        if not match:
            return
        yield match[0]
        if match[2]:
            for minor in range(int(match[2]), _OLDEST_GLIBC - 1, -1):
                yield from (f"{name}_{match[3]}" for name in (f"manylinux_2_{minor}", _LEGACY.get(minor)) if name)
            yield f"linux_{match[3]}"

    def _markers(self) -> Mapping[str, str]:
        from packaging.markers import default_environment

        markers = {key: str(value) for key, value in default_environment().items()}
        if self.python != markers["python_version"]:
            markers |= {"python_version": self.python, "python_full_version": f"{self.python}.0"}
        if match := _PLATFORM.fullmatch(self.platform or ""):
            system, name, title = _SYSTEMS.get(match[1].partition("_")[0], ("linux", "posix", "Linux"))
            machine = "AMD64" if match[3] == "amd64" else match[3]
            markers |= {"sys_platform": system, "os_name": name, "platform_system": title, "platform_machine": machine}
        return markers
