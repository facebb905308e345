"""How a kernel is split into parts: by the names of parameters, or by output."""

from collections.abc import Callable

from rmtgen.errors import UsageError
from rmtgen.kernels.entk.factors import Layout, Part

WHOLE = "whole"
"""Name of the only part of a kernel that is not split."""

By = str | Callable[[str], str] | None
"""How a kernel is split into parts; see `entk_gram`."""


def check_split(by: By, output: int | str | None) -> None:
    """Refuse anything but a known split, and one by output together with a chosen output."""
    if not (by in (None, "layer", "output") or callable(by)):
        raise UsageError(
            f"by must be None, 'layer', 'output' or a function of a parameter's name, got {by!r}."
        )
    if by == "output" and output is not None:
        raise UsageError(
            f"by='output' gives the kernel of every output, got output={output!r} too. Omit one of"
            " them."
        )


def parts_of(layout: Layout, by: By) -> dict[str, Part]:
    """The parts of a kernel by name."""
    if by is None:
        return {WHOLE: layout.whole()}
    if by == "output":
        return {str(output): layout.whole(output) for output in range(layout.outputs)}
    return layout.grouped(_module_of if by == "layer" else by)


def _module_of(parameter: str) -> str:
    return parameter.rpartition(".")[0] or parameter
