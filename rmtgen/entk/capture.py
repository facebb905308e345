"""One forward and one data-only backward pass: what the parameters' gradients are made of, for each sample of a batch.

A `Watch` sees every torch function that the model calls. A tensor made of parameters alone (a parameter, a standardised weight, an expanded
class token) is *static*; one that depends on the images is *data*. A call that joins the two is an `Operation`: it runs with its static
arguments detached, so that the backward pass computes no weight gradients, and a hook takes the gradient of its output. Those two give each
sample's gradient of the static arguments, and the graph from the parameters to them gives that of the parameters.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from rmtgen.entk.marks import is_data, is_static, leaves, mark_data, mark_static, tensors_in, without_gradient
from rmtgen.entk.operations import Operation, bind
from rmtgen.errors import NumericalError, UsageError


@dataclass(eq=False)
class Gradients:
    """What one batch of b samples gives.

    Attributes:
        output: f(x), (b,).
        calls: the operations that join data with parameters, in order.
        direct: per-sample gradients (b, *shape) by parameter name; a parameter used more than once has the sum.
        factors: for each call left in factors, its input (b, t_in, c_in) and output gradient (b, t, c_out), by call number.
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


class Capture:
    """Takes batches of images through a model and gives back their `Gradients`.

    Attributes:
        model: one output, eval mode, on its device; this object's own copy.
        parameters: those that require a gradient, by name.
        late: numbers of the calls whose weight gradient is left in factors; the others are formed at once.
        copies: numbers of the calls whose input the model overwrites later, found when that happens.
    """

    def __init__(self, model: nn.Module, output: int | str | None = None):
        self.model, self.output = model, output
        self.parameters = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
        for name, parameter in self.parameters.items():
            mark_static(parameter, [name])
        self.late: Collection[int] = ()
        self.copies: set[int] = set()

    def __call__(self, images: Float[Tensor, "b c h w"]) -> Gradients:
        """The gradients of a batch.

        Raises:
            UsageError: more than one output; batch statistics; a parameter that enters in a way no operation knows.
            NumericalError: an output is not finite.
        """
        while True:
            overwritten: set[int] = set()
            found = self._pass(images, overwritten)
            if not overwritten:
                return found
            self.copies |= overwritten  # the model changed what was kept; once known, the call keeps a copy

    def weighted_gradient(self, images: Float[Tensor, "b c h w"], weights: Float[Tensor, " b"]) -> dict[str, Tensor]:
        """Σ_i w_i ∇f(x_i) by parameter name, from one ordinary backward pass, without watching."""
        with torch.autocast(images.device.type, enabled=False), torch.enable_grad():
            value = self._scalar(self.model(images.clone()), len(images)) @ weights
            found = torch.autograd.grad(value, list(self.parameters.values()), retain_graph=True, materialize_grads=True)
        return dict(zip(self.parameters, found, strict=True))

    def _pass(self, images: Tensor, overwritten: set[int]) -> Gradients:
        statics: dict[int, tuple[Tensor, Tensor]] = {}

        def arrive(number: int, operation: Operation, grad: Tensor) -> None:
            if operation.overwritten:
                overwritten.add(number)
                return
            grad = grad.detach()
            self._take(found, statics, number, operation, grad)
            operation.kept = {}

        watch = Watch(len(images), self.copies, arrive)
        with torch.autocast(images.device.type, enabled=False), torch.enable_grad():
            images = images.clone(memory_format=torch.channels_last) if images.ndim == 4 else images.clone()
            mark_data(images)
            with watch:
                out = self.model(images)
            value = self._scalar(out, len(images))
            found = Gradients(value.detach(), watch.calls, activations=watch.activations)
            if watch.roots:
                torch.autograd.grad(value.sum(), watch.roots, allow_unused=True)
        for static, gradient in statics.values():
            self._pull_back(found, static, gradient)
        return found

    def _take(self, found: Gradients, statics: dict, number: int, operation: Operation, grad: Tensor) -> None:
        contributions = list(operation.direct(grad))
        if operation.site is not None:
            factors = operation.factors(grad)
            if number in self.late:
                found.factors[number] = factors
            else:
                contributions.append((operation.weight, operation.site.as_weight(operation.site.instantiate(*factors))))
        for static, gradient in contributions:
            before = statics.get(id(static))
            statics[id(static)] = (static, gradient if before is None else before[1] + gradient)

    def _pull_back(self, found: Gradients, static: Tensor, gradient: Float[Tensor, "b *static"]) -> None:
        """From a static tensor to the parameters that it is made of."""
        names = leaves(static)
        if static is self.parameters.get(names[0]):
            found.add(names[0], gradient)
            return
        made_of = [self.parameters[name] for name in names]
        pulled = torch.autograd.grad(
            static, made_of, gradient.to(static.dtype), is_grads_batched=True, retain_graph=True, allow_unused=True
        )
        for name, part in zip(names, pulled, strict=True):
            if part is not None:
                found.add(name, part)

    def _scalar(self, out: Any, batch: int) -> Float[Tensor, " b"]:
        if not isinstance(out, Tensor) or len(out) != batch:
            shape = tuple(out.shape) if isinstance(out, Tensor) else type(out).__name__
            raise UsageError(f"the model must return one tensor with a row a sample: expected ({batch}, 1), got {shape}.")
        rows = out.reshape(batch, -1)
        if self.output == "sum":
            return rows.sum(dim=1)
        if self.output is None and rows.shape[1] != 1:
            raise UsageError(
                f"the kernel is that of one output, got {rows.shape[1]}. Choose one: output=i; their sum: output='sum'; or a fresh "
                "head on the features: load_backbone(..., head='random')."
            )
        column = self.output or 0
        if not isinstance(column, int) or not -rows.shape[1] <= column < rows.shape[1]:
            raise UsageError(f"output must be None, 'sum' or a number below {rows.shape[1]}, got {self.output!r}.")
        return rows[:, column]


class Watch(TorchFunctionMode):
    """Runs inside a forward pass and collects its operations.

    Attributes:
        calls: the operations, in order.
        roots: the first outputs that depend on a parameter, where the backward pass ends.
        activations: bytes of all data tensors made, views left out.
    """

    def __init__(self, batch: int, copies: Collection[int], arrive: Callable[[int, Operation, Tensor], None]):
        super().__init__()
        self.batch, self.copies, self.arrive = batch, copies, arrive
        self.calls: list[Operation] = []
        self.roots: list[Tensor] = []
        self.activations = 0

    def __torch_function__(self, func: Callable, types: Any, args: Sequence = (), kwargs: dict | None = None) -> Any:
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
        operation.keep(copy=number in self.copies)
        operation.note_source()
        out = func(*without_gradient(args), **without_gradient(kwargs))
        if not isinstance(out, Tensor):
            raise UsageError(
                f"parameter {', '.join(operation.names())} must enter through an operation that returns one tensor: "
                f"{getattr(func, '__name__', func)} returns {type(out).__name__}. Freeze it, or rewrite that line."
            )
        self.calls.append(operation)
        watched = out
        if not out.requires_grad:
            self.roots.append(out.requires_grad_())
            out = out.clone()  # a leaf may not be changed in place, as the activation that follows is wont to do
        watched.register_hook(lambda grad: self.arrive(number, operation, grad))
        self._made(out)
        return out

    def _made(self, tensor: Tensor) -> None:
        if not is_data(tensor):
            mark_data(tensor)
            if tensor._base is None:
                self.activations += tensor.nbytes
