"""The addresses under which other machines reach this one. No packet is sent to find out."""

import socket
import struct
from contextlib import suppress

_ALL_ADDRESSES = ("", "0.0.0.0", "::")
_SIOCGIFADDR = 0x8915
_INTERFACE_NAME_BYTES = 15
_REQUEST_BYTES = 256


def listens_everywhere(host: str) -> bool:
    """Return whether a server that listens on HOST is reached through every network of this machine."""
    return host in _ALL_ADDRESSES


def addresses(host: str) -> list[str]:
    """Return the addresses to print for a server that listens on HOST, the most likely one first."""
    if not listens_everywhere(host):
        return [host]
    found = [*_of_default_route(), *_of_interfaces(), *_of_hostname()]
    return [address for address in dict.fromkeys(found) if not address.startswith("127.")] or ["127.0.0.1"]


def url(address: str, port: int) -> str:
    """Return the base URL of a server at ADDRESS and PORT."""
    return f"http://{f'[{address}]' if ':' in address else address}:{port}/"


def _of_default_route() -> list[str]:
    """Return the source address of packets to other networks, if there is a route to them."""
    with suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        # Connecting a datagram socket only looks up the route. The address is one for documentation (RFC 5737).
        probe.connect(("192.0.2.1", 9))
        return [str(probe.getsockname()[0])]
    return []


def _of_interfaces() -> list[str]:
    """Return the addresses of all interfaces: a lab's network may have no route to others. Linux only."""
    found = []
    with suppress(OSError, ImportError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        from fcntl import ioctl

        for _, name in socket.if_nameindex():
            with suppress(OSError):
                request = struct.pack(f"{_REQUEST_BYTES}s", name.encode()[:_INTERFACE_NAME_BYTES])
                answer = ioctl(probe.fileno(), _SIOCGIFADDR, request)
                found.append(socket.inet_ntoa(answer[20:24]))
    return found


def _of_hostname() -> list[str]:
    with suppress(OSError):
        entries = socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET, socket.SOCK_STREAM)
        return [str(entry[4][0]) for entry in entries]
    return []
