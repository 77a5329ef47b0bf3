"""Images of the user: read as they are or scaled, and refused with two lines that say what to do."""

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is not installed: run make train first")
image = pytest.importorskip("PIL.Image", reason="Pillow is not installed: run make train first")

from fmnist_fetch.tensors.arrays import load  # noqa: E402
from tinydata import Tiny, complaint  # noqa: E402
from trainer.__main__ import main  # noqa: E402
from trainer.picture_file import MAX_MEGAPIXELS, looks_inverted, read_picture  # noqa: E402

Answers = Callable[..., list[str]]


@pytest.fixture
def grey(tiny: Tiny) -> np.ndarray:
    """Return a test image (28, 28) uint8 with black corners."""
    picture: np.ndarray = load(str(tiny.manifest), "test", tiny.root).images[7].copy()
    picture[[0, 0, -1, -1], [0, -1, 0, -1]] = 0
    return picture


@pytest.fixture
def answers(tiny: Tiny, finished: Path, capsys: pytest.CaptureFixture[str]) -> Answers:
    """Return the lines with labels that predict prints for some words."""

    def ask(*words: object) -> list[str]:
        assert main(["predict", str(finished), *map(str, words), "--root", str(tiny.root)]) == 0
        return capsys.readouterr().out.splitlines()[1:]

    return ask


def save(pixels: np.ndarray, name: str = "own.png") -> str:
    """Save pixels as an image in the working folder, and return its name."""
    image.fromarray(pixels).save(name)
    return name


def test_an_own_picture_gets_the_labels_of_its_test_image(tiny: Tiny, answers: Answers) -> None:
    pixels = load(str(tiny.manifest), "test", tiny.root).images[7]
    if looks_inverted(pixels):
        pytest.skip("this test image has bright corners")
    image.fromarray(pixels).convert("RGB").save("colours.png")
    assert answers("7") == answers(save(pixels)) == answers("colours.png")
    assert len(answers("7")) == 3


def test_an_inverted_picture_gets_them_with_invert(grey: np.ndarray, answers: Answers) -> None:
    assert answers(save(255 - grey, "dark.png"), "--invert") == answers(save(grey))


@pytest.mark.parametrize(
    "variant",
    [
        lambda grey: image.fromarray(grey).resize((280, 280), image.Resampling.NEAREST),
        lambda grey: image.fromarray(grey).convert("RGB").resize((56, 56), image.Resampling.NEAREST),
        lambda grey: image.fromarray(grey.astype(np.uint16) * 257),
        lambda grey: image.fromarray(grey.astype(np.float32) / 255),
    ],
    ids=["large", "colours", "16-bit grey", "floating-point grey"],
)
def test_resize_takes_pictures_of_any_size_and_kind(
    variant: Callable[[np.ndarray], Any], grey: np.ndarray, answers: Answers
) -> None:
    variant(grey).save("photo.tiff")
    (expected, _, _), (found, _, _) = answers(save(grey)), answers("photo.tiff", "--resize")
    assert found.split()[:2] == expected.split()[:2]
    assert float(found.split()[-1]) == pytest.approx(float(expected.split()[-1]), abs=0.05)


def test_resize_keeps_the_proportions_and_fills_the_margins_like_the_corners() -> None:
    wide = np.full((20, 80), 10, np.uint8)
    wide[5:15, 10:70] = 250
    small = read_picture(Path(save(wide)), 28, resize=True, invert=False, hint="")
    assert small.shape == (28, 28)
    assert (small[:8] == 10).all()
    assert (small[-8:] == 10).all()
    assert small.max() > 200


def test_transparent_pixels_are_background_also_of_an_inverted_picture() -> None:
    drawn = np.zeros((28, 28, 4), np.uint8)  # black strokes on a transparent ground
    drawn[10:18, 10:18, 3] = 255
    image.fromarray(drawn).save("drawn.png")
    small = read_picture(Path("drawn.png"), 28, resize=True, invert=True, hint="")
    assert small[0, 0] == 0
    assert small[14, 14] == 255


def test_a_photo_that_was_taken_on_its_side_is_turned_upright() -> None:
    pixels = np.zeros((40, 40), np.uint8)
    pixels[:10] = 255
    picture = image.fromarray(pixels)
    exif = picture.getexif()
    exif[0x0112] = 3  # turned by 180 degrees
    picture.save("turned.jpg", exif=exif)
    small = read_picture(Path("turned.jpg"), 28, resize=True, invert=False, hint="")
    assert small[-2].mean() > 200 > 50 > small[1].mean()


@pytest.mark.parametrize("more", [[], ["--resize"]])
def test_a_bright_background_is_noticed_and_no_label_is_printed(
    more: list[str], tiny: Tiny, finished: Path, grey: np.ndarray, capsys: pytest.CaptureFixture[str]
) -> None:
    name = save(255 - grey, "a photo.png")
    assert main(["predict", str(finished), name, *more, "--root", str(tiny.root)]) == 6
    shown = capsys.readouterr()
    assert shown.out == ""
    error, hint = shown.err.splitlines()
    assert error == f"error: {name} has a bright background where the training images have a black one"
    assert hint.startswith("hint: It looks inverted: try --invert: ")
    assert main(shlex.split(hint.partition(" -m trainer ")[2])) == 0


def test_an_inversion_too_many_is_noticed_too(
    finished: Path, grey: np.ndarray, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["predict", str(finished), save(grey), "--invert"]) == 6
    assert "try without --invert" in complaint(capsys)[1]


@pytest.mark.parametrize(
    ("mode", "size", "colour"),
    [
        ("L", (27, 28), 0), ("L", (28, 56), 0), ("RGB", (28, 28), (9, 0, 9)), ("RGB", (28, 28), (9, 9, 0)),
        ("RGBA", (28, 28), (9, 9, 9, 0)), ("I;16", (28, 28), 1000), ("F", (28, 28), 0.5),
    ],
)  # fmt: skip
def test_a_picture_of_another_shape_or_kind_is_a_clear_error(
    finished: Path, mode: str, size: tuple[int, int], colour: object, capsys: pytest.CaptureFixture[str]
) -> None:
    image.new(mode, size, colour).save("picture.tiff")
    assert main(["predict", str(finished), "picture.tiff"]) == 6
    error, hint = complaint(capsys)
    assert "picture.tiff" in error
    assert "28 x 28 in 8-bit grey" in error
    assert mode not in error.split() or mode == "RGB"
    assert mode != "I;16" or "is 28 x 28 pixels in 16-bit grey" in error
    assert "--resize" in hint


def test_what_is_no_picture_is_a_clear_error(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("text.png").write_text("no picture")
    Path("cut.png").write_bytes(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x1c\0\0\0\x1c\x08\0\0\0\0")
    for name, code in (("text.png", 6), ("cut.png", 6), ("absent.png", 2), (".", 2)):
        assert main(["predict", str(finished), name]) == code
        complaint(capsys)


@pytest.mark.parametrize(("width", "height"), [(10_000, 10_000), (60_000, 60_000), (1, 40_000), (40_000, 1)])
@pytest.mark.parametrize("more", [[], ["--resize"]])
def test_a_file_of_many_megapixels_is_refused_before_it_is_decoded(
    width: int, height: int, more: list[str], finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import struct
    import zlib

    header = struct.pack(">2I5B", width, height, 8, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(bytes(1000))), (b"IEND", b""))
    body = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
    Path("bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    assert main(["predict", str(finished), "bomb.png", *more]) == 6
    assert f"the limit is {MAX_MEGAPIXELS} megapixels, and 30,000 pixels a side" in complaint(capsys)[0]


def test_a_file_of_many_scans_is_refused_before_it_is_decoded(
    finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image.new("L", (2000, 2000)).save("scans.jpeg", progressive=True)
    whole = Path("scans.jpeg").read_bytes()
    assert main(["predict", str(finished), "scans.jpeg", "--resize"]) == 0
    at = whole.index(b"\xff\xda")
    Path("scans.jpeg").write_bytes(whole[:at] + whole[at : at + 20] * 50_000)
    capsys.readouterr()
    assert main(["predict", str(finished), "scans.jpeg", "--resize"]) == 6
    assert "has 50,000 scans; the limit is 200" in complaint(capsys)[0]


@pytest.mark.parametrize("mode", ["L", "RGBA", "I", "I;16", "F"])
def test_a_picture_is_scaled_the_same_in_bands_and_as_a_whole(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(3).integers(0, 2**16 if mode.startswith("I") else 256, (90, 70))
    if mode == "RGBA":
        picture = image.fromarray(np.dstack([values, values // 2, values // 3, values[::-1]]).astype(np.uint8))
    else:
        picture = image.fromarray(
            values.astype({"L": np.uint8, "I": np.int32, "I;16": np.uint16, "F": np.float32}[mode])
        )
    picture.save("picture.tiff")
    whole = read_picture(Path("picture.tiff"), 28, resize=True, invert=False, hint="")
    monkeypatch.setattr("trainer.picture_file.BAND_PIXELS", 1)
    assert (read_picture(Path("picture.tiff"), 28, resize=True, invert=False, hint="") == whole).all()
