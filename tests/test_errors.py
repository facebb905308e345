"""Where warnings point."""

import inspect

import pytest

from rmtgen.errors import RmtgenWarning, warn


def test_a_warning_points_at_the_line_outside_the_package():
    """Through two functions of a module of rmtgen, which is made here: the check of shapes puts
    frames of its own between those of the real ones."""
    module = {"__name__": "rmtgen.somewhere", "warn": inspect.unwrap(warn)}
    exec("def public(): _private()\ndef _private(): warn('odd')", module)  # noqa: S102
    with pytest.warns(RmtgenWarning, match="odd") as caught:
        module["public"]()
    assert [warning.filename for warning in caught] == [__file__]
