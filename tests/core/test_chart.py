"""Charts in braille: every dot stands where its number is."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from blaidctl.core import chart

CURVES = st.lists(st.tuples(st.integers(0, 500), st.floats(-1e6, 1e6, allow_nan=False)), min_size=1, max_size=40).map(
    lambda points: sorted(dict(points).items())
)


def test_a_step_holds_until_the_next_and_a_jump_fills_its_column():
    assert chart.steps([0, 2, 3], [5.0, 1.0, 4.0], 4) == [(5.0, 5.0), (5.0, 5.0), (1.0, 5.0), (1.0, 4.0)]


def test_one_moment_fills_the_whole_width():
    assert chart.steps([7], [3.0], 3) == [(3.0, 3.0)] * 3


@given(CURVES, st.integers(2, 60))
def test_every_column_holds_what_the_curve_was_in_its_stretch(points: list[tuple[int, float]], columns: int):
    moments, values = [at for at, _ in points], [value for _, value in points]
    spans = chart.steps(moments, values, columns)
    assert len(spans) == columns
    width = (moments[-1] - moments[0]) or 1
    for at, value in points:
        column = round((at - moments[0]) * (columns - 1) / width) if len(points) > 1 else 0
        low, high = spans[column]
        assert low <= value <= high
    assert min(low for low, _ in spans) == min(values)
    assert max(high for _, high in spans) == max(values)


def test_values_are_placed_between_the_ends():
    assert chart.scaled([(0.0, 0.0), (10.0, 10.0), (0.0, 10.0)], 0.0, 10.0, 1) == [(0, 0), (3, 3), (0, 3)]
    assert chart.scaled([(5.0, 5.0)], 5.0, 5.0, 2) == [(0, 0)]


def test_dots_are_the_bits_of_braille():
    assert chart.braille([(3, 3), (0, 0)], 1) == [chr(0x2800 + 0x01 + 0x80)]
    assert chart.braille([(0, 3), (0, 3)], 1) == ["⣿"]
    assert chart.braille([None, None], 2) == ["⠀", "⠀"]
    assert chart.braille([(4, 4), None], 2) == [chr(0x2800 + 0x40), "⠀"]
