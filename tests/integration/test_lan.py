"""Finding the server of a room: two machines on a switch, from which nothing else can be reached."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fmnist_fetch.sources.lan import MAX_SERVERS
from processes import PROGRAM, command_line
from samples import Sample, disk_of
from two_machines import CLIENT, SERVER, Machine, two_machines

pytest.importorskip("aiohttp", reason="aiohttp is not installed: run make serve first")
pytest.importorskip("zeroconf", reason="zeroconf is not installed: run make serve first")

BASE = f"http://{SERVER}:8000/"
NONE = "no server of the local network answered; multicast may be blocked"
Served = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def machines() -> Iterator[tuple[Machine, Machine]]:
    with two_machines() as pair:
        yield pair


@pytest.fixture
def manifest(sample: Sample, complete: Path) -> str:
    """Return the manifest of a dataset that the server has completely."""
    return sample.write(complete.parent)


@pytest.fixture
def serve(machines: tuple[Machine, Machine], manifest: str, root: Path) -> Iterator[Served]:
    """Start a server on the first machine, and wait until it is announced."""
    running: list[subprocess.Popen[str]] = []

    def start(*options: str, until: str = "announced: make") -> subprocess.Popen[str]:
        process = machines[0].start(*PROGRAM, "serve", manifest, "--root", str(root), *options)
        running.append(process)
        assert process.stdout is not None
        assert any(until in line for line in process.stdout), process.communicate()
        return process

    yield start
    for process in running:
        process.terminate()
        process.communicate(timeout=20)


def fetch(machine: Machine, manifest: str, target: Path, *options: str) -> subprocess.CompletedProcess[str]:
    words = ("fetch", manifest, "--root", str(target), "--progress", "log", "--patience", "2", *options)
    return machine.run(*PROGRAM, *words)


def found(machine: Machine) -> list[str]:
    code = "from fmnist_fetch.sources.lan import find_servers\nprint(*find_servers(lambda event: None))"
    done = machine.run(sys.executable, "-c", code)
    assert done.returncode == 0, done.stderr
    return sorted(done.stdout.split())


def test_a_server_that_is_announced_is_found_and_all_comes_from_it(
    machines: tuple[Machine, Machine], serve: Served, manifest: str, sample: Sample, tmp_path: Path
) -> None:
    serve("--announce")
    done = fetch(machines[1], manifest, tmp_path / "student", "--lan", "--only-mirrors")
    assert done.returncode == 0, done.stderr
    assert f"found in the local network: {BASE}" in done.stderr
    assert f"from {BASE}Sample/raw/" in done.stdout
    raw = sample.layout(tmp_path / "student").raw
    assert {path.name: path.read_bytes() for path in raw.glob("*.gz")} == sample.files


def test_several_servers_of_one_machine_are_found(machines: tuple[Machine, Machine], serve: Served) -> None:
    # Two machines with the same host name differ in less than that.
    serve("--announce")
    serve("--announce", "--port", "8001", "--host", SERVER)
    assert found(machines[1]) == [BASE, f"http://{SERVER}:8001/"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_server_that_ends_withdraws_what_it_announced(
    machines: tuple[Machine, Machine], serve: Served, number: signal.Signals
) -> None:
    process = serve("--announce")
    with program(machines[1], LISTEN, CLIENT) as heard:
        process.send_signal(number)
        process.communicate(timeout=20)
        assert process.returncode == 0
        # RFC 6762, section 10.1: the records with a time to live of 0 seconds.
        assert "goodbye" in heard
    assert found(machines[1]) == []


LISTEN = """
import socket, struct, sys
opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
opened.bind(("", 5353))
group = struct.pack("4s4s", socket.inet_aton("224.0.0.251"), socket.inet_aton(sys.argv[1]))
opened.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group)
opened.settimeout(20)
print("ready", flush=True)
while True:
    packet = opened.recv(9000)
    if struct.pack(">HHI", 12, 1, 0) in packet:
        print("goodbye", flush=True)
        break
"""


@contextmanager
def program(machine: Machine, code: str, *words: str) -> Iterator[Iterator[str]]:
    """Run CODE on MACHINE, and yield the lines that it prints once it is ready."""
    with machine.start(sys.executable, "-c", code, *words) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "ready\n"
            yield (line.strip() for line in process.stdout)
        finally:
            process.kill()


RESPOND = """
import socket, struct, sys
server, stranger, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
def bound(address, port):
    opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    opened.bind((address, port))
    return opened
queries = bound("", 5353)
group = struct.pack("4s4s", socket.inet_aton("224.0.0.251"), socket.inet_aton(server))
queries.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group)
def named(dotted):
    return b"".join(bytes([len(label)]) + label.encode() for label in dotted.split(".")) + bytes(1)
def answer(number, ports):
    parts = []
    for port in ports:
        owner = named(f"room{port}._fmnist-fetch._tcp.local")
        for kind, data in ((33, struct.pack(">3H", 0, 0, port) + named("x.local")), (16, bytes([9]) + b"txtvers=1")):
            parts.append(owner + struct.pack(">HHIH", kind, 1, 120, len(data)) + data)
    return number + struct.pack(">5H", 0x8400, 0, len(parts), 0, 0) + b"".join(parts)
senders = [(bound(server, 5354), [1]), (bound(stranger, 5353), [2]), (bound(server, 5353), range(9001, 9001 + count))]
print("ready", flush=True)
while True:
    query, client = queries.recvfrom(9000)
    for opened, ports in senders:
        opened.sendto(answer(query[:2], ports), client)
"""


def test_answers_of_other_ports_and_other_networks_do_not_count_and_the_number_of_servers_is_limited(
    machines: tuple[Machine, Machine],
) -> None:
    stranger = "198.51.100.7"
    machines[0].add_address(stranger)
    with program(machines[0], RESPOND, SERVER, stranger, "12"):
        assert found(machines[1]) == [f"http://{SERVER}:{port}/" for port in range(9001, 9001 + MAX_SERVERS)]


def test_a_server_that_is_not_announced_sends_nothing_and_is_not_found(
    machines: tuple[Machine, Machine], serve: Served
) -> None:
    serve(until="sample: complete")
    assert found(machines[1]) == []


def test_where_multicast_is_blocked_the_error_says_so_and_the_typed_url_works(
    machines: tuple[Machine, Machine], serve: Served, manifest: str, tmp_path: Path
) -> None:
    serve("--announce")
    machines[0].block_multicast()
    target = tmp_path / "student"
    done = fetch(machines[1], manifest, target, "--lan")
    assert done.returncode == 4
    assert NONE in done.stderr
    error, hint = done.stderr.splitlines()[-2:]
    assert error.startswith("error: could not download")
    assert "If there is one, multicast is blocked: name its URL" in hint
    assert not list(target.rglob("*.gz"))
    done = fetch(machines[1], manifest, target, "--lan", "--mirror", f"{BASE}Sample/raw/")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count(NONE) == 1


def test_a_complete_root_needs_no_look_up(machines: tuple[Machine, Machine], manifest: str, root: Path) -> None:
    before = disk_of(root)
    done = fetch(machines[1], manifest, root, "--lan")
    assert done.returncode == 0, done.stderr
    assert "local network" not in done.stderr
    assert disk_of(root) == before


def test_a_server_for_this_machine_only_cannot_be_announced(manifest: str, root: Path) -> None:
    done = command_line("serve", manifest, "--root", str(root), "--announce", "--host", "127.0.0.1", "--port", "0")
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "error: a server at 127.0.0.1 cannot be announced: it has no IPv4 address of a private network",
        "hint: Leave out --announce and tell the others the URL, or name such an address with --host.",
    ]
