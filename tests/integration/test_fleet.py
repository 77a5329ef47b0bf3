"""The set-ups of lab admins: nginx in front of a root, a shared read-only root, a root on a USB stick."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from processes import environment
from samples import PROJECT_FOLDER, Sample, disk_of, fill, flipped

ROOT = os.geteuid() == 0 if hasattr(os, "geteuid") else False
NGINX = """
pid {folder}/pid;
error_log {folder}/errors;
events {{ }}
http {{
    access_log off;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
{server}
}}
"""


def need(*programs: str) -> None:
    """Skip the test if one of PROGRAMS is not installed."""
    for program in programs:
        if not shutil.which(program, path=f"{os.environ['PATH']}{os.pathsep}/usr/sbin{os.pathsep}/sbin"):
            pytest.skip(f"{program} is not installed")


@pytest.fixture
def complete(sample: Sample, root: Path) -> Path:
    sample.fetch(root, str(fill(root.parent / "stick", sample.files)))
    return root


@contextmanager
def nginx(raw: Path, folder: Path) -> Iterator[str]:
    """Run nginx with the configuration of docs/lab-admins.md on the folder RAW."""
    page = (PROJECT_FOLDER / "docs" / "lab-admins.md").read_text(encoding="utf-8")
    (snippet,) = re.findall(r"^```nginx\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = snippet.replace("listen 8000;", f"listen 127.0.0.1:{port};")
    server = server.replace("root /srv/datasets/FashionMNIST/raw;", f"root {raw};")
    assert server.count(str(raw)) == server.count(f":{port};") == 1
    folder.mkdir()
    (folder / "nginx.conf").write_text(NGINX.format(folder=folder, server=server))
    user = "user root;" if ROOT else ""
    command = ["nginx", "-e", str(folder / "errors"), "-c", str(folder / "nginx.conf"), "-g", f"daemon off; {user}"]
    process = subprocess.Popen(command)
    try:
        for _ in range(400):
            if process.poll() is not None or reachable(port):
                break
            time.sleep(0.05)
        assert process.poll() is None, (folder / "errors").read_text()
        yield f"http://127.0.0.1:{port}/"
    finally:
        process.terminate()
        process.wait(20)


def reachable(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


def test_the_nginx_of_the_page_for_lab_admins_is_a_mirror(sample: Sample, complete: Path, tmp_path: Path) -> None:
    need("nginx")
    import requests

    raw = sample.layout(complete).raw
    with nginx(raw, tmp_path / "nginx") as url:
        report = sample.fetch(tmp_path / "student", url)
        assert report.received == {url: sample.size}
        assert (report.retries, report.wrong_pieces) == (0, 0)
        name = sample.file().name
        answer = requests.get(url + name, headers={"Range": "bytes=10-19", "Accept-Encoding": "identity"}, timeout=20)
        assert (answer.status_code, answer.content) == (206, sample.files[name][10:20])
        assert answer.headers["Content-Type"] == "application/gzip"
        assert requests.get(url + sample.file().payload.name, timeout=20).status_code == 404
        assert requests.get(url, timeout=20).status_code == 404


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "fmnist_fetch", *words]


def run(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, env=environment(), timeout=120, check=False)


@pytest.mark.parametrize("verb", ["fetch", "verify"])
def test_a_complete_root_that_is_shared_and_read_only_is_left_as_it_is(
    verb: str, sample: Sample, complete: Path, tmp_path: Path
) -> None:
    words = command(verb, sample.write(tmp_path), "--root", str(complete))
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
def stick(tmp_path: Path) -> Iterator[Path]:
    """Yield a file system without links and permissions."""
    if not ROOT:
        pytest.skip("only root can mount a stick")
    need("mkfs.vfat", "mount")
    image, folder = tmp_path / "stick.img", tmp_path / "vfat"
    folder.mkdir()
    with image.open("wb") as file:
        file.truncate(64 * 1024 * 1024)
    subprocess.run(["mkfs.vfat", str(image)], check=True, capture_output=True)
    if run(["mount", "-o", "loop", str(image), str(folder)]).returncode:
        pytest.skip("a loop device with vfat can not be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_root_on_a_stick_is_filled_repaired_and_verified(sample: Sample, stick: Path, tmp_path: Path) -> None:
    root, source = stick / "data", fill(tmp_path / "source", sample.files)
    with pytest.raises(OSError, match="not permitted"):
        (stick / "link").symlink_to("nowhere")
    manifest = sample.write(tmp_path)
    fetch = command("fetch", manifest, "--root", str(root), "--only-mirrors", "--mirror", str(source))
    assert run(fetch).returncode == 0
    raw = sample.layout(root).raw
    assert {path.name: path.read_bytes() for path in raw.iterdir()} == {**sample.files, **sample.payloads}
    name = sample.file().name
    (raw / name).write_bytes(flipped(sample.files[name], 3000))
    assert run(command("verify", manifest, "--root", str(root))).returncode == 3
    assert run(fetch).returncode == 0
    assert (raw / name).read_bytes() == sample.files[name]
    before = disk_of(stick)
    assert run(command("verify", manifest, "--root", str(root))).returncode == 0
    assert disk_of(stick) == before
