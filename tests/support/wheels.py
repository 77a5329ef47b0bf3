"""Small wheels that can be installed, made in memory."""

from __future__ import annotations

import io
import zipfile
from base64 import urlsafe_b64encode
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import NamedTuple

from fmnist_fetch.environment.lock import GROUPS, Wheel


class MadeWheel(NamedTuple):
    """A wheel as the lock names it, and its bytes."""

    wheel: Wheel
    content: bytes


def make_wheel(package: str, version: str = "1.0", *, ballast: bytes = b"", command: str = "") -> MadeWheel:
    """Return a wheel of the module PACKAGE, with a file BALLAST and, if it is given, a console script COMMAND."""
    module = package.replace("-", "_")
    about = f"{module}-{version}.dist-info"
    files = {
        f"{module}/__init__.py": f'version = "{version}"\n\n\ndef main():\n    print(version)\n'.encode(),
        f"{about}/METADATA": f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n".encode(),
        f"{about}/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    if ballast:
        files[f"{module}/ballast"] = ballast
    if command:
        files[f"{about}/entry_points.txt"] = f"[console_scripts]\n{command} = {module}:main\n".encode()
    return pack(package, version, files)


def pack(package: str, version: str, files: Mapping[str, bytes]) -> MadeWheel:
    """Return a wheel of FILES by their paths, to which it adds RECORD."""
    module = package.replace("-", "_")
    about = next(path.partition("/")[0] for path in files if ".dist-info/" in path)
    lines = [
        f"{path},sha256={urlsafe_b64encode(sha256(data).digest()).rstrip(b'=').decode()},{len(data)}"
        for path, data in files.items()
    ]
    record = {f"{about}/RECORD": "\n".join([*lines, f"{about}/RECORD,,", ""]).encode()}
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for path, data in {**files, **record}.items():
            archive.writestr(zipfile.ZipInfo(path), data)
    content = stream.getvalue()
    name = f"{module}-{version}-py3-none-any.whl"
    return MadeWheel(Wheel(package, version, name, len(content), sha256(content).hexdigest()), content)


def lock_text(groups: Mapping[str, Sequence[MadeWheel]]) -> str:
    """Return a pylock.toml of the wheels of these GROUPS; those of the nameless one are part of every other."""
    names = ", ".join(f'"{group}"' for group in GROUPS if group)
    lines = ['lock-version = "1.0"', 'created-by = "a test"', f"dependency-groups = [{names}]"]
    for group, made in groups.items():
        for wheel, _ in made:
            lines += ["[[packages]]", f'name = "{wheel.package}"', f'version = "{wheel.version}"']
            lines += [f"marker = \"'{group}' in dependency_groups\""] if group else []
            digest = f'hashes = {{ sha256 = "{wheel.sha256}" }}'
            lines.append(f'wheels = [{{ path = "wheels/{wheel.name}", size = {wheel.size}, {digest} }}]')
    return "\n".join([*lines, ""])
