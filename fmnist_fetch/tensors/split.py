"""One split of a dataset as arrays, and how it shows itself: in a few lines, in a notebook with some of its images."""

import base64
import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

_SHOWN = 10


@dataclass(frozen=True, repr=False, eq=False)
class Split:
    """One split of a dataset as numpy arrays.

    images: (N, height, width) uint8, or whatever shape and type the IDX file has, memory-mapped copy-on-write. labels:
    (N,) int64; floating-point ones stay as they are. Where the split has no images or no labels, their array is empty,
    of shape (0,). `mean` and `std` are those of the training pixels over 255, None where there are none of uint8.
    `digests` holds the SHA-256 of each unpacked IDX file by role. len() counts the labels, or the images where there
    are none; a split unpacks to images and labels, and two of them are equal if all that they hold is.

    >>> import fmnist_fetch
    >>> train = fmnist_fetch.load(split="train")
    >>> pixels = (train.images[:100] / 255 - train.mean) / train.std
    >>> pixels.shape, [train.classes[label] for label in train.labels[:3]]
    ((100, 28, 28), ['ankle boot', 't-shirt', 't-shirt'])
    >>> images, labels = train
    >>> len(train), labels.shape
    (60000, (60000,))
    """

    images: "NDArray[Any]"
    labels: "NDArray[Any]"
    classes: tuple[str, ...]
    mean: float | None
    std: float | None
    dataset: str
    name: str
    digests: Mapping[str, str]

    def __len__(self) -> int:
        return len(self.labels) or len(self.images)

    def __iter__(self) -> "Iterator[NDArray[Any]]":
        return iter((self.images, self.labels))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Split):
            return NotImplemented
        return self._facts_beside_arrays() == other._facts_beside_arrays() and all(
            ours.dtype == theirs.dtype and ours.shape == theirs.shape and bool((ours == theirs).all())
            for ours, theirs in zip(self, other, strict=True)
        )

    def __hash__(self) -> int:
        return hash(self._facts_beside_arrays())

    def _facts_beside_arrays(self) -> tuple[object, ...]:
        digests = tuple(sorted(self.digests.items()))
        return self.dataset, self.name, self.classes, self.mean, self.std, digests

    def __repr__(self) -> str:
        lines = (f"  {name:8} {text}" for name, text in self._facts())
        return "\n".join((f"<Split {self.name} of {self.dataset}", *lines)) + ">"

    def _repr_html_(self) -> str:
        """Return the HTML for a notebook, with the first image of each class and its number of images."""
        left = 'style="text-align: left"'
        rows = (f"<tr><th {left}>{name}</th><td {left}>{escape(text)}</td></tr>" for name, text in self._facts())
        title = f"<b>{escape(self.name)} of {escape(self.dataset)}</b>"
        return f"{title}<table>{''.join(rows)}</table>{self._samples()}"

    def _facts(self) -> Iterator[tuple[str, str]]:
        yield "images", f"{self.images.shape} {self.images.dtype}"
        yield "labels", f"{self.labels.shape} {self.labels.dtype}"
        if self.mean is not None:
            yield "pixels", f"mean {self.mean:.4f}, std {self.std:.4f} (of the training images, over 255)"
        if self.classes and self.classes == tuple(map(str, range(len(self.classes)))):
            # Names that say no more than the numbers do: those of a manifest whose author named none.
            yield "classes", f"{self.classes[0]} to {self.classes[-1]}"
        elif self.classes:
            yield "classes", ", ".join(f"{number} {name}" for number, name in enumerate(self.classes))

    def _samples(self) -> str:
        if self.images.ndim != 3 or self.images.dtype != "u1" or self.labels.shape != self.images.shape[:1]:
            return ""
        columns = [self._sample(number, name) for number, name in enumerate(self.classes[:_SHOWN])]
        rows = zip(*columns, strict=True)
        return "<table>" + "".join(f"<tr>{''.join(cells)}</tr>" for cells in rows) + "</table>"

    def _sample(self, number: int, name: str) -> list[str]:
        """Return the cells of a class: its first image, its name, how many images it has."""
        (members,) = (self.labels == number).nonzero()
        picture = ""
        if len(members):
            data = base64.b64encode(png(self.images[members[0]])).decode()
            picture = f'<img width="56" style="image-rendering: pixelated" src="data:image/png;base64,{data}">'
        cells = picture, escape(name), f"{len(members):,}"
        return [f'<td style="text-align: center">{cell}</td>' for cell in cells]


def png(grey: "NDArray[Any]") -> bytes:
    """Return an image (height, width) uint8 as a PNG file. Source: PNG specification (ISO/IEC 15948), section 11."""
    height, width = grey.shape
    # Each row begins with the number of its filter: 0 is none.
    rows = b"".join(b"\0" + row.tobytes() for row in grey)
    header = struct.pack(">2I5B", width, height, 8, 0, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in parts
    )
