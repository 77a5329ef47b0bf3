"""Why a run ends without its files: the facts, and a line for each source. Pure."""

from collections.abc import Sequence

from fmnist_fetch.download.segments import SegmentQueue
from fmnist_fetch.download.source_stats import SourceStats
from fmnist_fetch.errors import AGAIN, CHECK_NETWORK, FetchError, IntegrityError, SourceError, WrongBytesError

_NAMED = 3


def verdict(plan: SegmentQueue, standings: Sequence[SourceStats]) -> FetchError:
    """The error that ends a run: IntegrityError where a source had wrong bytes, else SourceError."""
    lines = "".join(
        f"\n  {standing.error.message if standing.error else f'{standing.origin.name}: not asked'}"
        for standing in standings
    )
    lacking = [file.name for number, file in enumerate(plan.files) if not plan.file_complete(number)]
    names = ", ".join(lacking[:_NAMED]) + (f" and {len(lacking) - _NAMED} more" if len(lacking) > _NAMED else "")
    facts = f"{plan.bytes_missing:,} bytes of {names} could not be had from any source"
    facts += f":{lines}" if lines else "; there is none to ask"
    errors = [standing.error for standing in standings if standing.error]
    if any(isinstance(error, WrongBytesError) for error in errors):
        return IntegrityError(facts, hint="Name a mirror that has the right files: --mirror URL or --mirror FOLDER.")
    hints = {error.hint for error in errors if error.hint not in (AGAIN, CHECK_NETWORK)}
    # Where all that is to be said is one thing (a certificate, a login page, a wrong address), it is said.
    advice = hints.pop() if len(hints) == 1 else CHECK_NETWORK
    if all(standing.on_disk for standing in standings):
        advice = "Only this machine was looked at: leave out --offline (and FMNIST_OFFLINE)."
    return SourceError(facts, hint=f"{advice} What arrived is kept. Another source: --mirror URL or --mirror FOLDER.")
