"""What a run did, added up from its events."""

from pathlib import Path

from fmnist_fetch.events import Attempted, DownloadStarted, Event


class Report:
    """The result of a fetch: where the tensor file is, bytes received by source, what had to be retried.

    `pieces` and `good` count the pieces of the files that were to be downloaded, and those that were there already.
    `also` are the folders in which other tools find the files now, by tool.

    >>> import fmnist_fetch
    >>> report = fmnist_fetch.fetch()
    >>> report.dataset, sum(report.received.values()), report.wrong_pieces
    ('fashion-mnist', 0, 0)
    """

    def __init__(self, dataset: str, root: Path, tensors: Path, also: dict[str, Path] | None = None) -> None:
        self.dataset = dataset
        self.root = root
        self.tensors = tensors
        self.seconds = 0.0
        self.pieces = self.good = 0
        self.received: dict[str, int] = {}
        self.retries = self.wrong_pieces = 0
        self.also = also or {}

    def __repr__(self) -> str:
        return f"Report({', '.join(f'{name}={value!r}' for name, value in vars(self).items())})"

    def note(self, event: Event) -> None:
        """Add EVENT."""
        if isinstance(event, DownloadStarted):
            self.pieces += event.pieces
            self.good += event.good
        if isinstance(event, Attempted):
            if event.received:
                self.received[event.source] = self.received.get(event.source, 0) + event.received
            self.retries += event.error is not None
            self.wrong_pieces += event.wrong
