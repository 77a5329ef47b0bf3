"""Mean and standard deviation of grey values, counted in whole numbers: the same on every machine."""

from collections.abc import Iterable

# The square of a byte has two bytes: its high one and its low one.
_HIGH = bytes(value * value >> 8 for value in range(256))
_LOW = bytes(value * value & 255 for value in range(256))


def statistics(parts: Iterable[bytes]) -> tuple[float | None, float | None]:
    """Mean and standard deviation, both over 255, of all the uint8 values in PARTS; None and None if there are none."""
    pixels = total = squares = 0
    for part in parts:
        pixels += len(part)
        total += sum(part)
        squares += (sum(part.translate(_HIGH)) << 8) + sum(part.translate(_LOW))
    if not pixels:
        return None, None
    # Whole numbers up to this step, so that no machine's way of adding floats shows.
    return total / pixels / 255, (pixels * squares - total * total) ** 0.5 / pixels / 255
