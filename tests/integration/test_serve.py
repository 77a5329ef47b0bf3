"""The server of the local network: a process of its own, asked by plain HTTP and by the real client."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fmnist_fetch.manifest.pieces import Span
from fmnist_fetch.manifest.toml import dumps, loads
from lan_server import Server, until
from processes import command_line, started
from samples import Sample, disk_of, fill, flipped, make

pytest.importorskip("aiohttp", reason="aiohttp is not installed: run make serve first")

from aiohttp.test_utils import make_mocked_request

from fmnist_fetch.commands.serve.files import ACTIVE_S
from fmnist_fetch.commands.serve.handler import requested_span
from fmnist_fetch.commands.serve.server import addresses, url

IMAGES = "train-images-idx.gz"
Start = Callable[[Path], Server]


@pytest.fixture
def start(sample: Sample, tmp_path: Path) -> Iterator[Start]:
    with ExitStack() as stack:
        yield lambda root: stack.enter_context(Server(root, sample.write(tmp_path)))


def partial_root(sample: Sample, root: Path, pieces: Mapping[str, Sequence[int]]) -> Path:
    """Return the raw folder of a root in which only these PIECES of each file exist."""
    raw = sample.layout(root).raw
    raw.mkdir(parents=True)
    for name, indices in pieces.items():
        for index in indices:
            add_piece(raw, sample, name, index)
    return raw


def add_piece(raw: Path, sample: Sample, name: str, index: int) -> None:
    """Write a piece of the file NAME to its part file."""
    start, stop = next(file for file in sample.manifest.files if file.name == name).pieces[index].span
    part = raw / f"{name}.part"
    part.touch()
    with part.open("r+b") as file:
        file.seek(start)
        file.write(sample.files[name][start:stop])


def test_every_file_is_sent_whole_with_its_length_and_its_digest_as_etag(
    sample: Sample, complete: Path, start: Start
) -> None:
    server, before = start(complete), disk_of(complete)
    for file in sample.manifest.files:
        for path in (f"/{file.name}", f"/Sample/raw/{file.name}"):
            sent, headers = server.ask(path), server.ask(path, "HEAD")
            assert (sent.status, sent.body) == (200, sample.files[file.name])
            assert (headers.status, headers.body) == (200, b"")
            for answer in (sent, headers):
                assert answer.headers["ETag"] == f'"{file.sha256}"'
                assert answer.headers["Content-Length"] == str(file.size)
                assert answer.headers["Accept-Ranges"] == "bytes"
                assert answer.headers["Content-Encoding"] is None
    assert disk_of(complete) == before


def test_a_range_is_sent_as_asked_refused_behind_the_end_or_ignored(
    sample: Sample, complete: Path, start: Start
) -> None:
    server, whole = start(complete), sample.files[IMAGES]
    size = len(whole)
    for asked, first, stop in (("0-0", 0, 1), ("1000-2999", 1000, 3000), ("5-", 5, size), ("-7", size - 7, size)):
        answer = server.ask(f"/{IMAGES}", Range=f"bytes={asked}")
        assert (answer.status, answer.body) == (206, whole[first:stop])
        assert answer.headers["Content-Range"] == f"bytes {first}-{stop - 1}/{size}"
        assert answer.headers["Content-Length"] == str(stop - first)
    refused = server.ask(f"/{IMAGES}", Range=f"bytes={size}-")
    assert (refused.status, refused.headers["Content-Range"]) == (416, f"bytes */{size}")
    for asked in ("bytes=9-3", "bytes=-", "bytes=0-1,5-6", "lines=1-2", "bytes=x-y"):
        answer = server.ask(f"/{IMAGES}", Range=asked)
        assert (answer.status, answer.body) == (200, whole), asked


def test_validators_decide_whether_bytes_are_sent_and_which(sample: Sample, complete: Path, start: Start) -> None:
    server, whole = start(complete), sample.files[IMAGES]
    etag = f'"{sample.file().sha256}"'
    for known in (etag, f'"other", W/{etag}', "*"):
        same = server.ask(f"/{IMAGES}", If_None_Match=known)
        assert (same.status, same.body, same.headers["ETag"]) == (304, b"", etag)
    assert server.ask(f"/{IMAGES}", If_None_Match='"other"').status == 200
    assert server.ask(f"/{IMAGES}", Range="bytes=0-9", If_Range=etag).body == whole[:10]
    assert server.ask(f"/{IMAGES}", Range="bytes=0-9", If_Range='"other"').body == whole


def test_nothing_but_published_files_is_sent(sample: Sample, complete: Path, start: Start) -> None:
    secret = complete / "Sample" / "raw" / "secret.gz"
    secret.write_bytes(b"mine")
    server = start(complete)
    payload = sample.file().payload.name
    paths = ["/secret.gz", "/Sample/raw/secret.gz", "/Sample/raw/", "/Sample/", "/Sample", f"/{payload}", "//"]
    paths += ["/Sample/processed/sample.safetensors", "/../raw/secret.gz", "/..%2f..%2fetc/passwd", "/etc/passwd"]
    paths += [f"/{IMAGES}/", f"/./{IMAGES}%00", f"/{IMAGES}.part", f"/{IMAGES.upper()}", "//etc/passwd", "/%2e%2e/"]
    for path in paths:
        answer = server.ask(path)
        assert answer.status == 404, path
        assert b"mine" not in answer.body


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_it_accepts_no_uploads(method: str, complete: Path, start: Start) -> None:
    before = disk_of(complete)
    answer = start(complete).ask(f"/{IMAGES}", method)
    assert (answer.status, answer.headers["Allow"]) == (405, "GET, HEAD")
    assert disk_of(complete) == before


@pytest.mark.parametrize("place", ["file", "folder"])
def test_no_link_is_followed_out_of_the_root(place: str, sample: Sample, complete: Path, start: Start) -> None:
    raw, outside = sample.layout(complete).raw, complete.parent / "outside"
    inside = raw if place == "folder" else raw / IMAGES
    inside.rename(outside)
    inside.symlink_to(outside)
    # The bytes are right, but the path leaves the root.
    assert start(complete).ask(f"/{IMAGES}").status == 503


def test_a_root_that_is_a_link_itself_is_served(sample: Sample, complete: Path, start: Start) -> None:
    link = complete.parent / "link"
    link.symlink_to(complete)
    assert start(link).ask(f"/{IMAGES}").body == sample.files[IMAGES]


def test_a_pipe_in_place_of_a_file_blocks_no_client(sample: Sample, complete: Path, start: Start) -> None:
    path = sample.layout(complete).raw / IMAGES
    path.unlink()
    os.mkfifo(path)
    assert start(complete).ask(f"/{IMAGES}").status == 503


def test_only_the_good_pieces_of_a_damaged_file_are_sent(sample: Sample, complete: Path, start: Start) -> None:
    path, whole = sample.layout(complete).raw / IMAGES, sample.files[IMAGES]
    path.write_bytes(flipped(whole, 2500))
    server = start(complete)
    assert server.ask(f"/{IMAGES}").status == 503
    assert server.ask(f"/{IMAGES}", "HEAD").status == 503
    assert server.ask(f"/{IMAGES}", Range="bytes=2100-2200").status == 503
    rest = server.ask(f"/{IMAGES}", Range="bytes=3000-")
    assert (rest.status, rest.body) == (206, whole[3000:])
    # The bytes before the damage are sent, and declared as fewer than were requested.
    front = server.ask(f"/{IMAGES}", Range="bytes=100-")
    assert (front.status, front.body) == (206, whole[100:2000])
    assert front.headers["Content-Range"] == f"bytes 100-1999/{len(whole)}"


def test_a_file_that_is_damaged_while_it_is_served_is_inspected_again(
    sample: Sample, complete: Path, start: Start
) -> None:
    path, whole = sample.layout(complete).raw / IMAGES, sample.files[IMAGES]
    server = start(complete)
    assert server.ask(f"/{IMAGES}").status == 200
    with path.open("r+b") as file:
        file.write(flipped(whole, 2500))
    until(lambda: server.ask(f"/{IMAGES}", Range="bytes=2000-2999").status == 503)
    assert server.ask(f"/{IMAGES}", Range="bytes=3000-").body == whole[3000:]


def test_a_download_that_ended_early_long_ago_is_no_reason_to_wait(sample: Sample, root: Path, start: Start) -> None:
    raw = partial_root(sample, root, {IMAGES: [0, 1, 3]})
    for path in (*raw.iterdir(), raw):
        os.utime(path, (0, time.time() - 2 * ACTIVE_S))
    answer = start(root).ask(f"/{IMAGES}", Range="bytes=2000-2999")
    assert (answer.status, answer.headers["Fmnist-Fetch-State"]) == (503, None)


def test_pieces_are_served_as_they_come_and_the_file_when_it_is_whole(sample: Sample, root: Path, start: Start) -> None:
    raw, whole = partial_root(sample, root, {IMAGES: [0, 1, 3]}), sample.files[IMAGES]
    server = start(root)
    waiting = server.ask(f"/{IMAGES}", Range="bytes=2000-2999")
    assert (waiting.status, waiting.headers["Retry-After"]) == (503, "1")
    assert waiting.headers["Fmnist-Fetch-State"] == "arriving"
    assert server.ask(f"/{IMAGES}", Range="bytes=0-1999").body == whole[:2000]
    assert server.ask(f"/{IMAGES}", Range="bytes=500-3999").body == whole[500:2000]
    assert server.ask("/test-labels-idx.gz").status == 503
    (raw / f"{IMAGES}.part").write_bytes(flipped(whole, 2500))
    until(lambda: server.ask(f"/{IMAGES}", Range="bytes=3000-").body == whole[3000:])
    assert server.ask(f"/{IMAGES}", Range="bytes=2000-2999").status == 503
    (raw / f"{IMAGES}.part").write_bytes(whole)
    (raw / f"{IMAGES}.part").rename(raw / IMAGES)
    assert server.ask(f"/{IMAGES}").body == whole


def test_files_of_an_absent_dataset_are_not_found(root: Path, start: Start) -> None:
    assert start(root).ask(f"/{IMAGES}").status == 404
    assert not root.exists()


def test_clients_complete_while_the_server_is_still_downloading(sample: Sample, root: Path, start: Start) -> None:
    # The first pieces arrive last: a client that insisted on the beginning would get nothing before the end.
    pieces = [(file.name, index) for file in sample.manifest.files for index in range(len(file.pieces))][::-1]
    late = pieces[len(pieces) // 2 :]
    early: dict[str, list[int]] = {file.name: [] for file in sample.manifest.files}
    for name, index in pieces[: len(pieces) // 2]:
        early[name].append(index)
    raw, student = partial_root(sample, root, early), root.parent / "student"
    server = start(root)
    with ThreadPoolExecutor() as pool:
        report = pool.submit(sample.fetch, student, server.url, patience=60.0)
        part = sample.layout(student).raw / f"{IMAGES}.part"
        wanted = max(early[IMAGES])
        span = sample.file().pieces[wanted].span
        until(lambda: part.exists() and part.read_bytes()[slice(*span)] == sample.files[IMAGES][slice(*span)])
        for name, index in late:
            add_piece(raw, sample, name, index)
        assert report.result(timeout=120).received == {server.url: sample.size}
    for name, data in sample.files.items():
        assert (sample.layout(student).raw / name).read_bytes() == data


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_it_in_the_middle_of_a_body(number: signal.Signals, root: Path, tmp_path: Path) -> None:
    # Large enough not to fit into the buffers of a socket.
    large = make(shape=(512, 512), counts=(100, 1), length=4_000_000)
    large.fetch(root, str(fill(root.parent / "stick", large.files)))
    with Server(root, large.write(tmp_path)) as server, server.connect() as reader:
        reader.sendall(f"GET /{IMAGES} HTTP/1.1\r\nHost: here\r\n\r\n".encode())
        assert reader.recv(1000).startswith(b"HTTP/1.1 200 OK")
        assert server.end(number) == (0, "")
    before = disk_of(root)
    assert before[f"Sample/raw/{IMAGES}"][0] == large.files[IMAGES]


def test_forty_clients_at_once_get_the_right_bytes(sample: Sample, complete: Path, start: Start) -> None:
    server = start(complete)
    begin = threading.Barrier(40)

    def client(_: int) -> list[bytes]:
        begin.wait()
        return [server.ask(f"/{name}").body for name in sample.files]

    with ThreadPoolExecutor(40) as pool:
        assert all(bodies == list(sample.files.values()) for bodies in pool.map(client, range(40)))


def test_the_page_shows_state_digests_and_the_command_to_copy(sample: Sample, root: Path, start: Start) -> None:
    partial_root(sample, root, {IMAGES: [0, 2]})
    server = start(root)
    answer = server.ask("/", Host="lab-server:8000")
    text = answer.body.decode()
    assert (answer.status, answer.headers.get_content_type()) == (200, "text/html")
    assert "make data DATASET=sample.toml MIRROR=http://lab-server:8000/<" in text
    assert f"{100 * 2000 // sample.file().size} %" in text
    assert all(file.sha256 in text and file.name in text for file in sample.manifest.files)
    assert "href" not in text


# The last one is a digit of another alphabet as UTF-8, which http.client sends as Latin-1.
@pytest.mark.parametrize(
    "host", ["<script>x", "a'b", 'a"b', "$(id)", "a b", "a/b", "a:80:80", "a:999999", "a:\u00d9\u00a3"]
)
def test_a_host_that_is_none_is_in_no_page_and_no_script(host: str, complete: Path, start: Start) -> None:
    server = start(complete)
    for path in ("/", "/get.py"):
        text = server.ask(path, Host=host).body.decode()
        assert host not in text
        assert host.encode("latin-1").decode() not in text
        assert "\\u" not in text
        assert server.url in text


def test_it_prints_its_address_and_the_command_of_a_student(complete: Path, sample: Sample, start: Start) -> None:
    server = start(complete)
    assert server.first_line.startswith(f"serving {complete}, read-only")
    assert server.process.stdout is not None
    lines = [server.process.stdout.readline().strip() for _ in range(2)]
    assert lines == [
        f"sample: complete, {sample.size / 1000:.1f} kB",
        f"make data DATASET=sample.toml MIRROR={server.url}",
    ]


def test_the_manifest_can_be_downloaded(sample: Sample, complete: Path, start: Start) -> None:
    answer = start(complete).ask("/sample.toml")
    assert (answer.status, answer.headers.get_content_type()) == (200, "application/toml")
    assert loads(answer.body, "sample.toml") == sample.manifest


def test_the_script_downloads_from_the_server_alone(
    sample: Sample, complete: Path, start: Start, tmp_path: Path
) -> None:
    server = start(complete)
    text = server.ask("/get.py").body
    assert server.ask("/get_sample.py").body == text
    (tmp_path / "get.py").write_bytes(text)
    command = [sys.executable, "-I", "get.py", "here"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    for name, data in sample.files.items():
        assert (tmp_path / "here" / name).read_bytes() == data


def serving(last: str, *words: str) -> tuple[int, list[str], str]:
    """Run serve until it has printed a line with LAST, then interrupt it; return the exit code and the output."""
    with started("serve", "--host", "127.0.0.1", "--port", "0", *words) as process:
        assert process.stdout is not None
        lines: list[str] = []
        while not lines or last not in lines[-1]:
            lines.append(process.stdout.readline())
            assert lines[-1], process.communicate()
        process.send_signal(signal.SIGINT)
        rest, errors = process.communicate(timeout=20)
    return process.returncode, [*lines, *rest.splitlines()], errors


def test_a_root_without_data_says_so_and_how_to_fill_it(root: Path) -> None:
    code, lines, errors = serving("another terminal: ", "--root", str(root))
    assert (code, errors, lines[-1]) == (0, "", "stopped")
    said = " ".join(lines)
    assert f"no data is in {root}" in said
    assert f'fmnist-fetch fetch --root "{root}"' in said
    assert not root.exists()


def test_datasets_with_a_manifest_under_the_root_or_on_the_command_line_are_served(
    sample: Sample, complete: Path, tmp_path: Path
) -> None:
    sample.write(complete)
    given = sample.changed(name="given", folder="Given")
    (tmp_path / "given.toml").write_text(dumps(given.manifest))
    fill(given.layout(complete).raw, given.files)
    (complete / "Given" / "broken.toml").write_text("format = 1")
    words = ("--root", str(complete), str(tmp_path / "given.toml"))
    code, lines, errors = serving("DATASET=sample.toml", *words)
    assert (code, errors, lines[-1]) == (0, "", "stopped")
    assert any(line.startswith("  sample: complete") for line in lines)
    assert any(line.startswith("  given: complete") for line in lines)
    assert lines[0].startswith(f"note: {complete / 'Given' / 'broken.toml'} is left out")


def test_it_says_once_that_everybody_can_read_where_it_listens_on_all_addresses(root: Path) -> None:
    _, lines, _ = serving("another terminal: ", "--root", str(root), "--host", "0.0.0.0")
    assert sum("everybody in the network can read this" in line for line in lines) == 1
    _, lines, _ = serving("another terminal: ", "--root", str(root))
    assert not any("everybody" in line for line in lines)


def test_where_it_cannot_listen_is_an_error_of_two_lines(root: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        for place, reason, hint in (
            (("127.0.0.1", port), "address already in use", "Choose another port: --port"),
            (("192.0.2.7", "0"), "cannot assign requested address", "Name an address of this machine"),
            (("no-such.invalid", "0"), "", "Name an address of this machine"),
            (("x" * 300, "0"), "", "Name an address of this machine"),
        ):
            done = command_line("serve", "--root", str(root), "--host", place[0], "--port", place[1])
            assert done.returncode == 2
            first, second = done.stderr.splitlines()
            assert first.startswith(f"error: cannot listen on {':'.join(place)}: {reason}")
            assert second.startswith(f"hint: {hint}")
    assert not root.exists()


def test_addresses_are_those_of_this_machine_and_loopback_only_without_others() -> None:
    assert addresses("192.0.2.7") == ["192.0.2.7"]
    found = addresses("0.0.0.0")
    assert found
    for address in found:
        with socket.socket() as probe:
            probe.bind((address, 0))
    assert found == ["127.0.0.1"] or not any(address.startswith("127.") for address in found)
    assert url("192.0.2.7", 8000) == "http://192.0.2.7:8000/"
    assert url("fe80::1", 80) == "http://[fe80::1]:80/"


@given(size=st.integers(1, 50), first=st.none() | st.integers(0, 60), last=st.none() | st.integers(0, 60))
def test_a_range_means_what_rfc_9110_says(size: int, first: int | None, last: int | None) -> None:
    header = f"bytes={'' if first is None else first}-{'' if last is None else last}"
    everything = list(range(size))
    request = make_mocked_request("GET", "/", {"Range": header})
    if first is None:
        # The last 0 bytes are no range; aiohttp reads "-0" as all of them, which a client can use as well.
        wanted = everything[max(0, size - last) if last else 0 :]
        nonsense = last is None
    else:
        wanted = everything[first : None if last is None else last + 1]
        nonsense = last is not None and last < first
    if nonsense:
        assert requested_span(request, size) is None
    elif not wanted:
        assert requested_span(request, size) == Span(size, size)
    else:
        assert requested_span(request, size) == Span(wanted[0], wanted[-1] + 1)
