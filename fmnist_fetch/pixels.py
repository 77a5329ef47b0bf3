"""Mean and standard deviation of grey values, counted in whole numbers: the same on every machine."""

from collections.abc import Iterable


def statistics(parts: Iterable[bytes]) -> tuple[float | None, float | None]:
    """Mean and standard deviation, both over 255, of all the uint8 values in PARTS; None and None if there are none."""
    import numpy as np

    counts = np.zeros(256, np.int64)
    for part in parts:
        counts += np.bincount(np.frombuffer(part, np.uint8), minlength=256)
    pixels, total, squares = (sum(int(n) * value**power for value, n in enumerate(counts)) for power in (0, 1, 2))
    if not pixels:
        return None, None
    # Whole numbers up to this step, so that no machine's way of adding floats shows.
    return total / pixels / 255, (pixels * squares - total * total) ** 0.5 / pixels / 255
