"""The addresses under which other machines reach this one. No packet is sent to find out."""

from fmnist_fetch.sources.lan import own_addresses

_ALL_ADDRESSES = ("", "0.0.0.0", "::")


def listens_everywhere(host: str) -> bool:
    """Return whether a server that listens on HOST is reached through every network of this machine."""
    return host in _ALL_ADDRESSES


def addresses(host: str) -> list[str]:
    """Return the addresses to print for a server that listens on HOST, the most likely one first."""
    return [host] if not listens_everywhere(host) else own_addresses() or ["127.0.0.1"]


def url(address: str, port: int) -> str:
    """Return the base URL of a server at ADDRESS and PORT."""
    return f"http://{f'[{address}]' if ':' in address else address}:{port}/"
