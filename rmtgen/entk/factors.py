"""What is kept of a block of samples so that any two blocks give a tile of the kernel: formed gradients, and factors of the others.

A `Layout` decides once, from the calls of a small batch, which weights are left in factors and by which rule; all other parameters have
their gradient formed while it is captured, and stored in one matrix. A weight is formed where that is the cheapest and takes no more memory
than its factors, where it is reparametrised or grouped, and where it is used more than once, since its uses then have cross terms.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float64
from torch import Tensor

from rmtgen.entk.capture import Capture, Gradients
from rmtgen.entk.marks import leaves
from rmtgen.entk.rules import Instantiate, Rule, choose, multiply
from rmtgen.entk.sites import Site


@dataclass(frozen=True, eq=False)
class Late:
    """A weight left in factors: its name, its site, the rule that serves it, and the call whose input it shares."""

    name: str
    site: Site
    rule: Rule
    source: int


@dataclass(frozen=True, eq=False)
class Layout:
    """How the gradient of a sample is stored.

    Attributes:
        formed: entries of the formed gradients, by parameter name, in order.
        late: the weights left in factors, by call number.
        straight: the call that alone gives the formed gradient of a weight, so that it can be written to its place at once, by name.
        sites: every call's weight and site, by call number.
    """

    formed: dict[str, int]
    late: dict[int, Late]
    straight: dict[str, int]
    sites: dict[int, tuple[str, Site]]

    @classmethod
    def of(cls, capture: Capture, gradients: Gradients, samples: int, device: str) -> "Layout":
        """Decide for a kernel of `samples` samples on a device, from the calls of one batch."""
        uses = Counter(name for call in gradients.calls for name in set(call.names()))
        numbered = [(number, call) for number, call in enumerate(gradients.calls) if call.site is not None]
        sites = {number: (leaves(call.weight)[0], call.site) for number, call in numbered}
        first: dict[tuple, int] = {}
        late, straight = {}, {}
        for number, call in numbered:
            name, site = sites[number]
            if call.weight is not capture.parameters.get(name) or uses[name] > 1:
                continue
            rule = choose(site, samples, device)
            formed_is_smaller = site.size <= site.t_in * site.c_in + site.t * site.c_out
            if site.groups > 1 or (isinstance(rule, Instantiate) and formed_is_smaller):
                straight[name] = number
            else:
                late[number] = Late(name, site, rule, first.setdefault(call.source, number))
        left = {one.name for one in late.values()}
        formed = {
            name: sites[straight[name]][1].size if name in straight else parameter.numel()
            for name, parameter in capture.parameters.items()
            if (uses[name] and name not in left) or name in capture.fallback
        }
        return cls(formed, late, straight, sites)

    @property
    def width(self) -> int:
        """Entries of a sample's formed gradients."""
        return sum(self.formed.values())

    @property
    def largest(self) -> int:
        """Entries of the largest gradient that is formed at once."""
        return max(self.formed.values(), default=0)

    @property
    def entries(self) -> int:
        """Entries stored for a sample in all."""
        inputs = sum(one.site.t_in * one.site.c_in for number, one in self.late.items() if one.source == number)
        return self.width + inputs + sum(one.site.t * one.site.c_out for one in self.late.values())


class Factors:
    """Everything stored of n samples."""

    def __init__(self, layout: Layout, n: int, dtype: torch.dtype, device: torch.device):
        self.layout = layout
        new = {"dtype": dtype, "device": device}
        self.formed = torch.empty(n, layout.width, **new)
        self.inputs = {
            number: torch.empty(n, one.site.t_in, one.site.c_in, **new)
            for number, one in layout.late.items()
            if one.source == number
        }
        self.grads = {number: torch.empty(n, one.site.t, one.site.c_out, **new) for number, one in layout.late.items()}

    def places(self, samples: slice) -> dict[int, Tensor]:
        """Where the straight gradients of some samples belong, by call number."""
        straight = self.layout.straight
        return {straight[name]: place for name, place in self._columns(samples) if name in straight}

    def put(self, samples: slice, gradients: Gradients) -> None:
        """Store what was captured of some of the samples, the straight gradients being there; where none arrived it is zero."""
        for name, place in self._columns(samples):
            found = gradients.direct.get(name)
            if self.layout.straight.get(name) not in gradients.written:
                place[:] = 0 if found is None else found.flatten(1)
        inputs = {}  # an input that several calls share comes with any of them whose output was used
        for number, one in self.layout.late.items():
            a, self.grads[number][samples] = gradients.factors.get(number, (None, 0))
            if a is not None:
                inputs[one.source] = a
        for source, stored in self.inputs.items():
            stored[samples] = inputs.get(source, 0)

    def _columns(self, samples: slice) -> Iterator[tuple[str, Tensor]]:
        parts = self.formed[samples].split(list(self.layout.formed.values()), dim=1)
        return zip(self.layout.formed, parts, strict=True)

    def of(self, number: int) -> tuple[Tensor, Tensor]:
        """Input and output gradient of a weight left in factors."""
        return self.inputs[self.layout.late[number].source], self.grads[number]


def tile(rows: Factors, columns: Factors, work: int) -> Float64[Tensor, "n m"]:
    """The kernel between two blocks of samples; exactly symmetric where they are one.

    Args:
        rows: n samples.
        columns: m samples.
        work: bytes that may be allocated beside the result.
    """
    symmetric = rows is columns
    kernel = torch.zeros(len(rows.formed), len(columns.formed), dtype=torch.float64, device=rows.formed.device)
    multiply(kernel, rows.formed, columns.formed, symmetric=symmetric)
    for number, one in rows.layout.late.items():
        one.rule.add(kernel, one.site, rows.of(number), columns.of(number), work, symmetric)
    if symmetric:
        kernel = torch.tril(kernel) + torch.tril(kernel, -1).T
    return kernel
