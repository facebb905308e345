"""The per-sample gradients of a batch."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from rmtgen.kernels.entk.operations import Operation


@dataclass(eq=False)
class Gradients:
    """The per-sample gradients of one output for a batch of b samples.

    Attributes:
        output: f(x), (b,).
        calls: The operations of the forward pass, in order.
        materialised: Per-sample gradients (b, *shape) by parameter name, summed over the uses of
            the parameter.
        factors: Input (b, t_in, c_in) and output gradient (b, t, c_out) of each call that is left
            in factors, by the number of the call.
        activations: Bytes of the data tensors of the forward pass.
        largest: Bytes of the largest of them.
        epsilon: Rounding error of the least precise data tensor.
    """

    output: Tensor
    calls: list[Operation]
    materialised: dict[str, Tensor] = field(default_factory=dict)
    factors: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict)
    activations: int = 0
    largest: int = 0
    epsilon: float = 0.0

    def add(self, name: str, gradient: Tensor) -> None:
        """Add a contribution to the per-sample gradient of a parameter."""
        self.materialised[name] = (
            self.materialised[name] + gradient if name in self.materialised else gradient
        )

    def first(self, rows: int) -> "Gradients":
        """The gradients of the first samples."""
        return replace(
            self,
            output=self.output[:rows],
            materialised={name: own[:rows] for name, own in self.materialised.items()},
            factors={number: (a[:rows], g[:rows]) for number, (a, g) in self.factors.items()},
        )

    @classmethod
    def joined(cls, parts: Sequence["Gradients"]) -> "Gradients":
        """The gradients of the samples of all parts, which have the same calls."""
        return replace(
            parts[0],
            output=torch.cat([part.output for part in parts]),
            materialised={
                name: torch.cat([part.materialised[name] for part in parts])
                for name in parts[0].materialised
            },
            factors={
                number: tuple(
                    map(torch.cat, zip(*(part.factors[number] for part in parts), strict=True))
                )
                for number in parts[0].factors
            },
        )
