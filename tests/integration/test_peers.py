"""Peers of other makers: nginx in several configurations, and a real link that fails and recovers."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dead_ends import self_signed
from faults import KIB, MIB
from processes import Run, command, environment_of, fetch
from samples import PROJECT_FOLDER
from worlds import IMAGES, World, dataset, small

CONFIG = """
daemon off; master_process off; pid {folder}/nginx.pid; error_log {folder}/error.log;
{user}
events {{ worker_connections 64; }}
http {{
    access_log {folder}/access.log;
    log_format lines '$status $body_bytes_sent $http_range';
    access_log {folder}/lines.log lines;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    server {{ listen 127.0.0.1:{port}{tls}; root {folder}/www; {more} }}
}}
"""


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path, dataset())


class Nginx:
    """A running nginx with the files of a world."""

    def __init__(self, folder: Path, port: int, scheme: str) -> None:
        self.folder, self.url = folder, f"{scheme}://127.0.0.1:{port}/"

    @property
    def lines(self) -> list[tuple[int, int, str]]:
        """The status, the bytes of the body and the range of each request so far."""
        fields = (line.split(" ", 2) for line in (self.folder / "lines.log").read_text().splitlines())
        return [(int(status), int(sent), asked) for status, sent, asked in fields]

    @property
    def served(self) -> int:
        """The bytes of all bodies so far."""
        return sum(sent for _, sent, _ in self.lines)


@contextlib.contextmanager
def nginx(world: World, more: str = "", *, trusted: bool = True) -> Iterator[Nginx]:
    """Run nginx on the files of WORLD, with MORE in its configuration, and with TLS unless it is TRUSTED."""
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
    if program is None:
        pytest.skip("nginx is not installed")
    folder = world.folder / "nginx"
    (folder / "www").mkdir(parents=True)
    for name, data in world.data.files.items():
        (folder / "www" / name).write_bytes(data)
    port = _free_port()
    tls = ""
    if not trusted:
        certificate = self_signed(folder)
        tls, more = " ssl", f"ssl_certificate {certificate.cert}; ssl_certificate_key {certificate.key}; {more}"
    user = "user root;" if os.geteuid() == 0 else ""
    text = CONFIG.format(folder=folder, port=port, more=more, tls=tls, user=user)
    (folder / "nginx.conf").write_text(text)
    line = [program, "-p", str(folder), "-c", str(folder / "nginx.conf")]
    with subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            _wait_for(port, process)
            yield Nginx(folder, port, "http" if trusted else "https")
        finally:
            process.terminate()


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + 20
    while time.monotonic() < end and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.02)
    raise AssertionError("nginx does not come up")


def test_nginx_serves_every_byte_once(world: World) -> None:
    with nginx(world) as server:
        outcome = fetch(world, server.url)
        assert outcome.code == 0, outcome.err
        assert server.served == world.data.size
        assert {status for status, _, _ in server.lines} == {206}
    world.assert_complete()


def test_nginx_at_a_limited_rate_is_waited_for(world: World) -> None:
    with nginx(world, "limit_rate 1m; limit_rate_after 100k;") as server:
        outcome = fetch(world, server.url)
        assert outcome.code == 0, outcome.err
        assert server.served <= 1.05 * world.data.size
    world.assert_complete()


@pytest.mark.parametrize("more", ["max_ranges 0;", "max_ranges 0; limit_rate 3m;"], ids=["fast", "slow"])
def test_nginx_without_ranges_serves_each_file_once(world: World, more: str) -> None:
    with nginx(world, more) as server:
        outcome = fetch(world, server.url)
        assert outcome.code == 0, outcome.err
        assert {status for status, _, _ in server.lines} == {200}
        assert server.served == world.data.size
    world.assert_complete()


def test_nginx_with_one_connection_at_a_time_gets_there(tmp_path: Path) -> None:
    world = World(tmp_path, small())
    with nginx(world, "keepalive_requests 3; keepalive_timeout 0;") as server:
        outcome = fetch(world, server.url)
        assert outcome.code == 0, outcome.err
        assert server.served == world.data.size
    world.assert_complete()


def test_nginx_that_compresses_once_more_does_no_harm(world: World) -> None:
    with nginx(world, "gzip on; gzip_types *; gzip_min_length 1;") as server:
        outcome = fetch(world, server.url)
        assert outcome.code == 0, outcome.err
        assert server.served == world.data.size
    world.assert_complete()


def test_nginx_with_an_unknown_ca_is_refused_until_the_ca_is_named(world: World) -> None:
    with nginx(world, trusted=False) as server:
        outcome = fetch(world, server.url)
        assert outcome.code == 4
        assert "its certificate is not trusted" in outcome.message
        assert "REQUESTS_CA_BUNDLE" in outcome.hint + outcome.message
        assert not server.lines
        known = {"REQUESTS_CA_BUNDLE": str(server.folder / "self-signed.crt")}
        outcome = fetch(world, server.url, env=known)
        assert outcome.code == 0, outcome.err
        assert server.served == world.data.size
    world.assert_complete()


def test_a_file_that_nginx_does_not_have_is_reported_by_name(world: World) -> None:
    with nginx(world) as server:
        (server.folder / "www" / IMAGES).unlink()
        outcome = fetch(world, server.url)
        assert len([line for line in server.lines if line[0] == 404]) <= 4
    assert outcome.code == 4
    assert f"answered 404 for {IMAGES}" in outcome.message
    world.assert_nothing_wrong()


# A real link.

SERVER = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from mirror import Mirror
files = {{path.name: path.read_bytes() for path in Path({www!r}).iterdir()}}
with Mirror(files, host="10.213.77.1") as mirror:
    print(mirror.url, flush=True)
    for line in sys.stdin:
        print(mirror.served, flush=True)
"""


def ip(*words: str, namespace: str = "") -> None:
    """Run `ip` with WORDS."""
    inside = ["ip", "netns", "exec", namespace] if namespace else []
    subprocess.run([*inside, "ip", *words], check=True, capture_output=True, timeout=20)


class Link:
    """Two network namespaces joined by a cable: a server at one end, a client at the other."""

    def __init__(self, server: str, client: str) -> None:
        self.server, self.client = server, client
        self.process: subprocess.Popen[str] | None = None
        self.url = ""

    def serve(self, www: Path) -> None:
        """Start a mirror of the files in the folder WWW."""
        text = SERVER.format(tests=str(PROJECT_FOLDER / "tests" / "support"), www=str(www))
        line = ["ip", "netns", "exec", self.server, sys.executable, "-c", text]
        self.process = subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().strip()

    @property
    def served(self) -> int:
        """The bytes that the mirror has served so far."""
        assert self.process is not None
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("?\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def set(self, state: str) -> None:
        """Unplug the cable, or plug it in."""
        ip("link", "set", "end", state, namespace=self.server)

    def start(self, world: World, *options: str) -> Run:
        """Fetch the dataset of WORLD at the end of the client."""
        line = ["ip", "netns", "exec", self.client, *command(world, [self.url], options)]
        return Run(line, world, environment_of(world))

    def close(self) -> None:
        """Remove the namespaces."""
        if self.process is not None:
            self.process.kill()
            self.process.communicate()


@pytest.fixture
def link(tmp_path: Path, world: World) -> Iterator[Link]:
    """Yield a link of 12 Mbit/s, slow enough to be cut in mid-transfer."""
    if os.geteuid() != 0 or shutil.which("ip") is None or shutil.which("tc") is None:
        pytest.skip("only root, with ip and tc, can make network namespaces")
    names = [f"fmnist-{kind}-{os.getpid()}" for kind in ("s", "c")]
    made = Link(*names)
    try:
        _lay_cable(*names)
        www = tmp_path / "www"
        www.mkdir()
        for name, data in world.data.files.items():
            (www / name).write_bytes(data)
        made.serve(www)
        yield made
    finally:
        made.close()
        for name in names:
            subprocess.run(["ip", "netns", "delete", name], capture_output=True, check=False)


def _lay_cable(server: str, client: str) -> None:
    try:
        ip("netns", "add", server)
        ip("netns", "add", client)
        ip("link", "add", "end", "netns", server, "type", "veth", "peer", "name", "end", "netns", client)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"no network namespaces here: {error.stderr.decode().strip()}")
    for name, address in ((server, "10.213.77.1/24"), (client, "10.213.77.2/24")):
        ip("addr", "add", address, "dev", "end", namespace=name)
        ip("link", "set", "lo", "up", namespace=name)
        ip("link", "set", "end", "up", namespace=name)
    shape = ["tc", "qdisc", "add", "dev", "end", "root", "tbf", "rate", "12mbit", "burst", "32kb", "latency", "50ms"]
    made = subprocess.run(["ip", "netns", "exec", server, *shape], capture_output=True, check=False)
    if made.returncode:
        pytest.skip(f"no tbf here: {made.stderr.decode().strip()}")


def test_a_cable_that_is_pulled_for_a_moment_costs_next_to_nothing(link: Link, world: World) -> None:
    with link.start(world) as run:
        run.until(lambda: link.served >= MIB)
        link.set("down")
        time.sleep(1.0)
        link.set("up")
        outcome = run.wait()
    assert outcome.code == 0, outcome.err
    # The bytes on the way are lost with their connections: at most one window for each.
    assert link.served <= world.data.size + 4 * 256 * KIB
    world.assert_complete()


def test_a_long_break_of_the_network_is_waited_for_and_reported(link: Link, world: World) -> None:
    with link.start(world, "--patience", "forever") as run:
        run.until(lambda: link.served >= MIB)
        link.set("down")
        run.until(lambda: "waiting (as long as it takes)" in run.err)
        link.set("up")
        outcome = run.wait()
    assert outcome.code == 0, outcome.err
    assert link.served <= world.data.size + 4 * 256 * KIB
    world.assert_complete()


def test_a_cable_that_stays_unplugged_ends_the_run_and_what_came_is_kept(link: Link, world: World) -> None:
    with link.start(world, "--patience", "8") as run:
        run.until(lambda: link.served >= MIB)
        link.set("down")
        outcome = run.wait()
    assert outcome.code == 4
    assert len(outcome.reasons) == 1
    world.assert_nothing_wrong()
    assert world.kept() >= 8
    link.set("up")
    with link.start(world) as run:
        assert run.wait().code == 0
    world.assert_complete()
