"""What the kernel holds of a TCP connection within this machine (Linux)."""

from __future__ import annotations

import contextlib
import fcntl
import socket
import struct

Address = tuple[str, int]
"""Host (IPv4) and port."""

SIOCOUTQNSD = 0x894B  # linux/sockios.h: bytes in the socket that were not sent yet
NETLINK_SOCK_DIAG = 4  # linux/netlink.h
SOCK_DIAG_BY_FAMILY = 20  # linux/sock_diag.h
NLM_F_REQUEST = 1
ANY_STATE = 0xFFFFFFFF
NO_COOKIE = b"\xff" * 8
HEAD = struct.Struct("=IHHII")  # nlmsghdr: length, type, flags, sequence, port
QUERY = struct.Struct("=BBBxI")  # inet_diag_req_v2: family, protocol, extensions, states; then the id of the socket
SOCKET_ID = struct.Struct("!HH16s16s4x8s")  # inet_diag_sockid: ports, addresses, interface, cookie
QUEUE_AT = HEAD.size + 4 + SOCKET_ID.size + 4  # of inet_diag_msg: idiag_rqueue


def unsent(sock: socket.socket) -> int:
    """Return how many bytes that were written to SOCK have not been sent."""
    try:
        return int(struct.unpack("i", fcntl.ioctl(sock, SIOCOUTQNSD, bytes(4)))[0])
    except (OSError, ValueError):
        return 0


def unread(own: Address, peer: Address) -> int:
    """Return how many bytes the socket at OWN, connected to PEER, has received that its process has not read."""
    with contextlib.suppress(OSError, struct.error):
        return _ask_kernel(own, peer)
    with contextlib.suppress(OSError):
        return _look_up(own, peer)
    return 0


def _ask_kernel(own: Address, peer: Address) -> int:
    """Ask for this one socket: the table of all takes the kernel many milliseconds, for each block that is sent."""
    hosts = (socket.inet_aton(host) for host, _ in (own, peer))
    query = QUERY.pack(socket.AF_INET, socket.IPPROTO_TCP, 0, ANY_STATE)
    query += SOCKET_ID.pack(own[1], peer[1], *hosts, NO_COOKIE)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, NETLINK_SOCK_DIAG) as kernel:
        kernel.send(HEAD.pack(HEAD.size + len(query), SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST, 0, 0) + query)
        answer = kernel.recv(4096)
    if HEAD.unpack_from(answer)[1] != SOCK_DIAG_BY_FAMILY:
        raise OSError("there is no such socket, or no answer about sockets here")
    return int(struct.unpack_from("=I", answer, QUEUE_AT)[0])


def _look_up(own: Address, peer: Address) -> int:
    """Look the socket up in the table of all."""
    ours, theirs = (f"{int.from_bytes(socket.inet_aton(host), 'little'):08X}:{port:04X}" for host, port in (own, peer))
    with open("/proc/net/tcp", encoding="ascii") as table:
        for line in table:
            fields = line.split()
            if fields[1] == ours and fields[2] == theirs:
                return int(fields[4].partition(":")[2], 16)
    return 0
