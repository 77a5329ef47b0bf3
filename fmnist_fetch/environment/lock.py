"""pylock.toml (PEP 751): which wheels each set-up needs on this machine, or on another one."""

import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from fmnist_fetch.errors import disk
from fmnist_fetch.manifest.model import DataFile, Payload
from fmnist_fetch.manifest.pieces import Piece

if TYPE_CHECKING:
    from packaging.tags import Tag

PROJECT = Path(__file__).parents[2]
"""The clone that this package is part of; of an installed one, a folder without a lock."""
LOCK = "pylock.toml"
STORE = "wheels"

GROUPS = {
    "": (),
    "data": ("load",),
    "train": ("train",),
    "notebook": ("train", "notebook"),
    "test": ("load", "train", "socks", "serve", "kit", "completion", "test"),
    "serve": ("serve",),
    "kit": ("kit",),
    "dev": ("dev",),
}
"""The set-ups, as dependency groups of the lock, and the extras of the project that each consists of.

The nameless one is what fetching needs, and part of every other.
"""
DEFAULT_GROUPS = ("data", "train")
"""What pip and uv install where no group is named."""


class Wheel(NamedTuple):
    """A wheel of the lock; its size in bytes is None where it is not known."""

    package: str
    version: str
    name: str
    size: int | None
    sha256: str

    def as_file(self, size: int, pieces: Iterable[Piece]) -> DataFile:
        """Return the wheel as a file of this size, which consists of some pieces."""
        return DataFile(self.name, size, self.sha256, tuple(pieces), "", "", Payload(self.name, size, self.sha256))


class Lock:
    """A lock file. `select` needs the package `packaging`, whose own wheel `tool` finds without it."""

    def __init__(self, data: bytes) -> None:
        self._table: dict[str, Any] = tomllib.loads(data.decode())

    @classmethod
    def read(cls, path: Path) -> "Lock":
        """Read the lock file at PATH; raise DiskError."""
        with disk(path):
            return cls(path.read_bytes())

    def tool(self, package: str) -> Wheel:
        """Return the wheel of a package that has one wheel for all machines."""
        found = (wheel for wheel in self.wheels() if wheel.package == package)
        return next(wheel for wheel in found if wheel.name.endswith("-py3-none-any.whl"))

    def wheels(self) -> Iterator[Wheel]:
        """Yield the wheels for all machines."""
        for row in self._table["packages"]:
            for wheel in row["wheels"]:
                name = wheel["path"].rpartition("/")[2]
                yield Wheel(row["name"], row["version"], name, wheel.get("size"), wheel["hashes"]["sha256"])

    def select(
        self,
        group: str,
        environment: Mapping[str, str] | None = None,
        tags: Sequence["Tag"] | None = None,
    ) -> list[Wheel]:
        """Return the wheels of a group for a machine.

        Args:
            group: A key of GROUPS.
            environment: The values of its markers that differ from those of this machine.
            tags: The tags of the wheels that run there, the best first; None for those of this machine.

        Raises:
            LookupError: There is no wheel of a package for that machine.
        """
        from packaging.markers import default_environment
        from packaging.pylock import PackageWheel, Pylock, PylockSelectError

        known = {wheel.name: wheel for wheel in self.wheels()}
        try:
            chosen = Pylock.from_dict(self._table).select(
                environment={**default_environment(), **environment} if environment else None,  # type: ignore[arg-type]
                tags=tags,
                dependency_groups=[group] if group else [],
            )
            return [known[wheel.filename] for _, wheel in chosen if isinstance(wheel, PackageWheel)]
        except PylockSelectError as exc:
            raise LookupError(str(exc)) from exc
