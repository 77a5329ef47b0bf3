"""The statistics of grey values: right, and the same for any division of the values."""

from __future__ import annotations

import statistics as standard
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fmnist_fetch.tensors.statistics import statistics


@given(values=st.binary(min_size=1, max_size=300), cuts=st.lists(st.integers(0, 300), max_size=4))
def test_they_are_those_of_the_values_over_255_to_the_last_bit_wherever_the_parts_end(
    values: bytes, cuts: list[int]
) -> None:
    parts = [values[start:stop] for start, stop in pairwise([0, *sorted(cuts), len(values)])]
    mean, std = statistics(parts)
    assert mean == pytest.approx(standard.fmean(values) / 255, rel=1e-14)
    assert std == pytest.approx(standard.pstdev(values) / 255, rel=1e-14)
    assert statistics([values]) == (mean, std)


@pytest.mark.parametrize("parts", [[], [b""]])
def test_no_values_have_none(parts: list[bytes]) -> None:
    assert statistics(parts) == (None, None)
