"""Times as people write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rmtgen.errors import UsageError
from rmtgen.units import parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("10m", 600), ("10 min", 600), ("1.5h", 5400), ("1h30m", 5400), (" 2m 5s ", 125)],
)
def test_a_time_has_its_units(text, seconds):
    assert parse_duration(text) == seconds


@given(st.integers(0, 99), st.integers(0, 99), st.integers(1, 99))
def test_parts_of_a_time_add_up(hours, minutes, seconds):
    assert parse_duration(f"{hours}h{minutes}m{seconds}s") == 3600 * hours + 60 * minutes + seconds


@pytest.mark.parametrize("text", ["", "10", "m", "10x", "-5m", "5m later", "0s", "nan s", "1e3s"])
def test_what_is_no_time_is_refused(text):
    with pytest.raises(UsageError, match=f"such as 90s, 10m or 1h30m, got {text!r}"):
        parse_duration(text)
