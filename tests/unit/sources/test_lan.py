"""The look-up in the local network: what packets of strangers may contain, and what they mean."""

from __future__ import annotations

import socket
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fmnist_fetch.errors import SourceError, UsageError
from fmnist_fetch.events import Event, Message
from fmnist_fetch.sources import lan
from fmnist_fetch.sources.base import FetchOptions, Tier
from fmnist_fetch.sources.discovery import explain, find_sources
from samples import Sample, fill

NUMBER, SENDER = 0x1234, "192.168.1.10"
PTR, TXT, SRV = 12, 16, 33
SERVICE, ROOM = "_fmnist-fetch._tcp.local", "room._fmnist-fetch._tcp.local"
GOOD_TEXT = ("txtvers=1", "path=/")


def name(dotted: str) -> bytes:
    return b"".join(bytes([len(label)]) + label.encode() for label in dotted.split(".")) + b"\0"


def record(owner: bytes, kind: int, data: bytes, seconds: int = 120, group: int = 1) -> bytes:
    return owner + struct.pack(">HHIH", kind, group, seconds, len(data)) + data


def server(owner: str = ROOM, port: int = 8000, target: str = "other.local", **more: int) -> bytes:
    return record(name(owner), SRV, struct.pack(">3H", 0, 0, port) + name(target), **more)


def text(*strings: str, owner: str = ROOM) -> bytes:
    return record(name(owner), TXT, b"".join(bytes([len(one)]) + one.encode() for one in strings))


def packet(*records: bytes, number: int = NUMBER, flags: int = 0x8400, count: int | None = None) -> bytes:
    counts = (len(records) if count is None else count, 0, 0)
    return struct.pack(">6H", number, flags, 0, *counts) + b"".join(records)


def parse(data: bytes) -> list[str]:
    return lan.parse_answer(data, NUMBER, SENDER)


def test_the_name_of_the_service_is_one_that_dns_sd_allows() -> None:
    # RFC 6763, section 7.2: at most 15 characters.
    assert f"{SERVICE}." == lan.SERVICE
    assert len(SERVICE.split(".")[0]) <= 1 + 15


def test_a_server_is_found_at_the_address_of_its_packet_whatever_the_packet_says() -> None:
    assert parse(packet(server(target="bank.example"), text(*GOOD_TEXT))) == ["http://192.168.1.10:8000/"]


def test_names_may_be_compressed_and_their_case_does_not_matter() -> None:
    upper = name("Room._FMNIST-fetch._TCP.local")
    pointer = b"\xc0\x0c"  # to the first name, behind the header
    data = struct.pack(">3H", 0, 0, 8000) + pointer
    assert parse(packet(record(upper, SRV, data), record(pointer, TXT, b"\x09txtvers=1"))) == [
        "http://192.168.1.10:8000/"
    ]


def test_the_question_comes_back_in_an_answer_by_unicast() -> None:
    question = name(SERVICE) + struct.pack(">HH", PTR, 1)
    head = struct.pack(">6H", NUMBER, 0x8400, 1, 1, 0, 2)
    pointer = record(b"\xc0\x0c", PTR, name(ROOM))
    assert parse(head + question + pointer + server(port=81) + text("txtvers=1", "path=/data/")) == [
        "http://192.168.1.10:81/data/"
    ]


def test_several_servers_may_answer_in_one_packet() -> None:
    other = "other._fmnist-fetch._tcp.local"
    records = (server(), server(other, 8001), text(*GOOD_TEXT), text(*GOOD_TEXT, owner=other))
    assert parse(packet(*records)) == ["http://192.168.1.10:8000/", "http://192.168.1.10:8001/"]


@pytest.mark.parametrize(
    "records",
    [
        (server(), text("txtvers=2", "path=/")),
        (server(), text("path=/")),
        (server(),),
        (text(*GOOD_TEXT),),
        (server(port=0), text(*GOOD_TEXT)),
        (server(seconds=0), text(*GOOD_TEXT)),
        (server(group=3), text(*GOOD_TEXT)),
        (server("room._http._tcp.local"), text(*GOOD_TEXT, owner="room._http._tcp.local")),
        *(
            (server(), text("txtvers=1", f"path={path}"))
            for path in ("", "x", "//", "/../", "/a?b/", "/a b/", "/\x1b/")
        ),
        (server(), text("txtvers=1", f"path=/{'x' * 65}/")),
        (server(), text("txtvers=1", f"path=/{'x/' * 9}")),
    ],
)
def test_what_is_no_server_of_this_version_is_left_out(records: tuple[bytes, ...]) -> None:
    assert parse(packet(*records)) == []


LOOP = record(b"\xc0\x0c", SRV, b"\0" * 7)
LONG_LOOP = record(b"\x01a\xc0\x0c", SRV, b"\0" * 7)
GOOD = packet(server(), text(*GOOD_TEXT))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        GOOD[:11],
        GOOD[:-1],
        packet(server(), number=NUMBER + 1),
        packet(server(), flags=0),
        packet(server(), flags=0x8403),
        packet(LOOP),
        packet(LONG_LOOP),
        packet(record(b"\xc0\xff", SRV, b"")),
        packet(record(b"\x41" + b"a" * 0x41 + b"\0", SRV, b"")),
        packet(record((b"\x3f" + b"a" * 63) * 5 + b"\0", SRV, b"")),
        packet(server(), count=2),
        packet(server(), count=0xFFFF),
        packet(*([server()] * (lan.MAX_RECORDS + 1))),
    ],
)
def test_a_packet_that_is_no_answer_or_breaks_its_bounds_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"ends early|not an answer|leads forwards|too long"):
        parse(data)


@given(st.binary(max_size=600), st.integers(0, len(GOOD)), st.integers(0, len(GOOD)))
def test_no_packet_does_more_than_to_be_refused(noise: bytes, start: int, stop: int) -> None:
    try:
        urls = parse(GOOD[:start] + noise + GOOD[stop:])
    except ValueError:
        return
    assert all(url.startswith(f"http://{SENDER}:") and url.isprintable() for url in urls)


@pytest.mark.parametrize(
    ("address", "local"),
    [
        ("10.0.0.1", True), ("172.31.0.1", True), ("192.168.0.9", True), ("169.254.1.1", True), ("100.64.0.1", True),
        ("127.0.0.1", False), ("8.8.8.8", False), ("172.32.0.1", False), ("0.0.0.0", False), ("fe80::1", False),
    ],
)  # fmt: skip
def test_only_addresses_of_private_and_link_local_networks_are_local(address: str, local: bool) -> None:
    assert lan.is_local(address) is local


def test_without_an_interface_nothing_is_found_and_one_message_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lan, "own_addresses", list)
    events: list[Event] = []
    assert lan.find_servers(events.append) == []
    assert events == [Message("no server of the local network answered; multicast may be blocked")]


def test_an_interface_that_fails_finds_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    # An address for documentation (RFC 5737) belongs to no machine.
    monkeypatch.setattr(lan, "own_addresses", lambda: ["192.0.2.1", "10.255.255.254"])
    assert lan.find_servers(lambda _event: None) == []


def test_a_machine_that_may_open_no_socket_finds_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_words: object, **_more: object) -> socket.socket:
        raise PermissionError

    monkeypatch.setattr(lan, "own_addresses", lambda: ["10.0.0.1"])
    monkeypatch.setattr(socket, "socket", refuse)
    assert lan.find_servers(lambda _event: None) == []


@pytest.fixture
def room(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the servers in the network."""
    found = ["http://10.0.0.5:8000/"]
    monkeypatch.setattr(lan, "_look_up", lambda _addresses: found)
    return found


def listed(sample: Sample, root: Path, options: FetchOptions) -> list[tuple[Tier, str]]:
    return [(source.tier, source.name) for source in find_sources(sample.layout(root), options)]


def test_servers_are_asked_after_local_copies_and_before_mirrors(
    sample: Sample, root: Path, tmp_path: Path, room: list[str]
) -> None:
    copy = fill(tmp_path / "copy", sample.files)
    rich = sample.changed(mirrors=("https://one.example/",), local=(str(copy),))
    assert listed(rich, root, FetchOptions(("http://mine.example/",), lan=True)) == [
        (Tier.USER, "http://mine.example/"),
        (Tier.LOCAL, str(copy)),
        (Tier.LAN, f"{room[0]}Sample/raw/"),
        (Tier.MIRROR, "https://one.example/"),
    ]


def test_with_only_mirrors_the_servers_are_asked_and_no_public_mirror(
    sample: Sample, root: Path, room: list[str]
) -> None:
    rich = sample.changed(mirrors=("https://one.example/",))
    options = FetchOptions(only_mirrors=True, lan=True)
    assert listed(rich, root, options) == [(Tier.LAN, f"{room[0]}Sample/raw/")]


@pytest.mark.usefixtures("room")
def test_nobody_is_asked_who_was_not_asked_for(sample: Sample, root: Path) -> None:
    assert listed(sample, root, FetchOptions()) == []


def test_offline_and_lan_contradict_each_other(sample: Sample, root: Path) -> None:
    with pytest.raises(UsageError, match="--lan asks the local network, and --offline opens no socket") as caught:
        find_sources(sample.layout(root), FetchOptions(offline=True, lan=True))
    assert "FMNIST_OFFLINE" in caught.value.hint


def test_a_failure_after_a_look_up_without_an_answer_says_what_helps(
    sample: Sample, root: Path, room: list[str]
) -> None:
    options = FetchOptions(lan=True)
    found = find_sources(sample.layout(root), options)
    assert "multicast" not in explain(SourceError("x", hint="Wait."), found, options).hint
    room.clear()
    found = find_sources(sample.layout(root), options)
    hint = explain(SourceError("x", hint="Wait."), found, options).hint
    assert hint.startswith("Wait. No server of the local network answered. If there is one, multicast is blocked")
    assert "http://192.168.1.10:8000/" in hint
    assert "multicast" not in explain(SourceError("x", hint="Wait."), found, FetchOptions()).hint
