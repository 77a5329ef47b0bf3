"""The user's own pictures, converted to images of the dataset: grey, 28 x 28, one byte a pixel, bright on black."""

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fmnist_fetch.errors import FetchError, FormatError
from fmnist_fetch.storage.files import open_regular

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_MEGAPIXELS = 64
MAX_SIDE_PIXELS = 30_000
MAX_SCANS = 200
"""Of a JPEG file: each is another pass over all pixels, for a few bytes of the file. Programs write ten or so."""
BAND_PIXELS = 2**20
"""Converted at once: a picture as a whole would take several times its memory."""
BRIGHT = 127
START_OF_SCAN = b"\xff\xda"
FORMATS = ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM")
"""The formats that Pillow may read. It has about forty, some of which start other programs, as EPS does Ghostscript."""
# The modes of Pillow, in the words of the programs that save pictures.
KINDS = {
    "1": "black and white", "L": "8-bit grey", "LA": "grey with transparency", "P": "palette colours",
    "RGB": "colours", "RGBA": "colours with transparency", "CMYK": "CMYK colours", "I": "32-bit grey",
    "I;16": "16-bit grey", "I;16B": "16-bit grey", "I;16L": "16-bit grey", "F": "floating-point grey",
}  # fmt: skip

Grey = NDArray[np.uint8]


def read_picture(path: Path, side: int, *, resize: bool, invert: bool, hint: str) -> Grey:
    """Read a picture file: -> (side, side) uint8.

    Without `resize`, the picture must fit as it is; a coloured file fits if all its pixels are grey and opaque.

    Raises:
        FormatError: It is not a picture in one of FORMATS, is larger than MAX_MEGAPIXELS, or does not fit (HINT).
    """
    try:
        from PIL import Image
    except ModuleNotFoundError as error:
        message = "Pillow is not installed, which reads pictures"
        raise FetchError(message, hint="Run: python -m pip install pillow") from error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's about large files: those are refused here
            with Image.open(path, formats=FORMATS) as picture:  # reads the header only: a huge picture costs nothing
                _check_size(path, picture)
                _check_scans(path, picture)
                grey = _scaled(picture, side, 255 if invert else 0) if resize else _as_it_is(path, picture, side, hint)
    except (FetchError, KeyboardInterrupt):
        raise
    except Image.DecompressionBombError as error:
        raise _too_large(path, "its header promises too many pixels") from error
    except Exception as error:  # a decoder raises anything for a damaged file
        raise FormatError(
            f"{path} is not a picture that can be read ({type(error).__name__})",
            hint="Open it in a picture program and save it as PNG.",
        ) from error
    return 255 - grey if invert else grey


def looks_inverted(image: Grey) -> bool:
    """Return whether three of the four corners are bright, as in none of the 70,000 images of Fashion-MNIST."""
    corners = image[[0, 0, -1, -1], [0, -1, 0, -1]]  # (4,)
    return int((corners > BRIGHT).sum()) >= 3


def _check_size(path: Path, picture: "Image") -> None:
    if picture.width * picture.height > MAX_MEGAPIXELS * 1_000_000 or max(picture.size) > MAX_SIDE_PIXELS:
        raise _too_large(path, f"{picture.width:,} x {picture.height:,} pixels")


def _check_scans(path: Path, picture: "Image") -> None:
    if picture.format == "JPEG":
        with open_regular(path) as file:
            scans = sum(part.count(START_OF_SCAN) for part in iter(lambda: file.read(2**20), b""))
        if scans > MAX_SCANS:
            raise FormatError(
                f"{path} has {scans:,} scans; the limit is {MAX_SCANS}",
                hint="Open it in a picture program and save it as PNG.",
            )


def _too_large(path: Path, what: str) -> FormatError:
    return FormatError(
        f"{path} is too large: {what}; the limit is {MAX_MEGAPIXELS} megapixels, and {MAX_SIDE_PIXELS:,} pixels a side",
        hint="Save a smaller copy in a picture program, and predict that.",
    )


def _as_it_is(path: Path, picture: "Image", side: int, hint: str) -> Grey:
    """Return the pixels of a picture that fits. Raises a FormatError if it does not."""
    kind = KINDS.get(picture.mode, "colours")
    if picture.size != (side, side) or picture.mode.startswith(("I", "F")):
        what = f"is {picture.width} x {picture.height} pixels in {kind}, not {side} x {side} in 8-bit grey"
        raise FormatError(f"{path} {what}", hint=hint)
    red, green, blue, opacity = np.moveaxis(np.asarray(picture.convert("RGBA")), 2, 0)  # (28, 28, 4) -> 4 of (28, 28)
    if (red != green).any() or (red != blue).any() or (opacity != 255).any():
        raise FormatError(f"{path} has colours or transparent pixels, not {side} x {side} in 8-bit grey", hint=hint)
    return np.array(red, np.uint8)


def _scaled(picture: "Image", side: int, background: int) -> Grey:
    """Return a picture of any size and kind as a grey square on a background of this grey value."""
    from PIL import Image, ImageOps

    picture.draft("L", (4 * side, 4 * side))  # a JPEG file is decoded small at once
    upright = ImageOps.exif_transpose(picture)
    if upright.mode.startswith(("I", "F")):
        upright = _eight_bits(upright)
    grey = Image.new("L", upright.size)
    for top, band in _bands(upright):
        opaque = Image.new("RGBA", band.size, (background, background, background, 255))
        opaque.alpha_composite(band.convert("RGBA"))
        grey.paste(opaque.convert("L"), (0, top))
    grey.thumbnail((side, side), Image.Resampling.BOX)  # the mean of the pixels that become one
    if max(grey.size) < side:
        grey = ImageOps.contain(grey, (side, side), Image.Resampling.BILINEAR)
    # The margins have the colour of the corners, so that they add no edge to the picture.
    pixels: NDArray[Any] = np.asarray(grey)
    margin = int(np.median(pixels[[0, 0, -1, -1], [0, -1, 0, -1]]))
    return np.array(ImageOps.pad(grey, (side, side), color=margin), np.uint8)


def _bands(picture: "Image") -> Iterator[tuple[int, "Image"]]:
    """Yield the first row and the pixels of each band of rows."""
    rows = max(1, BAND_PIXELS // picture.width)
    for top in range(0, picture.height, rows):
        yield top, picture.crop((0, top, picture.width, min(top + rows, picture.height)))


def _eight_bits(picture: "Image") -> "Image":
    """Return grey of more bits as 8-bit grey, where white is 65,535, 255 or 1, depending on the largest value."""
    from PIL import Image

    largest = max(float(_values(band).max(initial=0)) for _, band in _bands(picture))
    white = 1.0 if largest <= 1 and picture.mode == "F" else 255.0 if largest <= 255 else 65535.0
    grey = Image.new("L", picture.size)
    for top, band in _bands(picture):
        values = (_values(band) * (255 / white)).clip(0, 255).round().astype(np.uint8)
        grey.paste(Image.fromarray(values), (0, top))
    return grey


def _values(picture: "Image") -> NDArray[np.float64]:
    return np.nan_to_num(np.asarray(picture, np.float64))
