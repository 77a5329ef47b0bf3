"""Several mirrors, of which one is bad or none is good: which is asked, for how long, and the final message."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import pytest

import faults
from dead_ends import UNRESOLVABLE, self_signed
from faults import KIB, MIB, Fault, First, Line, Mirror, On, Status, blackhole, payload, refusing
from processes import Outcome, fetch, start
from samples import fill
from stage import rehearse
from worlds import IMAGES, PIECE, World, dataset

WIRE = 4 * MIB
OTHER = payload(2_352_754, seed=99)


def refused_once(world: World, mirror: Mirror, condition: Callable[[], bool]) -> Outcome:
    """Return the end of a run that MIRROR refuses for good once CONDITION is true, however long that takes."""
    with start(world, mirror.url, options=["--patience", "forever"]) as run:
        run.until(condition)
        mirror.faults = [Status(410)]
        return run.wait(code=(3, 4))


def refused_after(said: str, world: World, mirror: Mirror) -> Outcome:
    """Return the end of a run that MIRROR refuses for good once the log has an attempt of which this is SAID."""
    return refused_once(world, mirror, lambda: world.log.exists() and said in world.log.read_text(encoding="utf-8"))


# Permanent wrong of the first mirror; the second one is right, with a limited rate.
REFUSALS = ("404 for everything", "410", "401", "403 from a bucket, in XML")
BAD: dict[str, Fault] = {
    "404 for everything": Status(404),
    "410": Status(410),
    "401": Status(401),
    "403 from a bucket, in XML": faults.AccessDenied(),
    "500": Status(500),
    "503 with a Retry-After of three thousand years": faults.Busy("99999999999"),
    "429 with a Retry-After of an hour": faults.Busy("3600", 429),
    "a login page": faults.LoginPage(),
    "a redirect to a login page": faults.LoginRedirect(),
    "a login page without an end": faults.LoginPage() & faults.Endless(),
    "redirects in a circle": faults.RedirectLoop(),
    "416": faults.Unsatisfiable(),
    "hung up": faults.HangUp(),
    "reset": faults.HangUp(reset=True),
    "garbage": faults.Raw(payload(5000, 3)),
    "silence": faults.SayNothing(),
    "silence after a few bytes": faults.StallAfter(1000),
    "silence after 100 kB": faults.StallAfter(100_000),
    "ten bytes per second": faults.Drip(10),
    "ten bytes per second of the head": faults.DripHead(10),
    "five kilobytes per second": faults.Drip(5_000),
    "no ranges, and cuts": faults.IgnoreRange() & faults.CutAfter(64 * KIB),
    "another span, admitted": faults.OtherSpan(start=1000),
    "another span, denied": faults.OtherSpan(start=1000, admitted=False),
    "a range without its place": faults.ContentRange(None),
    "one flipped byte in a piece": faults.FlipByte(5 * PIECE),
    "a flipped byte in each answer": faults.FlipSomewhere(),
    "another file of the same size": On(IMAGES, faults.Replaced(OTHER)),
    "another file of another size": faults.Replaced(OTHER[:1_000_000]),
    "a truncated file": faults.Truncated(300_000),
    "a longer file": faults.Longer(payload(10_000, 4)),
    "an unpacked file": faults.Unpacked(),
    "chunks of nonsensical size": faults.Chunked("zz"),
}


class Beside(NamedTuple):
    """A run beside a bad mirror: its end, the requests to the bad one, and the bytes that the right one served."""

    outcome: Outcome
    asked: int
    served: int


def beside(name: str, folder: Path) -> Beside:
    """Fetch from a bad mirror and a right one."""
    world = World(folder, dataset())
    with Mirror(world.data.files, [BAD[name]]) as bad, Mirror(world.data.files, [Line(WIRE)]) as right:
        outcome = fetch(world, bad.url, right.url, code=0)
        return Beside(outcome, len(bad.journal), right.served)


@pytest.fixture(scope="module")
def runs(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Beside]]:
    yield from rehearse(request, beside, tmp_path_factory.mktemp("beside"))


@pytest.mark.parametrize("scene", BAD)
def test_a_right_mirror_makes_up_for_one_with(runs: Callable[[str], Beside], scene: str) -> None:
    outcome, asked, served = runs(scene)
    # Whatever the bad one does: the right one serves each byte once, except for those of a race.
    assert served <= 1.05 * dataset().size
    assert outcome.result["retries"] <= 60
    # A mirror that refuses a file is not asked for it again.
    assert asked <= 7 or scene not in REFUSALS


@pytest.mark.parametrize("order", ["first", "last"])
def test_a_dead_end_costs_no_bytes_and_no_hang(world: World, tmp_path: Path, order: str) -> None:
    with ExitStack() as stack:
        untrusted = Mirror(world.data.files, certificate=self_signed(tmp_path))
        stack.enter_context(untrusted)
        dead = [stack.enter_context(refusing()), stack.enter_context(blackhole()), UNRESOLVABLE]
        dead += [untrusted.url, untrusted.url.replace("https", "http")]
        right = stack.enter_context(Mirror(world.data.files, [Line(WIRE)]))
        dead.append(right.url.replace("http", "https"))
        fetch(world, *([*dead, right.url] if order == "first" else [right.url, *dead]), code=0)
        assert right.served <= 1.05 * world.data.size
        assert untrusted.served == 0


def test_a_mirror_switch_in_mid_file_costs_nothing(world: World) -> None:
    with (
        Mirror(world.data.files, [Line(WIRE), faults.AfterServed(MIB, faults.HangUp())]) as first,
        Mirror(world.data.files, [First(1, faults.Busy("1")), Line(WIRE)]) as second,
    ):
        fetch(world, first.url, second.url, code=0)
        assert first.served + second.served <= 1.05 * world.data.size
        assert first.served >= MIB / 2


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
        Mirror(world.data.files | {IMAGES: odd}, [faults.Lockstep()]) as one,
        Mirror(world.data.files | {IMAGES: even}, [faults.Lockstep()]) as two,
    ):
        fetch(world, one.url, two.url, options=["--patience", "60"], code=0)


def test_a_slow_first_mirror_delays_nothing(world: World) -> None:
    with Mirror(world.data.files, [Line(50_000)]) as slow, Mirror(world.data.files, [Line(WIRE)]) as fast:
        fetch(world, slow.url, fast.url, code=0)
        assert slow.served <= 0.25 * world.data.size
        assert slow.served + fast.served <= 1.05 * world.data.size


def test_a_file_replaced_in_mid_download_never_gets_a_final_name(world: World) -> None:
    with Mirror(world.data.files, [Line(WIRE), faults.AfterServed(MIB, On(IMAGES, faults.Replaced(OTHER)))]) as mirror:
        outcome = fetch(world, mirror.url, options=["--patience", "2"], code=3)
    assert IMAGES in outcome.message
    assert not (world.raw / IMAGES).exists()
    kept = world.kept()
    assert kept >= 10
    with Mirror(world.data.files) as right:
        fetch(world, right.url, code=0)
        # The bytes of unfinished pieces can be counted as neither right nor wrong.
        assert right.served <= (world.data.pieces - kept + 4) * PIECE


def test_pieces_of_a_file_that_is_longer_on_the_server_are_right_all_the_same(world: World) -> None:
    with Mirror(world.data.files, [faults.Longer(payload(10_000, 4))]) as mirror:
        fetch(world, mirror.url, code=0)


def test_pieces_of_a_file_that_is_truncated_on_the_server_are_kept(world: World) -> None:
    with Mirror(world.data.files, [On(IMAGES, faults.Truncated(20 * PIECE + 5))]) as mirror:
        outcome = refused_once(world, mirror, lambda: len(world.good(IMAGES)) == 20)
    assert IMAGES in outcome.message
    assert len(world.good(IMAGES)) == 20


# Patience.


def test_patience_ends_a_run_without_progress_with_a_line_for_each_source(world: World) -> None:
    with (
        refusing() as dead,
        Mirror(world.data.files, [faults.SayNothing()]) as silent,
        Mirror(world.data.files, [Status(500)]) as broken,
        Mirror(world.data.files, [Status(404)]) as empty,
    ):
        outcome = fetch(world, dead, silent.url, broken.url, empty.url, options=["--patience", "7"], code=4)
        urls = [dead, silent.url, broken.url, empty.url]
    said = ["refuses connections", "said nothing for", "answered 500", "answered 404"]
    assert len(outcome.reasons) == 4
    for url, words in zip(urls, said, strict=True):
        (reason,) = (line for line in outcome.reasons if line.startswith(url))
        assert words in reason
    assert "--mirror" in outcome.hint
    assert outcome.result["error"] == outcome.message


def test_a_drop_is_not_reported_as_wrong_bytes(world: World) -> None:
    with Mirror(world.data.files, [faults.CutAfter(1000), faults.AfterServed(20_000, faults.HangUp())]) as mirror:
        outcome = fetch(world, mirror.url, options=["--patience", "2"], code=4)
    assert "hung up" in outcome.message
    assert "wrong" not in outcome.message
    assert not any("wrong" in verdict for verdict in outcome.verdicts)


def test_a_final_refusal_ends_a_run_at_once(world: World) -> None:
    with Mirror(world.data.files, [faults.AccessDenied()]) as mirror:
        outcome = fetch(world, mirror.url, options=["--patience", "forever"], code=4)
        assert len(mirror.journal) <= 8
    assert "looks like the refusal of a storage bucket" in outcome.message
    assert not list(world.root.rglob("*.gz"))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ([faults.LoginPage()], "looks like a login page"),
        ([faults.LoginRedirect()], "looks like a login page"),
        ([faults.LoginPage(), faults.Chunked()], "looks like a login page"),
        ([faults.Unpacked()], "a proxy removed the compression"),
    ],
    ids=["login page", "redirect to a login page", "login page in chunks", "unpacked"],
)
def test_what_came_instead_is_named(world: World, wrong: list[Fault], said: str) -> None:
    with Mirror(world.data.files, [On(IMAGES, fault) for fault in wrong]) as mirror:
        outcome = refused_after(said, world, mirror)
    assert said in outcome.message
    assert not (world.raw / IMAGES).exists()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [(faults.Truncated(1_000_000), "looks cut off"), (faults.RedirectLoop(), "redirects in a circle")],
    ids=["cut off", "circle"],
)
def test_what_kept_a_file_from_its_end_is_named(world: World, wrong: Fault, said: str) -> None:
    with Mirror(world.data.files, [On(IMAGES, wrong)]) as mirror:
        outcome = fetch(world, mirror.url, options=["--patience", "1"], code=(3, 4))
    assert said in outcome.message
    assert not (world.raw / IMAGES).exists()


def test_without_patience_a_folder_is_read_to_its_end(world: World, tmp_path: Path) -> None:
    for name, data in world.data.files.items():
        (tmp_path / name).write_bytes(data)
    assert fetch(world, str(tmp_path), options=["--patience", "0"]).code == 0
    world.assert_complete()


def test_a_folder_makes_up_for_a_network_that_is_away(world: World, tmp_path: Path) -> None:
    stick = fill(tmp_path / "stick", world.data.files)
    with refusing() as dead, Mirror(world.data.files, [faults.Drip(10)]) as slow:
        fetch(world, dead, slow.url, str(stick), code=0)


# The network fails and recovers.


def test_a_network_that_goes_down_and_comes_up_again_costs_what_was_under_way(world: World) -> None:
    with Mirror(world.data.files, [Line(MIB)]) as mirror, start(world, mirror.url) as run:
        for mark in (MIB // 2, MIB):
            run.until(lambda mark=mark: mirror.served >= mark)  # type: ignore[misc]
            with mirror.down():
                before = mirror.served
                time.sleep(0.1)
                assert mirror.served <= before
        run.wait(code=0)
        assert mirror.served <= 1.05 * world.data.size


def test_patience_forever_waits_and_says_what_for(world: World) -> None:
    forever = ["--patience", "forever"]
    with Mirror(world.data.files, [Line(2 * MIB)]) as mirror, start(world, mirror.url, options=forever) as run:
        run.until(lambda: mirror.served >= MIB)
        with mirror.down():
            run.until(lambda: "waiting (as long as it takes)" in run.err)
            said = run.err.count("waiting (")
        outcome = run.wait(code=0)
    assert said <= 2
    line = next(line for line in outcome.err.splitlines() if line.startswith("waiting ("))
    assert "verified so far" in line
    assert "refuses connections" in line


# Messages.


def test_secrets_in_urls_are_never_written_down(world: World) -> None:
    with Mirror(world.data.files, [First(3, Status(500))]) as mirror, Mirror({}, [Status(404)]) as empty:
        secret = mirror.url.replace("http://", "http://alice:pass-word@") + "?token=to-ken"
        bad = empty.url.replace("http://", "http://alice:pass-word@") + "?token=to-ken"
        outcome = fetch(world, bad, options=["--patience", "1"], code=4)
        fetch(world, secret, code=0)
        assert mirror.journal[0].headers["authorization"].startswith("Basic ")
    written = outcome.out + outcome.err + world.log.read_text()
    assert "***" in written
    assert not any(word in written for word in ("alice", "pass-word", "to-ken"))
