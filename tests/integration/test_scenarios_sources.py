"""Several mirrors, of which one is bad or none is good: which is asked, for how long, and the final message."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from faults import (
    KIB,
    MIB,
    UNRESOLVABLE,
    AccessDenied,
    AfterServed,
    Busy,
    Chunked,
    ContentRange,
    CutAfter,
    Drip,
    DripHead,
    Endless,
    Fault,
    First,
    FlipByte,
    FlipSomewhere,
    HangUp,
    IgnoreRange,
    Line,
    Lockstep,
    LoginPage,
    LoginRedirect,
    Longer,
    Mirror,
    On,
    OtherSpan,
    Raw,
    RedirectLoop,
    Replaced,
    SayNothing,
    StallAfter,
    Status,
    Truncated,
    Unpacked,
    Unsatisfiable,
    blackhole,
    payload,
    refusing,
    self_signed,
)
from processes import Outcome, fetch, start
from worlds import IMAGES, LABELS, PIECE, World, dataset

WIRE = 4 * MIB
OTHER = payload(2_352_754, seed=99)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path, dataset())


# Permanent faults of the first mirror; the second one is right, with a limited rate.
BAD: dict[str, tuple[Fault, ...]] = {
    "404 for everything": (Status(404),),
    "410": (Status(410),),
    "401": (Status(401),),
    "403 from a bucket, in XML": (AccessDenied(),),
    "500": (Status(500),),
    "503 with a Retry-After of three thousand years": (Busy("99999999999"),),
    "429 with a Retry-After of an hour": (Busy("3600", 429),),
    "a login page": (LoginPage(),),
    "a redirect to a login page": (LoginRedirect(),),
    "a login page without an end": (LoginPage(), Endless()),
    "redirects in a circle": (RedirectLoop(),),
    "416": (Unsatisfiable(),),
    "hung up": (HangUp(),),
    "reset": (HangUp(reset=True),),
    "garbage": (Raw(payload(5000, 3)),),
    "silence": (SayNothing(),),
    "silence after a few bytes": (StallAfter(1000),),
    "silence after 100 kB": (StallAfter(100_000),),
    "ten bytes per second": (Drip(10),),
    "ten bytes per second of the head": (DripHead(10),),
    "five kilobytes per second": (Drip(5_000),),
    "no ranges, and cuts": (IgnoreRange(), CutAfter(64 * KIB)),
    "another span, admitted": (OtherSpan(start=1000),),
    "another span, denied": (OtherSpan(start=1000, admitted=False),),
    "a range without its place": (ContentRange(None),),
    "one flipped byte in a piece": (FlipByte(5 * PIECE),),
    "a flipped byte in each answer": (FlipSomewhere(),),
    "another file of the same size": (On(IMAGES, Replaced(OTHER)),),
    "another file of another size": (Replaced(OTHER[:1_000_000]),),
    "a truncated file": (Truncated(300_000),),
    "a longer file": (Longer(payload(10_000, 4)),),
    "an unpacked file": (Unpacked(),),
    "chunks of nonsensical size": (Chunked("zz"),),
}


def beside(faults: tuple[Fault, ...], folder: Path) -> tuple[Outcome, int, int]:
    """Fetch from a bad mirror and a right one; return the outcome, and what both served."""
    world = World(folder, dataset())
    with Mirror(world.data.files, faults) as bad, Mirror(world.data.files, [Line(WIRE)]) as right:
        outcome = fetch(world, bad.url, right.url)
        served = bad.served, right.served
    assert outcome.code == 0, outcome.err
    world.assert_complete()
    return outcome, *served


@pytest.fixture(scope="module")
def runs(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Future[tuple[Outcome, int, int]]]]:
    """Run the scenes of BAD that the tests name, several at a time, since most of their time is waiting."""
    folder = tmp_path_factory.mktemp("beside")
    names = [item.callspec.params.get("bad") for item in request.session.items if hasattr(item, "callspec")]
    with ThreadPoolExecutor(6) as pool:
        yield {name: pool.submit(beside, BAD[name], folder / str(number)) for number, name in enumerate(names) if name}


@pytest.mark.parametrize("bad", BAD)
def test_a_right_mirror_makes_up_for_one_with(runs: dict[str, Future[tuple[Outcome, int, int]]], bad: str) -> None:
    outcome, _, right = runs[bad].result()
    # Whatever the bad one does: the right one serves each byte once, except for those of a race.
    assert right <= 1.05 * dataset().size
    assert outcome.result["retries"] <= 60


@pytest.mark.parametrize("bad", ["404 for everything", "410", "401", "403 from a bucket, in XML"])
def test_a_mirror_that_refuses_a_file_is_not_asked_for_it_again(world: World, bad: str) -> None:
    with Mirror(world.data.files, BAD[bad]) as refusal, Mirror(world.data.files, [Line(WIRE)]) as right:
        outcome = fetch(world, refusal.url, right.url)
        assert all(len(refusal.of(name)) <= 4 for name in world.data.files)
        assert len(refusal.journal) <= 7
    assert outcome.code == 0


@pytest.mark.parametrize("order", ["first", "last"])
def test_a_dead_end_costs_no_bytes_and_no_hang(world: World, tmp_path: Path, order: str) -> None:
    with ExitStack() as stack:
        untrusted = Mirror(world.data.files, certificate=self_signed(tmp_path))
        stack.enter_context(untrusted)
        dead = [stack.enter_context(refusing()), stack.enter_context(blackhole()), UNRESOLVABLE]
        dead += [untrusted.url, untrusted.url.replace("https", "http")]
        right = stack.enter_context(Mirror(world.data.files, [Line(WIRE)]))
        dead.append(right.url.replace("http", "https"))
        outcome = fetch(world, *([*dead, right.url] if order == "first" else [right.url, *dead]))
        assert right.served <= 1.05 * world.data.size
        assert untrusted.served == 0
    assert outcome.code == 0, outcome.err
    world.assert_complete()


def test_a_mirror_switch_in_mid_file_costs_nothing(world: World) -> None:
    with (
        Mirror(world.data.files, [Line(WIRE), AfterServed(MIB, HangUp())]) as first,
        Mirror(world.data.files, [First(1, Busy("1")), Line(WIRE)]) as second,
    ):
        assert fetch(world, first.url, second.url).code == 0
        assert first.served + second.served <= 1.05 * world.data.size
        assert first.served >= MIB / 2
    world.assert_complete()


def test_each_mirror_may_have_another_part_of_the_files(world: World) -> None:
    with (
        Mirror({IMAGES: world.data.files[IMAGES]}, [Line(WIRE)]) as some,
        Mirror({name: data for name, data in world.data.files.items() if name != IMAGES}) as others,
    ):
        assert fetch(world, some.url, others.url).code == 0
        assert some.served + others.served <= world.data.size + 100
    world.assert_complete()


def test_each_mirror_may_have_other_pieces_right(world: World) -> None:
    whole = world.data.files[IMAGES]
    odd, even = (
        b"".join(
            payload(PIECE, 50 + n)[: len(whole) - n * PIECE] if n % 2 == wrong else whole[n * PIECE : (n + 1) * PIECE]
            for n in range(-(-len(whole) // PIECE))
        )
        for wrong in (0, 1)
    )
    with (
        Mirror(world.data.files | {IMAGES: odd}, [Lockstep()]) as one,
        Mirror(world.data.files | {IMAGES: even}, [Lockstep()]) as two,
    ):
        outcome = fetch(world, one.url, two.url, options=["--patience", "60"])
    assert outcome.code == 0, outcome.err
    world.assert_complete()


def test_a_slow_first_mirror_delays_nothing(world: World) -> None:
    with Mirror(world.data.files, [Line(50_000)]) as slow, Mirror(world.data.files, [Line(WIRE)]) as fast:
        outcome = fetch(world, slow.url, fast.url)
        assert slow.served <= 0.25 * world.data.size
        assert slow.served + fast.served <= 1.05 * world.data.size
    assert outcome.code == 0
    world.assert_complete()


def test_two_mirrors_share_the_work(world: World) -> None:
    with Mirror(world.data.files, [Line(MIB)]) as one, Mirror(world.data.files, [Line(MIB)]) as two:
        outcome = fetch(world, one.url, two.url)
        assert one.served + two.served <= 1.02 * world.data.size
        assert min(one.served, two.served) >= 0.25 * world.data.size
        assert set(outcome.result["received"]) == {one.url, two.url}
    world.assert_complete()


def test_the_same_wrong_bytes_are_not_asked_for_for_ever(world: World) -> None:
    with Mirror(world.data.files, [Lockstep(), FlipByte(5 * PIECE + 100)]) as mirror:
        outcome = fetch(world, mirror.url)
        assert mirror.served <= world.data.size + 12 * PIECE
    assert outcome.code == 3
    assert "wrong bytes from 327,680 to 393,216" in outcome.message
    assert sum("wrong" in verdict for verdict in outcome.verdicts) <= 2 * 5
    world.assert_nothing_wrong()
    # The images of both splits have a piece that begins there: all other pieces are good.
    assert world.kept() == world.data.pieces - 2
    with Mirror(world.data.files) as right:
        assert fetch(world, right.url).code == 0
        assert right.served == 2 * PIECE
    world.assert_complete()


def test_a_file_replaced_in_mid_download_never_gets_a_final_name(world: World) -> None:
    with Mirror(world.data.files, [Line(WIRE), AfterServed(MIB, On(IMAGES, Replaced(OTHER)))]) as mirror:
        outcome = fetch(world, mirror.url, options=["--patience", "2"])
    assert outcome.code == 3
    assert IMAGES in outcome.message
    world.assert_nothing_wrong()
    assert not (world.raw / IMAGES).exists()
    kept = world.kept()
    assert kept >= 10
    with Mirror(world.data.files) as right:
        assert fetch(world, right.url).code == 0
        # The bytes of unfinished pieces can be counted as neither right nor wrong.
        assert right.served <= (world.data.pieces - kept + 4) * PIECE
    world.assert_complete()


def test_pieces_of_a_file_that_is_longer_on_the_server_are_right_all_the_same(world: World) -> None:
    with Mirror(world.data.files, [Longer(payload(10_000, 4))]) as mirror:
        outcome = fetch(world, mirror.url, options=["--patience", "2"])
    assert outcome.code == 0, outcome.err
    world.assert_complete()


def test_pieces_of_a_file_that_is_truncated_on_the_server_are_kept(world: World) -> None:
    with Mirror(world.data.files, [On(IMAGES, Truncated(20 * PIECE + 5))]) as mirror:
        outcome = fetch(world, mirror.url, options=["--patience", "2"])
    assert outcome.code in (3, 4)
    assert IMAGES in outcome.message
    world.assert_nothing_wrong()
    assert len(world.good(IMAGES)) >= 20


# Patience.


def test_patience_ends_a_run_without_progress_with_a_line_for_each_source(world: World) -> None:
    with (
        refusing() as dead,
        Mirror(world.data.files, [SayNothing()]) as silent,
        Mirror(world.data.files, [Status(500)]) as broken,
        Mirror(world.data.files, [Status(404)]) as empty,
    ):
        outcome = fetch(world, dead, silent.url, broken.url, empty.url, options=["--patience", "7"])
        urls = [dead, silent.url, broken.url, empty.url]
    assert outcome.code == 4
    assert [any(line.startswith(url) for line in outcome.reasons) for url in urls] == [True] * 4
    assert len(outcome.reasons) == 4
    said = "\n".join(outcome.reasons)
    assert "refuses connections" in said
    assert "said nothing for" in said
    assert "answered 500" in said
    assert "answered 404" in said
    assert "--mirror" in outcome.hint
    assert outcome.result["error"] == outcome.message
    world.assert_nothing_wrong()


def test_patience_is_counted_from_the_last_progress_and_all_good_pieces_are_kept(world: World) -> None:
    # Two seconds of bytes, then silence: a patience of one second must survive the first part.
    with Mirror(world.data.files, [Line(MIB), AfterServed(2 * MIB, Status(503))]) as mirror:
        outcome = fetch(world, mirror.url, options=["--patience", "1"])
        served = mirror.served
    assert outcome.code == 4
    assert served >= 2 * MIB
    world.assert_nothing_wrong()
    assert world.kept() >= 30
    with Mirror(world.data.files) as right:
        kept = world.kept()
        assert fetch(world, right.url).code == 0
        assert right.served <= (world.data.pieces - kept) * PIECE
    world.assert_complete()


def test_bytes_without_a_good_piece_are_no_progress(world: World) -> None:
    with Mirror(world.data.files, [Line(WIRE), FlipSomewhere(), Chunked()]) as mirror:
        outcome = fetch(world, mirror.url, options=["--patience", "2"])
    assert outcome.code in (0, 3)
    world.assert_nothing_wrong()


def test_a_drop_is_not_reported_as_wrong_bytes(world: World) -> None:
    with Mirror(world.data.files, [CutAfter(1000), AfterServed(20_000, HangUp())]) as mirror:
        outcome = fetch(world, mirror.url, options=["--patience", "2"])
    assert outcome.code == 4
    assert "hung up" in outcome.message
    assert "wrong" not in outcome.message
    assert not any("wrong" in verdict for verdict in outcome.verdicts)


@pytest.mark.parametrize(
    ("fault", "said", "code"),
    [
        (Status(404), "answered 404", 4),
        (Status(410), "answered 410", 4),
        (AccessDenied(), "looks like the refusal of a storage bucket", 4),
    ],
    ids=["404", "410", "403 from a bucket"],
)
def test_a_final_refusal_ends_a_run_at_once(world: World, fault: Fault, said: str, code: int) -> None:
    with Mirror(world.data.files, [fault]) as mirror:
        outcome = fetch(world, mirror.url, options=["--patience", "forever"])
        assert len(mirror.journal) <= 8
    assert outcome.code == code
    assert said in outcome.message
    assert any(name in outcome.message for name in world.data.files)
    assert not list(world.root.rglob("*.gz"))


@pytest.mark.parametrize(
    ("faults", "said"),
    [
        ([LoginPage()], "looks like a login page"),
        ([LoginRedirect()], "looks like a login page"),
        ([LoginPage(), Chunked()], "looks like a login page"),
        ([Unpacked()], "a proxy removed the compression"),
        ([Truncated(1_000_000)], "looks cut off"),
        ([RedirectLoop()], "redirects in a circle"),
    ],
    ids=["login page", "redirect to a login page", "login page in chunks", "unpacked", "cut off", "circle"],
)
def test_what_came_instead_is_named(world: World, faults: list[Fault], said: str) -> None:
    with Mirror(world.data.files, [On(IMAGES, fault) for fault in faults]) as mirror:
        outcome = fetch(world, mirror.url, options=["--patience", "1"])
    assert outcome.code in (3, 4)
    assert said in outcome.message
    assert not (world.raw / IMAGES).exists()
    world.assert_nothing_wrong()


@pytest.mark.parametrize(
    ("name", "size", "said"),
    [
        ("train-images-idx3-ubyte.gz", 9_912_422, "this is MNIST's file of the same name"),
        ("train-labels-idx1-ubyte.gz", 29_497, "the first release of Fashion-MNIST"),
    ],
    ids=["MNIST", "the first release"],
)
def test_another_dataset_under_the_same_name_is_named(tmp_path: Path, name: str, size: int, said: str) -> None:
    world = World(tmp_path, dataset())
    world.manifest = Path("fashion-mnist")
    with Mirror({name: payload(size, 12)}, [Lockstep()]) as mirror:
        outcome = fetch(world, mirror.url, options=["--patience", "1"])
        assert mirror.served <= 2 * MIB
    assert outcome.code in (3, 4)
    assert said in outcome.message
    assert not list(world.root.rglob(name))


def test_an_unknown_certificate_is_explained_and_never_passed_over(world: World, tmp_path: Path) -> None:
    with Mirror(world.data.files, certificate=self_signed(tmp_path)) as mirror:
        outcome = fetch(world, mirror.url, options=["--patience", "forever"])
        assert mirror.served == 0
        assert outcome.code == 4
        assert "its certificate is not trusted" in outcome.message
        trusting = {"REQUESTS_CA_BUNDLE": str(tmp_path / "self-signed.crt")}
        assert fetch(world, mirror.url, env=trusting).code == 0
    world.assert_complete()


def test_offline_opens_no_connection(world: World) -> None:
    with Mirror(world.data.files) as mirror:
        outcome = fetch(world, mirror.url, options=["--offline"])
        assert mirror.connections == 0
        assert outcome.code == 4
        assert outcome.message
        assert fetch(world, mirror.url, env={"FMNIST_OFFLINE": "1"}).code == 4
        assert mirror.connections == 0
    assert not list(world.root.rglob("*.gz"))


def test_mirrors_can_be_named_by_the_environment(world: World) -> None:
    with refusing() as dead, Mirror(world.data.files) as mirror:
        assert fetch(world, env={"FMNIST_MIRRORS": f"{dead} {mirror.url}"}).code == 0
    world.assert_complete()


def test_without_patience_a_folder_is_read_to_its_end(world: World, tmp_path: Path) -> None:
    for name, data in world.data.files.items():
        (tmp_path / name).write_bytes(data)
    assert fetch(world, str(tmp_path), options=["--patience", "0"]).code == 0
    world.assert_complete()


def test_a_folder_makes_up_for_a_network_that_is_away(world: World, tmp_path: Path) -> None:
    stick = tmp_path / "stick"
    stick.mkdir()
    for name, data in world.data.files.items():
        (stick / name).write_bytes(data)
    with refusing() as dead, Mirror(world.data.files, [Drip(10)]) as slow:
        outcome = fetch(world, dead, slow.url, str(stick))
    assert outcome.code == 0
    world.assert_complete()


# The network fails and recovers.


def test_a_network_that_goes_down_and_comes_up_again_costs_what_was_under_way(world: World) -> None:
    with Mirror(world.data.files, [Line(MIB)]) as mirror, start(world, mirror.url) as run:
        for mark in (MIB // 2, MIB):
            run.until(lambda mark=mark: mirror.served >= mark)  # type: ignore[misc]
            with mirror.down():
                before = mirror.served
                asked = len(run.err)
                run.until(lambda asked=asked: len(run.err) >= asked)  # type: ignore[misc]
                assert mirror.served <= before
        outcome = run.wait()
        assert mirror.served <= 1.05 * world.data.size
    assert outcome.code == 0
    world.assert_complete()


def test_patience_forever_waits_and_says_what_for(world: World) -> None:
    forever = ["--patience", "forever"]
    with Mirror(world.data.files, [Line(2 * MIB)]) as mirror, start(world, mirror.url, options=forever) as run:
        run.until(lambda: mirror.served >= MIB)
        with mirror.down():
            run.until(lambda: "waiting (as long as it takes)" in run.err)
            said = run.err.count("waiting (")
        outcome = run.wait()
    assert outcome.code == 0
    assert said <= 2
    line = next(line for line in outcome.err.splitlines() if line.startswith("waiting ("))
    assert "verified so far" in line
    assert "refuses connections" in line
    world.assert_complete()


# Messages.


def test_secrets_in_urls_are_never_written_down(world: World) -> None:
    with Mirror(world.data.files, [First(3, Status(500))]) as mirror, Mirror({}, [Status(404)]) as empty:
        secret = mirror.url.replace("http://", "http://alice:pass-word@") + "?token=to-ken"
        bad = empty.url.replace("http://", "http://alice:pass-word@") + "?token=to-ken"
        outcome = fetch(world, bad, options=["--patience", "1"])
        assert outcome.code == 4
        assert fetch(world, secret).code == 0
        assert mirror.journal[0].headers["authorization"].startswith("Basic ")
    written = outcome.out + outcome.err + world.log.read_text()
    assert "***" in written
    assert not any(word in written for word in ("alice", "pass-word", "to-ken"))
    world.assert_complete()


def test_the_log_has_each_attempt_and_the_report_their_sums(world: World) -> None:
    with Mirror(world.data.files, [Line(WIRE), CutAfter(300_000)]) as mirror:
        outcome = fetch(world, mirror.url)
        served = mirror.served
    for line in outcome.log:
        assert line.keys() >= {"source", "file", "span", "status", "bytes", "seconds", "verdict"}
        assert line["source"] == mirror.url
        assert line["status"] in (206, None)
        assert line["bytes"] <= line["span"][1] - line["span"][0]
    assert sum(line["bytes"] for line in outcome.log) == served == outcome.result["received"][mirror.url]
    json.dumps(outcome.result)


def test_off_a_terminal_the_progress_is_neither_silent_nor_a_flood(world: World) -> None:
    with Mirror(world.data.files, [Line(WIRE), CutAfter(64 * KIB)]) as mirror:
        outcome = fetch(world, mirror.url)
    lines = outcome.err.splitlines()
    assert 5 <= len(lines) <= 25
    assert "\r" not in outcome.err
    assert not any(LABELS in line and "error" in line for line in lines)
