"""What is kept of a block of samples so that any two blocks give a tile of the kernel: formed
gradients, and factors of the others.

A `Layout` decides once, from the calls of a small batch, which weights are left in factors and by
which rule; all other parameters have their gradient formed while it is captured, and stored in one
matrix. A weight is formed where that is the cheapest and takes no more memory than its factors,
where it is reparametrised or grouped, and where it is used more than once, since its uses then have
cross terms.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

import torch
from jaxtyping import Float64
from torch import Tensor

from rmtgen.kernels.entk.capture import Gradients
from rmtgen.kernels.entk.marks import leaves
from rmtgen.kernels.entk.passes import Passes
from rmtgen.kernels.entk.rules import Instantiate, Rule, choose, multiply
from rmtgen.kernels.entk.sites import Site


def sole_uses(passes: Passes) -> dict[int, tuple[str, Site]]:
    """The calls at whose site a parameter enters as it is, and nowhere else: by number, its name
    and the site.
    """
    calls, parameters = passes.first[0].calls, passes.capture.parameters
    uses = Counter(name for call in calls for name in set(call.names()))
    found = {}
    for number, call in enumerate(calls):
        if call.site is not None:
            name = leaves(call.weight)[0]
            if call.weight is parameters.get(name) and uses[name] == 1:
                found[number] = name, call.site
    return found


@dataclass(frozen=True, eq=False)
class Late:
    """A weight left in factors: its name, its site, the rule that serves it, and the call whose
    input it shares.
    """

    name: str
    site: Site
    rule: Rule
    source: int


@dataclass(frozen=True, eq=False)
class Part:
    """A part of the kernel: of one output, some of the parameters.

    Attributes:
        output: number of the output.
        spans: columns of the formed gradients.
        late: numbers of the calls left in factors.
    """

    output: int = 0
    spans: list[slice] = field(default_factory=list)
    late: list[int] = field(default_factory=list)


@dataclass(frozen=True, eq=False)
class Layout:
    """How the gradient of a sample is stored.

    Attributes:
        outputs: how many outputs have a kernel each.
        formed: entries of the formed gradients, by parameter name, in order.
        late: the weights left in factors, by call number.
        straight: the call that alone gives the formed gradient of a weight, so that it can be
            written to its place at once, by name.
        sites: every call's weight and site, by call number.
    """

    outputs: int
    formed: dict[str, int]
    late: dict[int, Late]
    straight: dict[str, int]
    sites: dict[int, tuple[str, Site]]

    @classmethod
    def of(cls, passes: Passes, samples: int) -> "Layout":
        """Decide for a kernel of `samples` samples, from what the first batch gave."""
        calls = passes.first[0].calls
        sites = {
            number: (leaves(call.weight)[0], call.site)
            for number, call in enumerate(calls)
            if call.site is not None
        }
        first: dict[tuple, int] = {}
        late, straight = {}, {}
        for number, (name, site) in sole_uses(passes).items():
            rule = choose(site, samples, passes.device.type)
            formed_is_smaller = site.size <= site.t_in * site.c_in + site.t * site.c_out
            if site.groups > 1 or (isinstance(rule, Instantiate) and formed_is_smaller):
                straight[name] = number
            else:
                late[number] = Late(
                    name, site, rule, first.setdefault(calls[number].source, number)
                )
        left = {one.name for one in late.values()}
        used = {name for call in calls for name in call.names()}
        formed = {
            name: sites[straight[name]][1].size if name in straight else parameter.numel()
            for name, parameter in passes.capture.parameters.items()
            if (name in used and name not in left) or name in passes.capture.fallback
        }
        return cls(len(passes.first), formed, late, straight, sites)

    def whole(self, output: int = 0) -> Part:
        """The kernel of one output by all parameters."""
        return Part(output, [slice(0, self.width)], list(self.late))

    def grouped(self, group: Callable[[str], str]) -> dict[str, Part]:
        """The kernel of the first output in parts, by what `group` makes of the parameters' names;
        neighbouring columns are joined.
        """
        parts: dict[str, Part] = {}
        at, last = 0, None
        for name, size in self.formed.items():
            part = parts.setdefault(group(name), Part())
            start = part.spans.pop().start if part is last else at
            part.spans.append(slice(start, at + size))
            at, last = at + size, part
        for number, one in self.late.items():
            parts.setdefault(group(one.name), Part()).late.append(number)
        return parts

    @property
    def width(self) -> int:
        """Entries of a sample's formed gradients of one output."""
        return sum(self.formed.values())

    @property
    def largest(self) -> int:
        """Entries of the largest gradient that is formed at once."""
        return max(self.formed.values(), default=0)

    @property
    def entries(self) -> int:
        """Entries stored for a sample in all."""
        inputs = sum(
            one.site.t_in * one.site.c_in
            for number, one in self.late.items()
            if one.source == number
        )
        grads = sum(one.site.t * one.site.c_out for one in self.late.values())
        return self.outputs * (self.width + grads) + inputs


class Factors:
    """Everything stored of n samples."""

    def __init__(self, layout: Layout, n: int, dtype: torch.dtype, device: torch.device):
        self.layout = layout
        # zeros, not empty: pages that come into being one by one, under strided writes, cost a CPU
        # more than the writes
        new = partial(torch.zeros, dtype=dtype, device=device)
        self.formed = new(layout.outputs, n, layout.width)
        self.inputs = {
            number: new(n, one.site.t_in, one.site.c_in)
            for number, one in layout.late.items()
            if one.source == number
        }
        self.grads = {
            number: new(layout.outputs, n, one.site.t, one.site.c_out)
            for number, one in layout.late.items()
        }

    def __len__(self) -> int:
        return self.formed.shape[1]

    def places(self, samples: slice) -> list[dict[int, Tensor]]:
        """Where the straight gradients of some samples belong, for each output by call number."""
        straight = self.layout.straight
        return [
            {
                straight[name]: place
                for name, place in self._columns(output, samples)
                if name in straight
            }
            for output in range(self.layout.outputs)
        ]

    def put(self, samples: slice, captured: Sequence[Gradients]) -> None:
        """Store what was captured of some of the samples, the straight gradients being there; where
        none arrived it stays zero.
        """
        for output, gradients in enumerate(captured):
            for name, place in self._columns(output, samples):
                if name in gradients.direct:
                    place[:] = gradients.direct[name].flatten(1)
            for number, (a, g) in gradients.factors.items():
                # an input that several calls share comes with any of them whose output was used
                self.inputs[self.layout.late[number].source][samples] = a
                self.grads[number][output, samples] = g

    def _columns(self, output: int, samples: slice) -> Iterator[tuple[str, Tensor]]:
        parts = self.formed[output, samples].split(list(self.layout.formed.values()), dim=1)
        return zip(self.layout.formed, parts, strict=True)

    def of(self, number: int, output: int) -> tuple[Tensor, Tensor]:
        """Input and output gradient of a weight left in factors."""
        return self.inputs[self.layout.late[number].source], self.grads[number][output]


def tile(rows: Factors, columns: Factors, part: Part, work: int) -> Float64[Tensor, "n m"]:
    """A part of the kernel between two blocks of samples; exactly symmetric where they are one.

    Args:
        rows: n samples.
        columns: m samples.
        part: which output and parameters.
        work: bytes that may be allocated beside the result.
    """
    symmetric = rows is columns
    kernel = torch.zeros(len(rows), len(columns), dtype=torch.float64, device=rows.formed.device)
    for span in part.spans:
        left, right = (side.formed[part.output, :, span] for side in (rows, columns))
        multiply(kernel, left, right, symmetric=symmetric)
    for number in part.late:
        one = rows.layout.late[number]
        sides = (side.of(number, part.output) for side in (rows, columns))
        one.rule.add(kernel, one.site, *sides, work, symmetric)
    if symmetric:
        kernel = torch.tril(kernel) + torch.tril(kernel, -1).T
    return kernel
