"""The set-ups of lab admins: nginx in front of a root, a shared read-only root, a root on a USB stick."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from nginx import PATH, free_port, nginx
from processes import PROGRAM, command_line, run
from samples import PROJECT_FOLDER, Sample, disk_of, fill, flipped

ROOT = os.geteuid() == 0 if hasattr(os, "geteuid") else False


def need(*programs: str) -> None:
    """Skip the test if one of PROGRAMS is not installed."""
    for program in programs:
        if not shutil.which(program, path=PATH):
            pytest.skip(f"{program} is not installed")


def test_the_nginx_of_the_page_for_lab_admins_is_a_mirror(sample: Sample, complete: Path, tmp_path: Path) -> None:
    page = (PROJECT_FOLDER / "docs" / "lab-admins.md").read_text(encoding="utf-8")
    (server,) = re.findall(r"^```nginx\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    port, raw = free_port(), sample.layout(complete).raw
    for old, new in (("listen 8000;", f"listen 127.0.0.1:{port};"), ("/srv/datasets/FashionMNIST/raw;", f"{raw};")):
        assert server.count(old) == 1
        server = server.replace(old, new)
    with nginx(tmp_path / "nginx", server, port) as url:
        report = sample.fetch(tmp_path / "student", url)
        assert report.received == {url: sample.size}
        assert (report.retries, report.wrong_pieces) == (0, 0)
        name = sample.file().name
        answer = requests.get(url + name, headers={"Range": "bytes=10-19", "Accept-Encoding": "identity"}, timeout=20)
        assert (answer.status_code, answer.content) == (206, sample.files[name][10:20])
        assert answer.headers["Content-Type"] == "application/gzip"
        assert requests.get(url + sample.file().payload.name, timeout=20).status_code == 404
        assert requests.get(url, timeout=20).status_code == 404


@pytest.mark.parametrize("verb", ["fetch", "verify"])
def test_a_complete_root_that_is_shared_and_read_only_is_left_as_it_is(
    verb: str, sample: Sample, complete: Path, tmp_path: Path
) -> None:
    words = [*PROGRAM, verb, sample.write(tmp_path), "--root", str(complete)]
    if ROOT:
        # Root can write everywhere except to a read-only file system.
        need("unshare", "mount")
        line = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && ! touch "$0/x" 2>/dev/null && exec "$@"'
        words = ["unshare", "--mount", "sh", "-c", line, str(complete), *words]
        if run(["unshare", "--mount", "true"]).returncode:
            pytest.skip("no namespaces can be made here")
    folders = [path for path in (complete, *complete.rglob("*")) if path.is_dir()]
    for folder in folders:
        folder.chmod(0o555)
    before = disk_of(complete), [folder.stat().st_mtime_ns for folder in folders]
    try:
        done = run(words)
        assert done.returncode == 0, done.stderr
        assert (disk_of(complete), [folder.stat().st_mtime_ns for folder in folders]) == before
    finally:
        for folder in folders:
            folder.chmod(0o755)


@pytest.fixture
def vfat(tmp_path: Path) -> Iterator[Path]:
    """Yield a file system without links and permissions."""
    if not ROOT:
        pytest.skip("only root can mount a stick")
    need("mkfs.vfat", "mount")
    image, folder = tmp_path / "stick.img", tmp_path / "vfat"
    folder.mkdir()
    with image.open("wb") as file:
        file.truncate(64 * 1024 * 1024)
    assert run(["mkfs.vfat", image]).returncode == 0
    if run(["mount", "-o", "loop", image, folder]).returncode:
        pytest.skip("a loop device with vfat can not be mounted here")
    try:
        yield folder
    finally:
        assert run(["umount", folder]).returncode == 0


def test_a_root_on_a_stick_is_filled_repaired_and_verified(sample: Sample, vfat: Path, tmp_path: Path) -> None:
    root, source = vfat / "data", fill(tmp_path / "source", sample.files)
    with pytest.raises(OSError, match="not permitted"):
        (vfat / "link").symlink_to("nowhere")
    words = (sample.write(tmp_path), "--root", str(root))
    fetch = ("fetch", *words, "--only-mirrors", "--mirror", str(source))
    assert command_line(*fetch).returncode == 0
    raw = sample.layout(root).raw
    assert {path.name: path.read_bytes() for path in raw.iterdir()} == {**sample.files, **sample.payloads}
    name = sample.file().name
    (raw / name).write_bytes(flipped(sample.files[name], 3000))
    assert command_line("verify", *words).returncode == 3
    assert command_line(*fetch).returncode == 0
    assert (raw / name).read_bytes() == sample.files[name]
    before = disk_of(vfat)
    assert command_line("verify", *words).returncode == 0
    assert disk_of(vfat) == before
