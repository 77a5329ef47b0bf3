"""Fashion-MNIST (and any IDX dataset), fetched over bad networks, every byte verified.

    >>> import fmnist_fetch
    >>> report = fmnist_fetch.fetch()  # downloads what is missing, verifies all of it
    >>> train = fmnist_fetch.load(split="train")  # no network
    >>> train.images.shape, train.labels[:6]
    ((60000, 28, 28), array([9, 0, 0, 3, 0, 2]))

    fetch         download a dataset, and return a Report; run again, it verifies and repairs
    verify        hash all of it, and return a DatasetStatus
    load          one split of it as arrays, a Split
    events        what `progress` is called with: DownloadStarted, Verified, BytesInFlight, Attempted, NoSourceReady,
                  Unpacked, Message, Note and DownloadEnded
    FetchError    whatever goes wrong, with `message`, `hint` and `exit_code`; its kinds are UsageError (2),
                  IntegrityError (3), SourceError (4), DiskError (5), FormatError and ManifestError (6)

The command `fmnist-fetch` does the same and more; the other modules are its inside. The names above are loaded when
they are first used, so that importing the package costs nothing.
"""

__version__ = "1.0.0"

TYPE_CHECKING = False  # typing's own is the same to type checkers, and takes as long to load as all the rest of this
if TYPE_CHECKING:
    from typing import Any

    from fmnist_fetch.api import fetch, verify
    from fmnist_fetch.errors import (
        DiskError,
        FetchError,
        FormatError,
        IntegrityError,
        ManifestError,
        SourceError,
        UsageError,
    )
    from fmnist_fetch.events import (
        Attempted,
        BytesInFlight,
        DownloadEnded,
        DownloadStarted,
        Message,
        NoSourceReady,
        Note,
        Unpacked,
        Verified,
    )
    from fmnist_fetch.pipeline.report import Report
    from fmnist_fetch.pipeline.status import DatasetStatus
    from fmnist_fetch.tensors.arrays import load
    from fmnist_fetch.tensors.split import Split

_MODULES = {
    "api": "fetch verify",
    "errors": "DiskError FetchError FormatError IntegrityError ManifestError SourceError UsageError",
    "events": "Attempted BytesInFlight DownloadEnded DownloadStarted Message NoSourceReady Note Unpacked Verified",
    "pipeline.report": "Report",
    "pipeline.status": "DatasetStatus",
    "tensors.arrays": "load",
    "tensors.split": "Split",
}

__all__ = [
    "Attempted",
    "BytesInFlight",
    "DatasetStatus",
    "DiskError",
    "DownloadEnded",
    "DownloadStarted",
    "FetchError",
    "FormatError",
    "IntegrityError",
    "ManifestError",
    "Message",
    "NoSourceReady",
    "Note",
    "Report",
    "SourceError",
    "Split",
    "Unpacked",
    "UsageError",
    "Verified",
    "__version__",
    "fetch",
    "load",
    "verify",
]


def __getattr__(name: str) -> "Any":
    for module, names in _MODULES.items():
        if name in names.split():
            from importlib import import_module

            globals()[name] = getattr(import_module(f"fmnist_fetch.{module}"), name)
            return globals()[name]
    raise AttributeError(f"module 'fmnist_fetch' has no attribute {name!r}")


def __dir__() -> "list[str]":  # in quotes: an old Python reads this to say that it is too old
    return sorted({*globals(), *__all__})
