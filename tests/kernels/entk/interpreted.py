"""Errors of the Triton kernels of the benchmarks, as JSON, in Triton's interpreter on a CPU.

Triton reads TRITON_INTERPRET when it is imported, hence a process of its own.
"""

import json
import os

os.environ["TRITON_INTERPRET"] = "1"

import torch  # noqa: E402

from rmtgen.kernels.entk.rules import Contract  # noqa: E402
from rmtgen.kernels.entk.sites import Site, Window  # noqa: E402
from tests.bench.fused import fused  # noqa: E402
from tests.bench.promoted import promoted  # noqa: E402
from tests.bench.splits import halves  # noqa: E402

SITES = {
    "padded": (Site(Window((2, 1), (3, 3), (1, 1), (1, 1)), 20, 17, 1, (17, 20, 3, 3)), 9, 15),
    "strided": (Site(Window((3, 2), (3, 3), (2, 2), (1, 1)), 6, 5, 1, (5, 6, 3, 3)), 9, 15),
    "dilated": (Site(Window((3, 3), (2, 2), (1, 1), (0, 0), (2, 2)), 5, 6, 1, (6, 5, 2, 2)), 9, 15),
    "token": (Site(Window((1, 1)), 20, 17, 1, (17, 20)), 19, 35),
}
"""Sites, and numbers of rows and columns; the last fill several tiles."""
RANDOM = torch.Generator().manual_seed(0)


def factors(site, n):
    a = torch.randn(n, site.t_in, site.c_in, generator=RANDOM)
    g = torch.randn(n, site.t, site.c_out, generator=RANDOM)
    scales = torch.logspace(-6, 6, n)[:, None, None]  # samples of very different size
    return a * scales, g * scales.flip(0)


def by_rule(site, rows, columns):
    kernel = torch.zeros(len(rows[0]), len(columns[0]), dtype=torch.float64)
    sides = (tuple(factor.double() for factor in side) for side in (rows, columns))
    Contract().add(kernel, site, *sides, 2**20, False)
    return kernel


def distance(found, exact):
    return ((found - exact).norm() / exact.norm()).item()


def errors():
    """Relative Frobenius distances by case."""
    found = {}
    for name, (site, n, m) in SITES.items():
        rows, columns = factors(site, n), factors(site, m)
        for precision in ("ieee", "fp16x3"):
            kernel = fused(site, rows, columns, precision, shape=(16, 16, 16))
            exact = by_rule(site, rows, columns)
            found[f"{name}, {precision}"] = distance(kernel, exact)
            kernel = fused(site, columns, columns, precision, True, (16, 16, 16)).tril()
            exact = by_rule(site, columns, columns).tril()
            found[f"{name}, {precision}, symmetric"] = distance(kernel, exact)
    left, right = (torch.randn(n, 150, generator=RANDOM).exp() for n in (37, 50))
    product = promoted(halves(left), halves(right), (16, 32, 64))
    found["product"] = distance(product, left.double() @ right.double().T)
    return found


if __name__ == "__main__":
    print(json.dumps(errors()))
