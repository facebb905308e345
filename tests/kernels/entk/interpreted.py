"""The Triton kernels of rmtgen in Triton's interpreter on a CPU, as JSON.

Triton reads TRITON_INTERPRET when it is imported, hence a process of its own.
"""

import json
import os

os.environ["TRITON_INTERPRET"] = "1"

import torch  # noqa: E402

from rmtgen.kernels.entk import splits, tensor_cores  # noqa: E402
from rmtgen.kernels.entk.rules import Contract  # noqa: E402
from rmtgen.kernels.entk.sites import Site, Window  # noqa: E402
from rmtgen.kernels.entk.splits import HalvedFactor, Terms  # noqa: E402
from rmtgen.kernels.entk.tensor_cores import Tile  # noqa: E402

SITES = {
    "padded": (Site(Window((2, 1), (3, 3), (1, 1), (1, 1)), 20, 40, 1, (40, 20, 3, 3)), 9, 15),
    "strided": (Site(Window((3, 2), (3, 3), (2, 2), (1, 1)), 6, 5, 1, (5, 6, 3, 3)), 9, 15),
    "dilated": (Site(Window((3, 3), (2, 2), (1, 1), (0, 0), (2, 2)), 5, 6, 1, (6, 5, 2, 2)), 9, 15),
    "token": (Site(Window((1, 1)), 20, 17, 1, (17, 20)), 19, 35),
}
"""Sites, and numbers of rows and columns; the last fill several tiles."""
RANDOM = torch.Generator().manual_seed(0)


def uneven(n, positions, channels):
    """Samples, and positions of each, of very different size; one position is zero."""
    factor = torch.randn(n, positions, channels, generator=RANDOM)
    factor *= torch.logspace(-6, 6, n)[:, None, None]
    factor *= torch.logspace(0, -9, positions)[torch.randperm(positions, generator=RANDOM)][:, None]
    factor[0, 0] = 0
    return factor


def halved(factors):
    return tuple(
        HalvedFactor.of(tensor_cores.split(factor, -(-factor.shape[2] // 32) * 32), len(factor))
        for factor in factors
    )


def by_rule(site, rows, columns):
    kernel = torch.zeros(len(rows[0]), len(columns[0]), dtype=torch.float64)
    sides = (tuple(factor.double() for factor in side) for side in (rows, columns))
    Contract().add(kernel, site, *sides, 2**20, False)
    return kernel


def scaled(site, found, rows, columns):
    """A kernel over the norms of the gradients of both samples."""
    norms = [
        by_rule(site, side, side).diagonal().sqrt().clamp(min=1e-99) for side in (rows, columns)
    ]
    return found / norms[0][:, None] / norms[1]


def contractions():
    """Largest errors of the fused rule by site."""
    for name, (site, n, m) in SITES.items():
        rows, columns = (
            (uneven(size, site.t_in, site.c_in), uneven(size, site.t, site.c_out))
            for size in (n, m)
        )
        terms, tile = Terms.of(site.window, torch.device("cpu")), Tile(16, 16)
        for other, symmetric in ((columns, False), (rows, True)):
            kernel = torch.zeros(n, len(other[0]), dtype=torch.float64)
            tensor_cores.contract(kernel, terms, halved(rows), halved(other), symmetric, tile)
            error = scaled(site, kernel - by_rule(site, rows, other), rows, other).abs()
            error = error.tril() if symmetric else error
            yield f"{name}{', symmetric' * symmetric}", error.max().item()


def products():
    """Largest errors of products, in one layer of the kernel and in several."""
    left, right = (torch.randn(n, 1, 150, generator=RANDOM).exp() for n in (37, 50))
    for layers in (1, 2):
        for side, symmetric in ((right, False), (left, True)):
            kernel = torch.ones(37, len(side), dtype=torch.float64)
            halves, other = (tensor_cores.split(part, 64) for part in (left, side))
            tensor_cores.multiply(kernel, halves, other, symmetric, Tile(16, 32), layers)
            exact = 1 + left[:, 0].double() @ side[:, 0].double().T
            error = (kernel / exact - 1).abs()
            error = error.tril() if symmetric else error
            yield f"product, {layers} layers{', symmetric' * symmetric}", error.max().item()


def differences():
    """Whether the halves of the kernel and of torch differ, by chunk."""
    factor = uneven(5, 3, 70)
    factor[1, 1] *= 1e38
    factor[2, 1] *= 1e-38
    for chunk in (32, 96, 2048):
        here, there = splits.split(factor, chunk), tensor_cores.split(factor, chunk)
        same = torch.equal(here.parts, there.parts) and torch.equal(here.scales, there.scales)
        yield f"halves in chunks of {chunk}", float(not same)
        squares = (there.low_squares / here.low_squares.clamp(min=1e-30) - 1).abs()
        yield f"squares in chunks of {chunk}", squares[here.low_squares > 0].max().item()


if __name__ == "__main__":
    print(json.dumps(dict([*contractions(), *products(), *differences()])))
