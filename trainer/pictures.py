"""A reader's own picture, as the images of the data set are: grey, 28 x 28, one byte a pixel."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fmnist_fetch.errors import FetchError, FormatError, UsageError

HINT = "Save it as an 8-bit grey PNG of {1} x {0} pixels, a bright thing on a black ground."


def read_picture(path: Path, height: int = 28, width: int = 28) -> Tensor:
    """Read a picture file: -> (1, height, width) uint8.

    A coloured file is taken if all its pixels are grey and opaque. Raises a UsageError if there is no such file, a
    FormatError if it is no picture, of another size, or in colour.
    """
    try:
        from PIL import Image
    except ModuleNotFoundError as error:
        raise FetchError(
            "Pillow is not installed, which reads pictures", hint="Run: python -m pip install pillow"
        ) from error
    if not path.is_file():
        raise UsageError(
            f"{path} is neither a picture file nor the index of a test image",
            hint="Name a file, or an index from 0: python -m trainer predict RUN 0 1",
        )
    try:
        with Image.open(path) as picture:  # reads the header only: a huge picture costs nothing
            if picture.size == (width, height) and not picture.mode.startswith(("I", "F")):
                return _grey(path, np.asarray(picture.convert("RGBA")))
            what = f"is {picture.width} x {picture.height} pixels, mode {picture.mode}"
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        what = f"is not a picture that can be read ({type(error).__name__})"
    raise FormatError(f"{path} {what}", hint=HINT.format(height, width))


def _grey(path: Path, colours: np.ndarray) -> Tensor:
    red, green, blue, opacity = np.moveaxis(colours, 2, 0)  # (28, 28, 4) -> 4 of (28, 28)
    if (red != green).any() or (red != blue).any() or (opacity != 255).any():
        raise FormatError(f"{path} has colours or transparent pixels", hint=HINT.format(*red.shape))
    return torch.from_numpy(red.copy())[None]  # (1, 28, 28)
