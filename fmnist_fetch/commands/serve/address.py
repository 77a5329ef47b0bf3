"""Under which addresses other machines reach this one. No packet is sent to find out."""

import socket
import struct
from contextlib import suppress

_ANYWHERE = ("", "0.0.0.0", "::")
_SIOCGIFADDR = 0x8915


def addresses(host: str) -> list[str]:
    """The addresses to name to others, where HOST is served at; the likeliest first."""
    if host not in _ANYWHERE:
        return [host]
    found = [*_towards_the_world(), *_of_interfaces(), *_of_this_name()]
    return [address for address in dict.fromkeys(found) if not address.startswith("127.")] or ["127.0.0.1"]


def url(address: str, port: int) -> str:
    """The base URL of a server at ADDRESS and PORT."""
    return f"http://{f'[{address}]' if ':' in address else address}:{port}/"


def _towards_the_world() -> list[str]:
    """The address that packets to elsewhere would come from, where there is a way to elsewhere."""
    with suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        # Connecting a datagram socket only looks up the way. The address is one for documentation (RFC 5737).
        probe.connect(("192.0.2.1", 9))
        return [str(probe.getsockname()[0])]
    return []


def _of_interfaces() -> list[str]:
    """The addresses of all interfaces: a lab's network need not lead anywhere. Linux only."""
    found = []
    with suppress(OSError, ImportError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        from fcntl import ioctl

        for _, name in socket.if_nameindex():
            with suppress(OSError):
                answer = ioctl(probe.fileno(), _SIOCGIFADDR, struct.pack("256s", name.encode()[:15]))
                found.append(socket.inet_ntoa(answer[20:24]))
    return found


def _of_this_name() -> list[str]:
    with suppress(OSError):
        entries = socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET, socket.SOCK_STREAM)
        return [str(entry[4][0]) for entry in entries]
    return []
