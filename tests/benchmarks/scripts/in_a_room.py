"""Machines that fetch at once, one of which serves what it is fetching: in_a_room.py MANIFEST SERVER CLIENTS WORD...

SERVER and CLIENTS (separated by commas) are network namespaces; the WORDs are options of the clients. The clients
start when the server has started. Prints the seconds from the start of its download until all are complete.
"""

import subprocess
import sys
import time
from pathlib import Path

dataset, server, clients, *words = sys.argv[1:]
announce = ["--announce"] if "--lan" in words else []


def program(machine: str, *arguments: str, **more: object) -> "subprocess.Popen[str]":
    """Start fmnist-fetch on a machine."""
    command = ["ip", "netns", "exec", machine, sys.executable, "-m", "fmnist_fetch", *arguments]
    return subprocess.Popen(command, text=True, **more)  # type: ignore[call-overload,no-any-return]


def fetch(machine: str, *options: str) -> "subprocess.Popen[str]":
    """Start a download on a machine, into a root of its own."""
    return program(machine, "fetch", dataset, "--root", machine, "--progress", "none", *options)


serving = program(server, "serve", "--root", server, *announce, stdout=subprocess.PIPE)
try:
    assert serving.stdout is not None
    last = "announced: make" if announce else "terminal:"
    while last not in serving.stdout.readline():
        assert serving.poll() is None
    began = time.perf_counter()
    machines = [fetch(server)]
    while not any(Path(server).glob("*/raw/*")):
        time.sleep(0.01)
    machines += [fetch(client, *words) for client in clients.split(",")]
    codes = [machine.wait() for machine in machines]
    print(time.perf_counter() - began)
finally:
    serving.terminate()
    serving.communicate()
sys.exit(any(codes))
