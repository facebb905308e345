"""What every public function does before and after its work.

Its caller's settings of torch and NumPy are set aside, so that its bits do not depend on them, and
a lack of memory is named.
"""

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from rmtgen.ambient import untouched
from rmtgen.memory import shortage_named

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def public(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """A public function or method: the same one, whatever the state of its caller.

    Args:
        function: The function; it must return its result, not yield it.
    """

    @functools.wraps(function)
    def called(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        with untouched(), shortage_named(function.__qualname__):
            return function(*args, **kwargs)

    return called
