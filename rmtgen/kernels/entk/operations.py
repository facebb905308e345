"""An operation that joins data with parameters, and the gradients that follow from it.

`capture` makes an `Operation` of every call of torch that has both data and static arguments (a
static tensor depends on parameters alone). The operation states which static argument meets data at
a `Site`, so that the gradient of that weight can be left in factors, and computes the per-sample
gradients of the other static arguments from the gradient of its output.

The first axis of every data tensor counts the samples, each with the same number of consecutive
rows (the windows of an image, for example); `audit` detects calls that violate this.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from jaxtyping import Float
from torch import Tensor

from rmtgen.errors import UsageError
from rmtgen.kernels.entk.dependence import parameter_names
from rmtgen.kernels.entk.sites import Site

PerSample = Iterator[tuple[Tensor, Tensor]]
"""Static tensors, each with its gradient for every sample: (b, *shape of the static tensor)."""


class BatchStatisticsError(UsageError):
    """A normalisation by the statistics of a batch, whose samples then depend on each other."""

    def __init__(self) -> None:
        super().__init__(
            "batch normalisation must use running statistics, or samples depend on each other: got"
            " batch statistics. Call model.eval(), with track_running_stats=True."
        )


class UnknownUseError(UsageError):
    """Parameters enter in a way that does not separate the samples.

    Attributes:
        names: Names of the parameters.
    """

    def __init__(self, names: Sequence[str], message: str):
        super().__init__(message)
        self.names = tuple(names)


class Operation:
    """A call that joins data with static tensors.

    Attributes:
        batch: Number b of samples.
        saved: The data tensors that `per_sample` and `factors` need, by key. The operations of
            `layers` save one, under the key "input".
        site: The site of the weight; None if the call has no such weight.
        weight: The static tensor at the site.
        input_key: Address, shape and strides of the data, equal for calls that share their input.
        first: Whether its data depend on no parameter, so that the backward pass ends here.
    """

    site: Site | None = None
    weight: Tensor | None = None
    input_key: tuple
    first: bool = False

    def __init__(self, batch: int, data: dict[Any, Tensor]):
        self.batch, self.saved = batch, data

    def save(self) -> None:
        """Save the data; called immediately before the call runs."""
        self.saved = {key: data.detach() for key, data in self.saved.items()}
        self.versions = {key: data._version for key, data in self.saved.items()}
        first = next(iter(self.saved.values()))
        self.input_key = first.data_ptr(), first.shape, first.stride()

    def run(self, func: Callable, args: Sequence, kwargs: dict) -> Any:
        """The result of the call, whose static arguments have no gradient.

        A subclass may compute it, and its gradient in the data, in a quicker way.
        """
        return func(*args, **kwargs)

    @property
    def overwritten(self) -> bool:
        """Whether saved data were changed in place."""
        return any(data._version != self.versions[key] for key, data in self.saved.items())

    @property
    def input(self) -> Tensor:
        """The data tensor of an operation that has only one."""
        return self.saved["input"]

    def fits(self) -> bool:
        """Whether the rows of the input are those of the samples, in order."""
        return self.input.ndim > 1 and len(self.input) % self.batch == 0

    def names(self) -> list[str]:
        """Names of the parameters that enter by this call."""
        return [name for static in self.statics() for name in parameter_names(static)]

    def statics(self) -> list[Tensor]:
        """Every static tensor that the call uses."""
        raise NotImplementedError

    def factors(
        self, grad: Float[Tensor, "..."]
    ) -> tuple[Float[Tensor, "b t_in c_in"], Float[Tensor, "b t c_out"]]:
        """Input and output gradient at the site.

        Args:
            grad: Gradient of the output of the call.
        """
        raise NotImplementedError

    def per_sample(self, grad: Float[Tensor, "..."]) -> PerSample:
        """The per-sample gradients of every static tensor but the weight of the site.

        Args:
            grad: Gradient of the output of the call.
        """
        raise NotImplementedError
