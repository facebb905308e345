"""The stored gradients of a block of samples, two of which give a tile of the kernel.

A `Layout` decides once, from the calls of a small batch, which weight gradients are left in factors
and which rule contracts them. All other gradients are materialised during the backward pass and
stored in one matrix. The gradient of a weight is materialised if that is the cheapest rule and
takes no more memory than the factors, if the weight is reparametrised or grouped, and if it is used
more than once, because then its uses have cross terms.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from functools import partial

import torch
from jaxtyping import Float64
from torch import Tensor

from rmtgen.kernels.entk.dependence import parameter_names
from rmtgen.kernels.entk.gradients import Gradients
from rmtgen.kernels.entk.passes import Passes
from rmtgen.kernels.entk.precision import IEEE, Arithmetic
from rmtgen.kernels.entk.rules import Instantiate, Rule, choose
from rmtgen.kernels.entk.sites import Site

_ALIGNMENT = 64
"""Bytes at whose multiples the gradient of each sample begins.

Products round by where their result lies: else a gradient would depend on its place in a block.
"""


def sole_uses(passes: Passes) -> dict[int, tuple[str, Site]]:
    """The calls at whose site a parameter enters unchanged, if it enters nowhere else.

    Returns:
        Name of the parameter and site, by the number of the call.
    """
    calls, parameters = passes.probe[0].calls, passes.capture.parameters
    uses = Counter(name for call in calls for name in set(call.names()))
    found = {}
    for number, call in enumerate(calls):
        if call.site is not None:
            name = parameter_names(call.weight)[0]
            if call.weight is parameters.get(name) and uses[name] == 1:
                found[number] = name, call.site
    return found


@dataclass(frozen=True, eq=False)
class FactoredWeight:
    """A weight whose gradient is left in factors.

    Attributes:
        name: Name of the parameter.
        site: Its site.
        rule: The rule that contracts the factors.
        input_call: Number of the first call with the same input, which is stored once.
    """

    name: str
    site: Site
    rule: Rule
    input_call: int


@dataclass(frozen=True, eq=False)
class Part:
    """A part of the kernel: that of one output and some parameters.

    Attributes:
        output: Number of the output.
        spans: Columns of the materialised gradients.
        factored: Numbers of the calls that are left in factors.
    """

    output: int = 0
    spans: list[slice] = field(default_factory=list)
    factored: list[int] = field(default_factory=list)


@dataclass(frozen=True, eq=False)
class Layout:
    """How the gradient of a sample is stored.

    Attributes:
        outputs: Number of outputs with a kernel each.
        materialised: Entries of the materialised gradients, by parameter name, in order.
        factored: The weights in factors, by the number of the call.
        in_place: For a materialised weight with a single use, by name, the number of the call whose
            gradient can be written to its final place.
        sites: Weight and site of every call, by its number.
        arithmetic: How the gradients are multiplied.
        first: Number of the call at which the backward pass ends; -1 for the first of all.
    """

    outputs: int
    materialised: dict[str, int]
    factored: dict[int, FactoredWeight]
    in_place: dict[str, int]
    sites: dict[int, tuple[str, Site]]
    arithmetic: Arithmetic
    first: int = -1

    @property
    def products(self) -> str:
        """How products are made, by name: "ieee" where the device lacks what was asked for."""
        return self.arithmetic.name

    @classmethod
    def of(cls, passes: Passes, samples: int, kind: str, arithmetic: Arithmetic = IEEE) -> "Layout":
        """The layout for a kernel of `samples` samples, from the calls of the first pass.

        Args:
            passes: The network and its images.
            samples: Samples that the rules are chosen for.
            kind: Kind of the device that they are chosen for, "cpu" or "cuda".
            arithmetic: How the gradients are multiplied.
        """
        calls = passes.probe[0].calls
        sites = {
            number: (parameter_names(call.weight)[0], call.site)
            for number, call in enumerate(calls)
            if call.site is not None
        }
        first: dict[tuple, int] = {}
        factored, in_place = {}, {}
        for number, (name, site) in sole_uses(passes).items():
            rule = choose(site, samples, kind, arithmetic.rules)
            smaller = site.size <= site.t_in * site.c_in + site.t * site.c_out
            if site.groups > 1 or (isinstance(rule, Instantiate) and smaller):
                in_place[name] = number
            else:
                factored[number] = FactoredWeight(
                    name, site, rule, first.setdefault(calls[number].input_key, number)
                )
        left = {one.name for one in factored.values()}
        used = {name for call in calls for name in call.names()}
        materialised = {
            name: sites[in_place[name]][1].size if name in in_place else parameter.numel()
            for name, parameter in passes.capture.parameters.items()
            if (name in used and name not in left) or name in passes.capture.fallback
        }
        return cls(len(passes.probe), materialised, factored, in_place, sites, arithmetic)

    def restricted(self, names: Collection[str], first: int) -> "Layout":
        """The layout of some parameters alone, the first of which enters at the call `first`."""
        inputs: dict[int, int] = {}
        return replace(
            self,
            materialised={name: size for name, size in self.materialised.items() if name in names},
            factored={
                number: replace(one, input_call=inputs.setdefault(one.input_call, number))
                for number, one in self.factored.items()
                if one.name in names
            },
            in_place={name: number for name, number in self.in_place.items() if name in names},
            first=first,
        )

    def whole(self, output: int = 0) -> Part:
        """The kernel of one output, over all parameters."""
        return Part(output, [slice(0, self.width)], list(self.factored))

    def grouped(self, group: Callable[[str], str]) -> dict[str, Part]:
        """The parts of the kernel of the first output, by the value of `group` for each parameter.

        Adjacent columns of a part are merged into one span.
        """
        parts: dict[str, Part] = {}
        at, last = 0, None
        for name, size in self.materialised.items():
            part = parts.setdefault(group(name), Part())
            start = part.spans.pop().start if part is last else at
            part.spans.append(slice(start, at + size))
            at, last = at + size, part
        for number, one in self.factored.items():
            parts.setdefault(group(one.name), Part()).factored.append(number)
        return parts

    @property
    def width(self) -> int:
        """Entries of the materialised gradients per sample and output."""
        return sum(self.materialised.values())

    @property
    def largest(self) -> int:
        """Entries of the largest materialised gradient."""
        return max(self.materialised.values(), default=0)

    @property
    def entries(self) -> int:
        """Entries stored per sample in total."""
        inputs = sum(
            one.site.t_in * one.site.c_in
            for number, one in self.factored.items()
            if one.input_call == number
        )
        grads = sum(one.site.t * one.site.c_out for one in self.factored.values())
        return self.outputs * (self.width + grads) + inputs


class BlockGradients:
    """The stored gradients of n samples.

    Attributes:
        layout: How the gradients are stored.
        materialised: Materialised gradients, (outputs, n, layout.width).
        inputs: Inputs (n, t_in, c_in) of the calls in factors, by number; shared ones once.
        grads: Output gradients (outputs, n, t, c_out) of the calls in factors, by number.
    """

    def __init__(self, layout: Layout, n: int, dtype: torch.dtype, device: torch.device):
        self.layout = layout
        # zeros instead of empty: page faults under strided writes cost a CPU more than the writes
        new = partial(torch.zeros, dtype=dtype, device=device)
        aligned = 8 * _ALIGNMENT // torch.finfo(dtype).bits
        self._rows = new(layout.outputs, n, -(-layout.width // aligned) * aligned)
        self.materialised = self._rows[:, :, : layout.width]
        self.inputs = {
            number: new(n, one.site.t_in, one.site.c_in)
            for number, one in layout.factored.items()
            if one.input_call == number
        }
        self.grads = {
            number: new(layout.outputs, n, one.site.t, one.site.c_out)
            for number, one in layout.factored.items()
        }

    def __len__(self) -> int:
        return self.materialised.shape[1]

    def places(self, samples: slice) -> list[dict[int, Tensor]]:
        """The final places of the `in_place` gradients of some samples, for each output.

        Returns:
            For each output, the places by the number of the call.
        """
        in_place = self.layout.in_place
        return [
            {
                in_place[name]: place
                for name, place in self._columns(output, samples)
                if name in in_place
            }
            for output in range(self.layout.outputs)
        ]

    def put(self, samples: slice, captured: Sequence[Gradients]) -> None:
        """Store the gradients of some samples, except those already written in place.

        The gradient of a parameter that the output does not depend on remains zero.
        """
        for output, gradients in enumerate(captured):
            for name, place in self._columns(output, samples):
                if name in gradients.materialised:
                    place[:] = gradients.materialised[name].reshape(place.shape)
            for number, (a, g) in gradients.factors.items():
                # The output of some of the calls that share an input may be unused.
                self.inputs[self.layout.factored[number].input_call][samples] = a
                self.grads[number][output, samples] = g

    def part(self, samples: slice) -> "BlockGradients":
        """Some of the samples, without a copy."""
        found = copy(self)
        found._rows = self._rows[:, samples]
        found.materialised = self.materialised[:, samples]
        found.inputs = {number: own[samples] for number, own in self.inputs.items()}
        found.grads = {number: own[:, samples] for number, own in self.grads.items()}
        return found

    def arrays(self, samples: slice) -> list[Tensor]:
        """All that is stored of some samples, as contiguous tensors of it."""
        own = [*self._rows.unbind(), *self.inputs.values()]
        own += [part for grads in self.grads.values() for part in grads.unbind()]
        return [part[samples] for part in own]

    def _columns(self, output: int, samples: slice) -> Iterator[tuple[str, Tensor]]:
        parts = self.materialised[output, samples].split(
            list(self.layout.materialised.values()), dim=1
        )
        return zip(self.layout.materialised, parts, strict=True)

    def of(self, number: int, output: int) -> tuple[Tensor, Tensor]:
        """Input and output gradient of a weight in factors."""
        return self.inputs[self.layout.factored[number].input_call], self.grads[number][output]


def tile(
    rows: BlockGradients, columns: BlockGradients, part: Part, workspace: int
) -> Float64[Tensor, "n m"]:
    """A part of the kernel between two blocks of samples; symmetric if they are the same block.

    Args:
        rows: n samples.
        columns: m samples.
        part: Output and parameters.
        workspace: Bytes that may be allocated in addition to the result.
    """
    symmetric = rows is columns
    kernel = torch.zeros(
        len(rows), len(columns), dtype=torch.float64, device=rows.materialised.device
    )
    for span in part.spans:
        left, right = (side.materialised[part.output, :, span] for side in (rows, columns))
        rows.layout.arithmetic.multiply(kernel, left, right, symmetric=symmetric)
    for number in part.factored:
        one = rows.layout.factored[number]
        sides = (side.of(number, part.output) for side in (rows, columns))
        one.rule.add(kernel, one.site, *sides, workspace, symmetric)
    if symmetric:
        kernel = torch.tril(kernel) + torch.tril(kernel, -1).T
    return kernel
