"""Two machines on a switch: network namespaces of their own, from which nothing else can be reached."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from processes import environment

SERVER, CLIENT = "10.77.0.1", "10.77.0.2"
PATH = f"{os.environ['PATH']}{os.pathsep}/usr/sbin{os.pathsep}/sbin"


class Machine:
    """The machine of a network namespace, at a port of the same name on the switch."""

    def __init__(self, name: str, switch: str, port: str) -> None:
        self.name = name
        self._switch = switch
        self._port = port

    def words(self, command: Sequence[str]) -> list[str]:
        """Return COMMAND as it is run on this machine."""
        return ["ip", "netns", "exec", self.name, *command]

    def run(self, *command: str, cwd: Path | None = None, env: dict[str, str] | None = None) -> Done:
        """Run COMMAND to its end."""
        return subprocess.run(
            self.words(command),
            capture_output=True,
            text=True,
            cwd=cwd,
            env={"PATH": PATH, **(environment() if env is None else env)},
            timeout=120,
            check=False,
        )

    def start(self, *command: str, cwd: Path | None = None) -> subprocess.Popen[str]:
        """Start COMMAND, whose output can be read."""
        return subprocess.Popen(
            self.words(command),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=cwd,
            env=environment(),
        )

    def plug_in(self, address: str) -> None:
        """Connect this machine to the switch."""
        pair = ("add", self._port, "type", "veth", "peer", "name", "lan0", "netns", self.name)
        ip("-n", self._switch, "link", *pair)
        ip("-n", self._switch, "link", "set", self._port, "master", "bridge", "up")
        ip("-n", self.name, "addr", "add", f"{address}/24", "dev", "lan0")
        ip("-n", self.name, "link", "set", "lan0", "up")

    def plug(self, state: str) -> None:
        """Unplug the cable ("down"), or plug it in ("up")."""
        ip("-n", self.name, "link", "set", "lan0", state)

    def limit(self, rate: str) -> None:
        """Let this machine send at RATE at most."""
        shape = ("root", "tbf", "rate", rate, "burst", "32kb", "latency", "50ms")
        ip("netns", "exec", self.name, "tc", "qdisc", "add", "dev", "lan0", *shape)

    def add_address(self, address: str) -> None:
        """Give this machine one more address, in another network."""
        ip("-n", self.name, "addr", "add", f"{address}/32", "dev", "lan0")

    def block_multicast(self) -> None:
        """Let the switch pass no multicast to this machine."""
        ip("-n", self._switch, "link", "set", "dev", self._port, "type", "bridge_slave", "mcast_flood", "off")


Done = subprocess.CompletedProcess[str]


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True, env={"PATH": PATH})


@contextmanager
def two_machines(rate: str = "") -> Iterator[tuple[Machine, Machine]]:
    """Yield a server at SERVER, which sends at RATE, and a client at CLIENT; skip the test without namespaces."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0 or not shutil.which("ip", path=PATH):
        pytest.skip("network namespaces need root and the program ip")
    switch, *names = (f"fmnist-{role}-{os.getpid()}" for role in ("switch", "server", "client"))
    server, client = Machine(names[0], switch, "server"), Machine(names[1], switch, "client")
    with ExitStack() as stack:
        try:
            for name in (switch, *names):
                ip("netns", "add", name)
                stack.callback(ip, "netns", "del", name)
                ip("-n", name, "link", "set", "lo", "up")
            ip("-n", switch, "link", "add", "bridge", "type", "bridge")
            ip("-n", switch, "link", "set", "bridge", "up")
            server.plug_in(SERVER)
            client.plug_in(CLIENT)
            if rate:
                server.limit(rate)
        except subprocess.CalledProcessError as exc:
            pytest.skip(f"network namespaces can't be made here: {exc.stderr.strip()}")
        yield server, client
