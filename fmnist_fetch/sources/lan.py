"""The local network: this machine's addresses in it, and the servers that announce themselves by multicast DNS.

The look-up is a one-shot query (RFC 6762, section 5.1): a question from an ephemeral port, which servers answer by
unicast. It needs the standard library only, since the set-up of a fresh clone asks before anything is installed.

Nothing is trusted. A packet is parsed within bounds and announces nothing but its own sender, so that no machine can
direct requests to another one; the bytes that such a server sends are verified like those of any mirror.
"""

import ipaddress
import re
import secrets
import selectors
import socket
import struct
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress

from fmnist_fetch.errors import UsageError, in_clone
from fmnist_fetch.events import Listener, Message

SERVICE = "_fmnist-fetch._tcp.local."
VERSION = {"txtvers": "1"}
"""What this version of the protocol has in its TXT record (RFC 6763, section 6.7); others are ignored."""
LOOK_UP_S = 0.5
ASK_AGAIN_S = 0.2
MAX_SERVERS = 8
MAX_PACKETS = 256
MAX_PACKET_BYTES = 9000
MAX_RECORDS = 64
MAX_NAME_BYTES = 255
MAX_INTERFACES = 16

_GROUP, _PORT, _HOPS = "224.0.0.251", 5353, 255
_PTR, _TXT, _SRV, _IN = 12, 16, 33, 1
_ANSWER, _FAILED = 0x8000, 0x780F  # flags: QR; the bits of opcode and rcode
_CACHE_FLUSH = 0x8000
_HEADER, _RECORD, _QUESTION = struct.Struct(">6H"), struct.Struct(">HHIH"), struct.Struct(">HH")
_PATH = re.compile(r"/(?:[A-Za-z0-9_~-][A-Za-z0-9._~-]{0,63}/){0,8}")
_LOCAL_NETWORKS = tuple(
    map(ipaddress.IPv4Network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "100.64.0.0/10"))
)
_SIOCGIFADDR = 0x8915
_INTERFACE_NAME_BYTES = 15
_Name = tuple[bytes, ...]
_LABELS: _Name = tuple(SERVICE.rstrip(".").encode().split(b"."))


def own_addresses() -> list[str]:
    """Return the IPv4 addresses of this machine but loopback, the most likely one first. No packet is sent."""
    found = []
    with suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        # Connecting a datagram socket only looks up the route. The address is one for documentation (RFC 5737).
        probe.connect(("192.0.2.1", 9))
        found.append(str(probe.getsockname()[0]))
    with suppress(OSError, ImportError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        # A lab's network may have no route to others, and needs all interfaces. Linux only.
        from fcntl import ioctl

        for _, name in socket.if_nameindex():
            with suppress(OSError):
                answer = ioctl(probe.fileno(), _SIOCGIFADDR, struct.pack("256s", name.encode()[:_INTERFACE_NAME_BYTES]))
                found.append(socket.inet_ntoa(answer[20:24]))
    with suppress(OSError):
        entries = socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET, socket.SOCK_STREAM)
        found += [str(entry[4][0]) for entry in entries]
    return [address for address in dict.fromkeys(found) if not address.startswith("127.")]


def is_local(address: str) -> bool:
    """Return whether ADDRESS is an IPv4 address of a private or link-local network (RFC 1918, 3927, 6598)."""
    try:
        parsed = ipaddress.IPv4Address(address)
    except ValueError:
        return False
    return any(parsed in network for network in _LOCAL_NETWORKS)


def find_servers(notify: Listener, *, offline: bool = False) -> list[str]:
    """Ask the local network for servers, which takes half a second; raise UsageError where no socket may be opened.

    Returns:
        The base URLs of the servers that answered, at most MAX_SERVERS; none where multicast is blocked.
    """
    if offline:
        hint = "Leave out one of them; FMNIST_OFFLINE=1 counts as --offline."
        raise UsageError("--lan asks the local network, and --offline opens no socket", hint=hint)
    found = _look_up([address for address in own_addresses() if is_local(address)][:MAX_INTERFACES])
    nobody = "no server of the local network answered; multicast may be blocked"
    notify(Message(f"found in the local network: {', '.join(found)}" if found else nobody))
    return found


def advice(hint: str) -> str:
    """Return HINT, of a download that failed and for which no server was found, with what helps then."""
    example = "make data MIRROR=" if in_clone() else "fmnist-fetch fetch --mirror "
    told = "No server of the local network answered. If there is one, multicast is blocked: name its URL"
    return f"{hint} {told}, such as {example}http://192.168.1.10:8000/"


def parse_answer(packet: bytes, number: int, sender: str) -> list[str]:
    """Return the base URLs that PACKET, from anybody, announces: at the address of its SENDER only.

    Raises:
        ValueError: The packet is not an answer to the query with NUMBER.
    """
    try:
        records = list(_records(packet, number))
    except (IndexError, struct.error) as exc:
        raise ValueError("the packet ends early") from exc
    texts = {name: _attributes(data) for name, kind, data in records if kind == _TXT}
    urls = []
    for name, kind, data in records:
        text = texts.get(name, {})
        if kind != _SRV or name[1:] != _LABELS or len(data) < 7 or not VERSION.items() <= text.items():
            continue
        port, path = int.from_bytes(data[4:6], "big"), text.get("path", "/")
        if port and _PATH.fullmatch(path):
            urls.append(f"http://{sender}:{port}{path}")
    return urls


def _look_up(addresses: Sequence[str]) -> list[str]:
    """Ask on the networks of ADDRESSES; what fails there finds nothing."""
    number = secrets.randbits(16)
    # Bit 15 of the class, which asks for an answer by unicast, is for queries from port 5353 only (section 6.7).
    question = b"".join(bytes([len(label)]) + label for label in (*_LABELS, b""))
    query = _HEADER.pack(number, 0, 1, 0, 0, 0) + question + _QUESTION.pack(_PTR, _IN)
    found: dict[str, None] = {}
    with ExitStack() as stack:
        selector = stack.enter_context(selectors.DefaultSelector())
        for address in addresses:
            with suppress(OSError):
                opened = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
                opened.setblocking(False)
                opened.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, _HOPS)
                opened.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(address))
                opened.bind((address, 0))
                selector.register(opened, selectors.EVENT_READ)
        for packet, sender in _exchange(selector, query):
            with suppress(ValueError):
                found.update(dict.fromkeys(parse_answer(packet, number, sender)))
    return list(found)[:MAX_SERVERS]


def _exchange(selector: selectors.BaseSelector, query: bytes) -> Iterator[tuple[bytes, str]]:
    """Send QUERY twice, since packets get lost; yield the packets that come and who sent them."""
    sockets = [key.fileobj for key in selector.get_map().values() if isinstance(key.fileobj, socket.socket)]
    began = time.monotonic()
    moments = [began, began + ASK_AGAIN_S]
    received = 0
    while sockets and (now := time.monotonic()) < began + LOOK_UP_S and received < MAX_PACKETS:
        if moments and now >= moments[0]:
            moments.pop(0)
            for opened in sockets:
                with suppress(OSError):
                    opened.sendto(query, (_GROUP, _PORT))
        for key, _ in selector.select(min([*moments, began + LOOK_UP_S]) - now):
            with suppress(OSError):
                assert isinstance(key.fileobj, socket.socket)
                packet, (sender, port) = key.fileobj.recvfrom(MAX_PACKET_BYTES)
                received += 1
                # Answers come from this port only (section 6), and from machines of the same link.
                if port == _PORT and is_local(sender):
                    yield packet, sender


def _records(packet: bytes, number: int) -> Iterator[tuple[_Name, int, bytes]]:
    """Yield name, type and data of the records in PACKET; raise ValueError, IndexError, struct.error."""
    found, flags, questions, *counts = _HEADER.unpack_from(packet)
    if found != number or not flags & _ANSWER or flags & _FAILED or questions + sum(counts) > MAX_RECORDS:
        raise ValueError("not an answer to this query")
    at = _HEADER.size
    for _ in range(questions):
        at = _name(packet, at)[1] + _QUESTION.size
    for _ in range(sum(counts)):
        name, at = _name(packet, at)
        kind, group, seconds, length = _RECORD.unpack_from(packet, at)
        at += _RECORD.size
        data = packet[at : at + length]
        if len(data) < length:
            raise ValueError("the packet ends early")
        # A record that lives for 0 seconds is withdrawn (section 10.1).
        if group & ~_CACHE_FLUSH == _IN and seconds:
            yield name, kind, data
        at += length


def _name(packet: bytes, at: int) -> tuple[_Name, int]:
    """Return the labels of the name at AT in lower case, and where it ends (RFC 1035, section 4.1.4)."""
    labels: list[bytes] = []
    start, end = at, 0
    while length := packet[at]:
        if length >= 0xC0:
            end = end or at + 2
            target = (length & 0x3F) << 8 | packet[at + 1]
            # Only backwards, before all that was read of this name: so no name has a loop.
            if target >= start:
                raise ValueError("a name leads forwards")
            start = at = target
            continue
        label = packet[at + 1 : at + 1 + length]
        labels.append(label.lower())
        at += 1 + length
        if length >= 0x40 or sum(map(len, labels)) + len(labels) >= MAX_NAME_BYTES:
            raise ValueError("a name is too long")
    return tuple(labels), end or at + 1


def _attributes(data: bytes) -> dict[str, str]:
    """Return what the DATA of a TXT record says, the first value of each key (RFC 6763, section 6)."""
    found: dict[str, str] = {}
    at = 0
    while at < len(data):
        key, _, value = data[at + 1 : at + 1 + data[at]].decode("ascii", "replace").partition("=")
        found.setdefault(key.lower(), value)
        at += 1 + data[at]
    return found
