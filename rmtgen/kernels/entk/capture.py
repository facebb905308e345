"""Per-sample gradients of a batch, from one forward pass and one backward pass per output.

A tensor that depends on parameters alone (a parameter, a standardised weight, an expanded class
token) is *static*; one that depends on the images is *data*. A `Tracer` records every call that
joins the two as an `Operation`. Its input and output gradient give the per-sample gradients of its
static arguments; the graph from the parameters to the static arguments gives those of the
parameters. The backward pass computes no gradients of weights.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from rmtgen.errors import UsageError
from rmtgen.kernels.entk.alone import SoundBatchNorm, alone, leaf, only, plain_gradients
from rmtgen.kernels.entk.dependence import mark_data, mark_static, parameter_names, unmark
from rmtgen.kernels.entk.forming import form
from rmtgen.kernels.entk.generic import batched
from rmtgen.kernels.entk.gradients import Gradients
from rmtgen.kernels.entk.network import chosen_outputs, require_no_strays
from rmtgen.kernels.entk.operations import Operation
from rmtgen.kernels.entk.tracer import Tracer
from rmtgen.kernels.entk.trust import Watch, doubt

_OVERWRITES = (
    "what a gradient needs must last until the backward pass: the model overwrites some of it in"
    " place"
)
_RETURN_NEW = (
    "Make that operation return a new tensor; autograd itself has no gradient of such a model."
)


EACH = "each"
"""Value of `Capture.output`: every output of the model separately."""


class Capture:
    """Function from a batch of images to its `Gradients`.

    Attributes:
        model: Model in eval mode on its device, which this object may change.
        output: None for a model with one output; else the number of the output, "sum" for the sum
            of all, or `EACH`.
        parameters: The parameters that require a gradient, by name.
        fallback: Names of the parameters whose gradients are computed in separate passes.
        alone: Whether these passes are those of single samples by plain autograd, instead of one by
            torch.func.
        order: Order of the axes of images and four-dimensional parameters in memory.
        course: The operations of the checked forward pass, as `Tracer.course`; None before.
        factored: Numbers of the calls whose weight gradients are left in factors; all others are
            materialised.
    """

    def __init__(self, model: nn.Module, output: int | str | None = None):
        self.model, self.output = model, output
        self.parameters = {
            name: parameter
            for name, parameter in model.named_parameters()
            if parameter.requires_grad
        }
        for name, parameter in self.parameters.items():
            mark_static(parameter, [name])
        self.alone = False
        self.fallback: tuple[str, ...] = ()
        self.order = torch.preserve_format
        self._strides = {name: own.stride() for name, own in self.parameters.items()}
        self.course: list | None = None
        self.factored: Collection[int] = ()

    def fall_back(self, names: Sequence[str]) -> bool:
        """Let separate passes compute the gradients of some parameters from now on.

        Returns:
            Whether any of them was computed otherwise before.
        """
        fresh = [name for name in names if name not in self.fallback]
        for name in fresh:
            unmark(self.parameters[name].requires_grad_(False))
            self.course = None
        self.fallback += tuple(fresh)
        return bool(fresh)

    def __call__(
        self,
        images: Shaped[Tensor, "b ..."],
        weights: Float[Tensor, " b"] | None = None,
        into: Sequence[Mapping[int, Float[Tensor, "b _"]]] = (),
    ) -> list[Gradients]:
        """The gradients of a batch, for each requested output.

        Args:
            images: b samples.
            weights: Weights of a sum over the samples, with which `materialised` has one row; None:
                one row per sample.
            into: For each output, tensors to write the gradients of some calls at their sites to,
                by the number of the call, instead of to `materialised`.

        Raises:
            UsageError: The model lacks the requested output, uses batch statistics, or overwrites
                an input.
            UnknownUseError: A parameter enters in a way that no operation serves.
        """
        with self._settings(images):
            found = None
            if len(self.fallback) < len(self.parameters):
                with _sound(images), _not_overwritten():
                    found = self._passes(images, weights, into)
            return self._separate(images, weights, found) if self.fallback else found

    def go_alone(self) -> None:
        """Let plain autograd compute every gradient from now on, each sample in its own pass."""
        self.fall_back(list(self.parameters))
        self.alone, self.factored = True, ()

    def arrange(self, order: torch.memory_format) -> None:
        """Put the axes of parameters and images into an order; `preserve_format` is that given.

        Channels-last convolutions are about twice as fast, on the CPU and on the GPU.
        """
        self.order, self.course = order, None
        for name, parameter in self.parameters.items():
            if parameter.ndim == 4:
                given = torch.empty_strided(
                    parameter.shape,
                    self._strides[name],
                    dtype=parameter.dtype,
                    device=parameter.device,
                )
                parameter.data = (
                    given.copy_(parameter.data)
                    if order == torch.preserve_format
                    else parameter.data.contiguous(memory_format=order)
                )

    def outputs(self, images: Shaped[Tensor, "b ..."]) -> Float[Tensor, "b outputs"]:
        """The requested outputs, by the model alone; no operation is recorded."""
        return self._outputs(self.model(images), len(images))

    def forward_flops(self, images: Shaped[Tensor, "b ..."]) -> int:
        """FLOPs of the forward pass of the model alone, as torch counts them."""
        # the counter does not know the fused attention of every device
        attention, counter = sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False)
        with self._settings(images), self._plain(()), attention, counter:
            self.model(images)
        return counter.get_total_flops()

    def weighted_gradients(
        self, images: Shaped[Tensor, "b ..."], weights: Float[Tensor, " b"]
    ) -> tuple[list[dict[str, Tensor]], Watch, str | None]:
        """Σ_i w_i ∇f(x_i) by parameter name, for each output, from backward passes of autograd.

        The gradients are the reference of `audit`.

        Returns:
            The gradients, what the forward pass showed, and a reason why it may differ in other
            batches (see `trust`). With a reason there are no gradients.
        """
        with (
            self._settings(images),
            self._plain(self.parameters),
            _sound(images),
            _not_overwritten(),
        ):
            images = leaf(images)
            with Watch(images) as watch:
                out = self.outputs(images)
            require_no_strays(out, [images, *self.parameters.values()])
            reason = doubt(self.outputs, images, out, watch) if len(images) > 1 else None
            if reason is not None:
                return [], watch, reason
            return plain_gradients(weights.to(out.dtype) @ out, self.parameters), watch, None

    def _settings(self, images: Tensor) -> ExitStack:
        """The state of torch in a pass, whatever that of the caller."""
        stack = ExitStack()
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.autocast(images.device.type, enabled=False))
        stack.enter_context(torch.enable_grad())
        return stack

    @contextmanager
    def _plain(self, wanted: Collection[str]) -> Iterator[None]:
        """The model as a user runs it, with gradients of the wanted parameters alone.

        Its caches are dropped: they may lack the graph of a parameter.
        """
        self.model.train().eval()
        with only(self.parameters, wanted):
            yield
        self.model.train().eval()

    def _separate(
        self, images: Tensor, weights: Tensor | None, found: list[Gradients] | None
    ) -> list[Gradients]:
        """Add the gradients of the parameters in `fallback`: all, if there was no traced pass."""
        if self.alone:
            wanted = {name: self.parameters[name] for name in self.fallback}
            with self._plain(wanted):
                values, separate = alone(self.outputs, wanted, images)
            found = found or [Gradients(value, []) for value in values.unbind(dim=1)]
        else:
            separate = [self.by_vmap(images, number) for number in range(len(found))]
        for gradients, own in zip(found, separate, strict=True):
            for name, gradient in own.items():
                gradients.add(name, _summed(gradient, weights))
        return found

    def _passes(
        self, images: Tensor, weights: Tensor | None, into: Sequence[Mapping[int, Tensor]]
    ) -> list[Gradients]:
        """One forward pass, and one backward pass per output."""
        tracer = Tracer(len(images))
        order = self.order if images.ndim == 4 else torch.preserve_format
        images = images.clone(memory_format=order)
        mark_data(images)
        with tracer:
            out = self.model(images)
        self._same_course(tracer.course(), len(images))
        values = self._outputs(out, len(images))
        found = []
        for number, value in enumerate(values.unbind(dim=1)):
            last = number + 1 == values.shape[1]
            gradients = Gradients(
                value.detach(),
                tracer.calls,
                activations=tracer.activations,
                largest=tracer.largest,
                epsilon=max(map(_epsilon, tracer.dtypes)),
            )
            tracer.on_gradient = collector = _GradientCollector(
                gradients, self.factored, weights, into[number] if into else {}, last
            )
            if tracer.roots:
                torch.autograd.grad(
                    value.sum(), tracer.roots, allow_unused=True, retain_graph=not last
                )
            if collector.overwritten:
                raise UsageError(
                    f"{_OVERWRITES} (the input of {collector.overwritten[0]}). {_RETURN_NEW}"
                )
            for static, gradient in collector.statics.values():
                self._pull_back(gradients, static, gradient)
            found.append(gradients)
        tracer.release()
        return found

    def _same_course(self, course: list, batch: int) -> None:
        """Keep the operations of the first pass; all other passes must have the same.

        Raises:
            OtherCourseError: The operations differ.
        """
        if self.course is not None and course != self.course:
            raise OtherCourseError(f"a batch of {batch} passes through other operations")
        self.course = course

    def by_vmap(self, images: Tensor, number: int = 0) -> dict[str, Tensor]:
        """The per-sample gradients of one output in the parameters of `fallback`, by torch.func."""
        chosen = {name: self.parameters[name].detach() for name in self.fallback}

        def output(chosen: dict[str, Tensor], image: Tensor) -> Tensor:
            out = torch.func.functional_call(self.model, chosen, (image[None],))
            return self._outputs(out, 1)[0, number]

        found = batched(torch.func.grad(output), in_dims=(None, 0))(chosen, images)
        return {name: gradient.detach() for name, gradient in found.items()}

    def _pull_back(self, found: Gradients, static: Tensor, gradient: Tensor) -> None:
        """Add the gradients of the parameters of a static tensor, from its gradient (b, *shape)."""
        names = parameter_names(static)
        if static is self.parameters.get(names[0]):
            found.add(names[0], gradient)
            return
        made_of = [self.parameters[name] for name in names]
        pulled = torch.autograd.grad(
            static,
            made_of,
            gradient.to(static.dtype),
            is_grads_batched=True,
            retain_graph=True,
            allow_unused=True,
        )
        for name, part in zip(names, pulled, strict=True):
            if part is not None:
                found.add(name, part)

    def _outputs(self, out: Any, batch: int) -> Float[Tensor, "b outputs"]:
        each = self.output == EACH
        return chosen_outputs(out, batch, None if each else self.output, each=each)


@dataclass(eq=False)
class _GradientCollector:
    """The consumer of the output gradients of the calls during one backward pass.

    Attributes:
        found: The gradients of the output; those in factors are added here.
        factored: Numbers of the calls whose weight gradients are left in factors.
        weights: Weights of a sum over the samples, or None.
        into: Tensors to write the weight gradients of some calls to, by the number of the call.
        last: Whether no further backward pass follows.
        statics: Each static tensor with its gradient, by its identity.
        overwritten: Names of the parameters whose input was changed in place.
    """

    found: Gradients
    factored: Collection[int]
    weights: Float[Tensor, " b"] | None
    into: Mapping[int, Tensor]
    last: bool
    statics: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict)
    overwritten: list[str] = field(default_factory=list)

    def __call__(self, number: int, operation: Operation, grad: Tensor) -> None:
        """Compute the gradients of a call from its output gradient.

        Its data are freed in the last pass.
        """
        if operation.overwritten:
            self.overwritten.extend(operation.names())
            return
        for static, gradient in self._contributions(number, operation, grad.detach()):
            gradient = gradient.to(static.dtype)
            part, before = _summed(gradient, self.weights), self.statics.get(id(static))
            self.statics[id(static)] = (static, part if before is None else before[1] + part)
        if self.last:
            operation.saved = {}

    def _contributions(
        self, number: int, operation: Operation, grad: Tensor
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Static tensors with their per-sample gradients.

        A gradient that is left in factors, or that has a place of its own, is stored instead.
        """
        yield from operation.per_sample(grad)
        if operation.site is None:
            return
        a, g = operation.factors(grad)
        factors = a.to(operation.weight.dtype), g.to(operation.weight.dtype)
        if number in self.factored:
            self.found.factors[number] = factors
        elif number in self.into:
            form(operation.site, *factors, out=self.into[number])
        else:
            yield operation.weight, operation.site.as_weight(form(operation.site, *factors))


def _summed(gradient: Tensor, weights: Float[Tensor, " b"] | None) -> Tensor:
    """The rows; with weights, one row that is their weighted sum."""
    if weights is None:
        return gradient
    return torch.tensordot(weights.to(gradient.dtype), gradient, dims=1)[None]


def _epsilon(dtype: torch.dtype) -> float:
    return torch.finfo(dtype).eps if dtype.is_floating_point or dtype.is_complex else 0.0


def _sound(images: Tensor) -> AbstractContextManager:
    """The mode in which torch's gradients are right for this number of samples."""
    return SoundBatchNorm() if len(images) == 1 else nullcontext()


@contextmanager
def _not_overwritten() -> Iterator[None]:
    """Refuse a model that changes in place what its gradient needs."""
    try:
        yield
    except RuntimeError as failure:
        if "inplace operation" not in str(failure):
            raise
        raise UsageError(
            f"{_OVERWRITES} ({str(failure).split(';')[0]}). {_RETURN_NEW}"
        ) from failure


class OtherCourseError(UsageError):
    """A batch passes through other operations than those that were checked."""
