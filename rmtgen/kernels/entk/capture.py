"""One forward pass and a data-only backward pass an output: what the parameters' gradients are made
of, for each sample of a batch.

A `Watch` sees every torch function that the model calls. A tensor made of parameters alone (a
parameter, a standardised weight, an expanded class token) is *static*; one that depends on the
images is *data*. A call that joins the two is an `Operation`: it runs with its static arguments
detached, so that the backward pass computes no weight gradients, and a hook takes the gradient of
its output. Those two give each sample's gradient of the static arguments, and the graph from the
parameters to them gives that of the parameters.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.hooks import RemovableHandle

from rmtgen.errors import UsageError
from rmtgen.kernels.entk.marks import (
    is_data,
    is_static,
    leaves,
    mark_constant,
    mark_data,
    mark_static,
    tensors_in,
    without_gradient,
)
from rmtgen.kernels.entk.operations import Operation, UnknownUseError, batched, bind

_OVERWRITES = (
    "what a gradient needs must last until the backward pass: the model overwrites some of it in"
    " place"
)
_RETURN_NEW = (
    "Make that operation return a new tensor; autograd itself has no gradient of such a model."
)


@dataclass(eq=False)
class Gradients:
    """What one batch of b samples gives for one output.

    Attributes:
        output: f(x), (b,).
        calls: the operations that join data with parameters, in order.
        direct: per-sample gradients (b, *shape) by parameter name; a parameter used more than once
            has the sum.
        factors: for each call left in factors, its input (b, t_in, c_in) and output gradient (b, t,
            c_out), by call number.
        activations: bytes of the data tensors that the forward pass made.
    """

    output: Tensor
    calls: list[Operation]
    direct: dict[str, Tensor] = field(default_factory=dict)
    factors: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict)
    activations: int = 0

    def add(self, name: str, gradient: Tensor) -> None:
        """Add a contribution to the per-sample gradient of a parameter."""
        self.direct[name] = self.direct[name] + gradient if name in self.direct else gradient


EACH = "each"
"""Every output of the model by itself."""


class Capture:
    """Takes batches of images through a model and gives back their `Gradients`.

    Attributes:
        model: eval mode, on its device; this object's own copy.
        output: None where the model has one output; else the number of the one to differentiate,
            "sum" for their sum, or `EACH`.
        parameters: those that require a gradient, by name.
        fallback: names of those whose gradients torch.func takes, in a pass of its own.
        late: numbers of the calls whose weight gradient is left in factors; the others are formed
            at once.
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
        self.fallback: tuple[str, ...] = ()
        self.late: Collection[int] = ()

    def fall_back(self, names: Sequence[str]) -> bool:
        """Leave parameters to torch.func from now on; whether there was one among them that was
        not.
        """
        fresh = [name for name in names if name not in self.fallback]
        for name in fresh:
            mark_constant(self.parameters[name].requires_grad_(False))
        self.fallback += tuple(fresh)
        return bool(fresh)

    def __call__(
        self,
        images: Float[Tensor, "b c h w"],
        weights: Float[Tensor, " b"] | None = None,
        into: Sequence[Mapping[int, Float[Tensor, "b p"]]] = (),
    ) -> list[Gradients]:
        """The gradients of a batch, for each output that is asked for.

        Args:
            images: b samples.
            weights: sum the gradients over the samples with these weights at once, so that `direct`
                has one row; None: a row a sample.
            into: for each output, where the gradient of the weight at the site of some calls is to
                be written, instead of to `direct`.

        Raises:
            UsageError: not the outputs asked for; batch statistics; an input that the model
                overwrites.
            UnknownUseError: a parameter enters in a way that no operation knows.
        """
        with torch.autocast(images.device.type, enabled=False), torch.enable_grad():
            try:
                found = self._passes(images, weights, into)
            except RuntimeError as failure:
                if "inplace operation" not in str(failure):
                    raise
                raise UsageError(
                    f"{_OVERWRITES} ({str(failure).split(';')[0]}). {_RETURN_NEW}"
                ) from failure
            for number, gradients in enumerate(found if self.fallback else ()):
                for name, gradient in self.by_vmap(images, number).items():
                    gradients.add(name, _summed(gradient, weights))
        return found

    def weighted_gradients(
        self, images: Float[Tensor, "b c h w"], weights: Float[Tensor, " b"]
    ) -> list[dict[str, Tensor]]:
        """Σ_i w_i ∇f(x_i) by parameter name, for each output, from ordinary backward passes,
        without watching.
        """
        spare = {name: self.parameters[name].detach().requires_grad_() for name in self.fallback}
        wanted = {**self.parameters, **spare}
        with torch.autocast(images.device.type, enabled=False), torch.enable_grad():
            out = torch.func.functional_call(self.model, spare, (images.clone(),))
            values = weights @ self._outputs(out, len(images))
            found = [
                torch.autograd.grad(
                    value, list(wanted.values()), retain_graph=True, materialize_grads=True
                )
                for value in values
            ]
        return [dict(zip(wanted, gradients, strict=True)) for gradients in found]

    def _passes(
        self, images: Tensor, weights: Tensor | None, into: Sequence[Mapping[int, Tensor]]
    ) -> list[Gradients]:
        """One forward pass, and a backward pass an output."""
        watch = Watch(len(images))
        images = (
            images.clone(memory_format=torch.channels_last) if images.ndim == 4 else images.clone()
        )
        mark_data(images)
        with watch:
            out = self.model(images)
        values = self._outputs(out, len(images))
        found = []
        for number, value in enumerate(values.unbind(dim=1)):
            last = number + 1 == values.shape[1]
            gradients = Gradients(value.detach(), watch.calls, activations=watch.activations)
            watch.arrive = arrivals = _Arrivals(
                self, gradients, weights, into[number] if into else {}, last
            )
            if watch.roots:
                torch.autograd.grad(
                    value.sum(), watch.roots, allow_unused=True, retain_graph=not last
                )
            if arrivals.overwritten:
                raise UsageError(
                    f"{_OVERWRITES} (the input that meets {arrivals.overwritten[0]}). {_RETURN_NEW}"
                )
            for static, gradient in arrivals.statics.values():
                self._pull_back(gradients, static, gradient)
            found.append(gradients)
        watch.release()
        return found

    def by_vmap(self, images: Tensor, number: int = 0) -> dict[str, Tensor]:
        """Per-sample gradients of one output by the parameters in `fallback`: one more pass,
        batched by torch.func.
        """
        chosen = {name: self.parameters[name].detach() for name in self.fallback}

        def output(chosen: dict[str, Tensor], image: Tensor) -> Tensor:
            out = torch.func.functional_call(self.model, chosen, (image[None],))
            return self._outputs(out, 1)[0, number]

        found = batched(torch.func.grad(output), in_dims=(None, 0))(chosen, images)
        return {name: gradient.detach() for name, gradient in found.items()}

    def _pull_back(self, found: Gradients, static: Tensor, gradient: Tensor) -> None:
        """From a static tensor, with a gradient (b, *shape), to the parameters that it is made of."""
        names = leaves(static)
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
        if not isinstance(out, Tensor) or len(out) != batch:
            shape = tuple(out.shape) if isinstance(out, Tensor) else type(out).__name__
            raise UsageError(
                f"the model must return one tensor with a row a sample: expected ({batch}, 1), got"
                f" {shape}."
            )
        rows = out.reshape(batch, -1)
        if self.output == EACH:
            return rows
        if self.output == "sum":
            return rows.sum(dim=1, keepdim=True)
        if self.output is None and rows.shape[1] != 1:
            raise UsageError(
                f"the kernel is that of one output, got {rows.shape[1]}. Choose one: output=i;"
                " their sum: output='sum'; one kernel each: by='output'; or a fresh head on the"
                " features: load_backbone(..., head='random')."
            )
        column = self.output or 0
        if not isinstance(column, int) or not -rows.shape[1] <= column < rows.shape[1]:
            raise UsageError(
                f"output must be None, 'sum' or a number below {rows.shape[1]}, got"
                f" {self.output!r}."
            )
        return rows[:, column].unsqueeze(1)


class _Arrivals:
    """Takes the output gradients of the calls as one backward pass reaches them.

    Attributes:
        statics: the gradients of the static tensors, with the tensor, by its identity.
        overwritten: parameters that met an input which is no longer what it was.
    """

    def __init__(
        self,
        capture: Capture,
        found: Gradients,
        weights: Tensor | None,
        into: Mapping[int, Tensor],
        last: bool,
    ):
        self.capture, self.found, self.weights, self.into, self.last = (
            capture,
            found,
            weights,
            into,
            last,
        )
        self.statics: dict[int, tuple[Tensor, Tensor]] = {}
        self.overwritten: list[str] = []

    def __call__(self, number: int, operation: Operation, grad: Tensor) -> None:
        """Make what can be made of a call's output gradient; its data are let go of after the last
        pass.
        """
        if operation.overwritten:
            self.overwritten.extend(operation.names())
            return
        for static, gradient in self._contributions(number, operation, grad.detach()):
            part, before = _summed(gradient, self.weights), self.statics.get(id(static))
            self.statics[id(static)] = (static, part if before is None else before[1] + part)
        if self.last:
            operation.kept = {}

    def _contributions(
        self, number: int, operation: Operation, grad: Tensor
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Static tensors with a gradient for each sample; what is left in factors, or has a place
        of its own, is put there.
        """
        yield from operation.direct(grad)
        if operation.site is None:
            return
        factors = operation.factors(grad)
        if number in self.capture.late:
            self.found.factors[number] = factors
        elif number in self.into:
            operation.site.instantiate(*factors, out=self.into[number])
        else:
            yield operation.weight, operation.site.as_weight(operation.site.instantiate(*factors))


def _summed(gradient: Float[Tensor, "b ..."], weights: Float[Tensor, " b"] | None) -> Tensor:
    """The rows as they are, or one row, their sum with weights."""
    return gradient if weights is None else torch.tensordot(weights, gradient, dims=1)[None]


class Watch(TorchFunctionMode):
    """Runs inside a forward pass and collects its operations.

    Attributes:
        calls: the operations, in order.
        roots: the first outputs that depend on a parameter, where the backward pass ends.
        activations: bytes of all data tensors made, views left out.
        arrive: what is called with each output gradient.
    """

    arrive: Callable[[int, Operation, Tensor], None]

    def __init__(self, batch: int):
        super().__init__()
        self.batch = batch
        self.calls: list[Operation] = []
        self.roots: list[Tensor] = []
        self.hooks: list[RemovableHandle] = []
        self.activations = 0

    def release(self) -> None:
        """Let go of the graph at once: it refers to this object and this object to it, and Python
        would collect both much later.
        """
        for hook in self.hooks:
            hook.remove()
        self.roots.clear()

    def __torch_function__(
        self, func: Callable, types: Any, args: Sequence = (), kwargs: dict | None = None
    ) -> Any:
        """Run a torch function, as an operation where it joins data with parameters."""
        kwargs = kwargs or {}
        tensors = list(tensors_in((args, kwargs)))
        data, static = any(map(is_data, tensors)), any(map(is_static, tensors))
        if data and static:
            return self._join(func, args, kwargs)
        out = func(*args, **kwargs)
        for made in tensors_in(out):
            if data:
                self._made(made)
            elif static and made.requires_grad and not is_static(made):
                mark_static(made, (name for tensor in tensors for name in leaves(tensor)))
        return out

    def _join(self, func: Callable, args: Sequence, kwargs: dict) -> Tensor:
        number = len(self.calls)
        operation = bind(func, args, kwargs, self.batch)
        operation.keep()
        out = func(*without_gradient(args), **without_gradient(kwargs))
        if not isinstance(out, Tensor):
            names, called = operation.names(), getattr(func, "__name__", func)
            raise UnknownUseError(
                names,
                f"parameter {', '.join(names)} must enter through an operation that returns one"
                f" tensor, or one that torch.func can batch: {called} returns {type(out).__name__}."
                " Freeze it (requires_grad=False) to leave it out of the kernel.",
            )
        self.calls.append(operation)
        watched = out
        if not out.requires_grad:
            self.roots.append(out.requires_grad_())
            out = (
                out.clone()
            )  # a leaf may not be changed in place, as the activation that follows is wont to do
        self.hooks.append(watched.register_hook(lambda grad: self.arrive(number, operation, grad)))
        self._made(out)
        return out

    def _made(self, tensor: Tensor) -> None:
        if not is_data(tensor):
            mark_data(tensor)
            if tensor._base is None:
                self.activations += tensor.nbytes
