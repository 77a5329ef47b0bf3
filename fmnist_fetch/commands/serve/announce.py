"""Announce the server to the local network by multicast DNS, as a service that `fetch --lan` finds (RFC 6762, 6763)."""

import asyncio
import logging
import re
import secrets
import socket
from collections.abc import Callable, Sequence

from zeroconf import Error, InterfaceChoice, IPVersion, ServiceInfo
from zeroconf.asyncio import AsyncZeroconf

from fmnist_fetch.commands.serve.server import addresses, listens_everywhere
from fmnist_fetch.errors import UsageError
from fmnist_fetch.sources.lan import SERVICE, VERSION, is_local

HOST_CHARACTERS = 40


async def announce(listeners: Sequence[socket.socket], print_line: Callable[[str], None]) -> None:
    """Announce the server behind LISTENERS until this is cancelled; raise UsageError where no address of it can be."""
    names = [listener.getsockname()[:2] for listener in listeners if listener.family is socket.AF_INET]
    host, port = names[0] if names else ("::", 0)
    local = [address for address in addresses(host) if is_local(address)] if names else []
    if not local:
        raise UsageError(
            f"a server at {host} cannot be announced: it has no IPv4 address of a private network",
            hint="Leave out --announce and tell the others the URL, or name such an address with --host.",
        )
    logging.getLogger("zeroconf").setLevel(logging.CRITICAL)
    interfaces = InterfaceChoice.All if listens_everywhere(host) else local
    try:
        async with AsyncZeroconf(interfaces=interfaces, ip_version=IPVersion.V4Only) as service:
            await (await service.async_register_service(_service_info(local, port)))
            print_line("  announced: make data LAN=1, or fmnist-fetch fetch --lan, finds this server")
            await asyncio.Event().wait()  # at the end of the block, the announcement is withdrawn
    except (OSError, Error) as exc:
        print_line(f"  not announced: {type(exc).__name__}: {exc}; others need the URL")


def _service_info(local: Sequence[str], port: int) -> ServiceInfo:
    """Return what is announced: the server at the addresses LOCAL and PORT.

    Several servers of a room may have the same host name. Each one has names of its own, so that none has to be renamed
    and none answers for the host name of this machine, as the system's own responder does.
    """
    token = secrets.token_hex(4)
    machine = re.sub(r"[^A-Za-z0-9-]+", "-", socket.gethostname().partition(".")[0])[:HOST_CHARACTERS]
    return ServiceInfo(
        SERVICE,
        f"{machine} {token}.{SERVICE}",
        port=port,
        properties={**VERSION, "path": "/"},
        server=f"fmnist-fetch-{token}.local.",
        addresses=[socket.inet_aton(address) for address in local],
    )
