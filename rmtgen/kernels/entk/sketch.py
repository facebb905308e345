"""Random projections of gradients to m dimensions: N rows instead of N² products.

The gradient of a weight is computed for a few output channels at a time. Every entry is multiplied
by a random sign, every m consecutive entries are rotated by a random shift, and all are added to
one row of m entries. This is a count sketch that hashes m entries at a time. Its products are
unbiased: for gradients x and y the product of their rows has mean ⟨x, y⟩ and a variance of at most
(‖x‖²‖y‖² + ⟨x, y⟩²)/m. A row costs one addition per entry, and the gradient of a whole sample is
never in memory.

References:
    Charikar, Chen & Farach-Colton 2002; Weinberger et al. 2009.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from tqdm import tqdm

from rmtgen.device import fp32_precision
from rmtgen.entrance import public
from rmtgen.errors import NumericalError, UsageError
from rmtgen.kernels.entk.factors import sole_uses
from rmtgen.kernels.entk.forming import form
from rmtgen.kernels.entk.network import check_output
from rmtgen.kernels.entk.passes import Images, Passes
from rmtgen.kernels.entk.sites import Site
from rmtgen.models.inputs import Samples
from rmtgen.scalars import whole_number
from rmtgen.units import parse_bytes

_CHUNK = 2**15
"""Entries of the gradient of a weight that are computed at a time.

The number is fixed because the sketch depends on it.
"""


@public
def entk_features(  # noqa: PLR0913 - one public function for one question
    model: nn.Module,
    images: Images,
    dim: int = 4096,
    *,
    seed: int = 0,
    device: str | torch.device | None = None,
    memory: str | int = "4GiB",
    dtype: torch.dtype | None = None,
    output: int | str | None = None,
    progress: bool = False,
) -> Float[Tensor, "n dim"]:
    """Random sketches F of the gradients, with E[F Fᵀ] = K, the kernel of `entk_gram`.

    The relative error of F Fᵀ (Frobenius norm, root mean square over seeds) is at most
    √(((tr K)² + ‖K‖²)/dim)/‖K‖; `sketch_error` measures it.

    Args:
        model: As for `entk_gram`.
        images: n images.
        dim: Number m of columns.
        seed: Seed of the signs and shifts, which are equal on every device.
        device: As for `entk_gram`.
        memory: Budget in bytes for the passes and the signs (one number per parameter), to which
            model, images and result do not count.
        dtype: Type of the computation and of the result.
        output: As for `entk_gram`.
        progress: Show a bar on stderr if that is a terminal.

    Returns:
        F (n, dim) on the CPU.

    Raises:
        UsageError: As for `entk_gram`, or `dim` is below 1.
        NumericalError: A gradient is NaN or infinite.
    """
    samples = Samples(images)
    sketch = Sketch(
        model, samples, dim, seed=seed, device=device, memory=memory, dtype=dtype, output=output
    )
    out = torch.empty(len(samples), dim, dtype=sketch.passes.dtype)
    with tqdm(total=len(samples), unit="img", disable=None if progress else True) as bar:
        for low in range(0, len(samples), sketch.batch):
            positions = range(low, min(low + sketch.batch, len(samples)))
            out[low : positions.stop] = sketch.rows(positions)
            bar.update(len(positions))
    return out


@public
def sketch_error(
    kernel: Float[Tensor, "n n"], features: Float[Tensor, "n dim"]
) -> tuple[float, float]:
    """The relative error of a sketch, ‖F Fᵀ − K‖/‖K‖, and the bound on its root mean square."""
    exact, found = kernel.double(), features.double() @ features.double().T
    norm = exact.norm()
    bound = ((exact.trace() ** 2 + norm**2) / features.shape[1]).sqrt() / norm
    return float((found - exact).norm() / norm), float(bound)


@dataclass(frozen=True, eq=False)
class _Hash:
    """The hash of one parameter.

    Attributes:
        signs: Sign of every entry, in the order of computation.
        shifts: For each piece of the gradient, the shift of every m entries.
    """

    signs: Float[Tensor, " p"]
    shifts: list[list[int]]


class Sketch:
    """The sketched gradients of a model on a set of images.

    Attributes:
        passes: The model and the images.
        dim: Number of columns.
        sites: Name and site of the weights with a single use, by the number of the call.
        hashes: The hash of each parameter by name.
        batch: Images per pass.
        bytes: Memory of the signs and of one pass.
    """

    def __init__(
        self,
        model: nn.Module,
        images: Images,
        dim: int,
        *,
        seed: int = 0,
        memory: str | int = "4GiB",
        output: int | str | None = None,
        **settings: Any,
    ):
        """Check the model on two images, and draw the hashes.

        Arguments and errors are those of `entk_features`; `settings` are those of `Passes`.
        """
        self.dim = whole_number(dim, "dim", least=1, most=2**31)
        seed, budget = whole_number(seed, "seed", least=0), parse_bytes(memory)
        check_output(output)
        self.passes = Passes(model, images, output=output, **settings)
        self.sites = sole_uses(self.passes)
        self.passes.capture.factored = self.sites.keys()
        self.hashes = {
            name: self._draw(name, length, seed) for name, length in self._lengths().items()
        }
        item = torch.finfo(self.passes.dtype).bits // 8
        drawn = item * sum(len(hash_.signs) for hash_ in self.hashes.values())
        each = 4 * self.passes.activations + item * (4 * _CHUNK + 2 * max(self._whole(), default=0))
        if drawn + each > budget:
            raise UsageError(
                "memory must hold the signs and one pass: expected at least"
                f" {-(-(drawn + each) // 2**20)}MiB, got {budget // 2**20}MiB. Raise memory, or"
                " lower the image size."
            )
        self.batch = self.passes.batch_size(budget - drawn, each)
        self.bytes = drawn + self.batch * each

    def rows(self, positions: range) -> Float[Tensor, "b dim"]:
        """The sketch of some images, on the CPU; up to rounding it does not depend on the batches.

        Raises:
            NumericalError: A gradient is NaN or infinite. The message names the image, and the
                first layer with such a value.
        """
        batches = [positions[at : at + self.batch] for at in range(0, len(positions), self.batch)]
        with fp32_precision(self.passes.precision):
            found = torch.cat([self._sketched(batch) for batch in batches])
        bad = (~found.isfinite()).any(dim=1).nonzero()
        if len(bad):
            raise NumericalError(self.passes.explain(positions[int(bad[0])]))
        return found.cpu()

    def _sketched(self, positions: range) -> Tensor:
        (gradients,) = self.passes(positions)
        out = torch.zeros(
            len(positions), self.dim, dtype=self.passes.dtype, device=self.passes.device
        )
        for name, gradient in gradients.materialised.items():
            self._add(out, name, [gradient.reshape(len(gradient), -1)])
        for number in list(gradients.factors):
            name, site = self.sites[number]
            self._add(out, name, _pieces(site, *gradients.factors.pop(number)))
        return out

    def _add(self, out: Tensor, name: str, pieces: Iterable[Float[Tensor, "b p"]]) -> None:
        """Add the pieces of the gradient of a parameter to the rows."""
        hash_, at = self.hashes[name], 0
        for shifts, piece in zip(hash_.shifts, pieces, strict=True):
            signed = piece * hash_.signs[at : at + piece.shape[1]]
            at += piece.shape[1]
            for shift, entries in zip(shifts, signed.split(self.dim, dim=1), strict=True):
                before_the_end = min(self.dim - shift, entries.shape[1])
                out[:, shift : shift + before_the_end] += entries[:, :before_the_end]
                out[:, : entries.shape[1] - before_the_end] += entries[:, before_the_end:]

    def _lengths(self) -> dict[str, list[int]]:
        """Entries of each piece of the gradient, by parameter name."""
        sole = {name: _piece_lengths(site) for name, site in self.sites.values()}
        parameters = self.passes.capture.parameters
        return {name: sole.get(name, [parameter.numel()]) for name, parameter in parameters.items()}

    def _whole(self) -> Iterator[int]:
        """Entries of each gradient that is computed as a whole."""
        return (sum(lengths) for lengths in self._lengths().values() if len(lengths) == 1)

    def _draw(self, name: str, lengths: list[int], seed: int) -> _Hash:
        """Signs and shifts from the seed and the name of the parameter, drawn on the CPU."""
        key = blake2b(f"{seed} {name}".encode(), digest_size=8).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(key, "little") >> 1)
        signs = (
            torch.randint(2, (sum(lengths),), generator=generator, dtype=torch.int8).mul_(2).sub_(1)
        )
        counts = [-(-length // self.dim) for length in lengths]
        shifts = torch.randint(self.dim, (sum(counts),), generator=generator).split(counts)
        return _Hash(
            signs.to(self.passes.device, self.passes.dtype), [shift.tolist() for shift in shifts]
        )


def _channels(site: Site) -> int:
    """Output channels whose gradient is computed at a time; all of a grouped convolution."""
    return site.c_out if site.groups > 1 else min(site.c_out, max(1, _CHUNK // max(1, site.depth)))


def _piece_lengths(site: Site) -> list[int]:
    width = _channels(site)
    return [min(width, site.c_out - low) * site.depth for low in range(0, site.c_out, width)]


def _pieces(
    site: Site, a: Float[Tensor, "b t_in c_in"], g: Float[Tensor, "b t c_out"]
) -> Iterator[Float[Tensor, "b p"]]:
    """The gradient of the weight of a site in pieces of `_piece_lengths`."""
    if site.groups > 1:
        yield form(site, a, g)
        return
    patches = site.patches(a).contiguous()
    for channels in g.split(_channels(site), dim=2):
        yield torch.bmm(channels.mT, patches).flatten(1)
