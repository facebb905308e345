"""Products with the accuracy of float32: rates, errors, and the fused rule of the eNTK.

`make bench BENCH=products`. A machine without a CUDA device multiplies small matrices with emulated
rounding: there the errors tell something, and the rates nothing.
"""

import numpy as np
import torch

from rmtgen import load_backbone, ridge_path
from rmtgen.kernels.entk.passes import Passes
from rmtgen.kernels.entk.rules import RULES, Contract
from rmtgen.kernels.entk.sites import Site, Window
from rmtgen.kernels.entk.split_rules import SPLIT_RULES
from tests.bench.figures import device, isolated, record, seconds
from tests.bench.splits import WAYS

BENCH = "products"
TAIL = 0.05
"""Share of the eigenvalues that count as the smallest."""

EMULATED = 64
"""On a CPU one of so many stretches of the gradients is multiplied."""

RIDGES = (1e-7, 1e-5)
"""Sum ridges over the mean diagonal."""

SITES = {
    "2×2, 256": Site(Window((2, 2), (3, 3), (1, 1), (1, 1)), 256, 256, 1, (256, 256, 3, 3)),
    "4×4, 128": Site(Window((4, 4), (3, 3), (1, 1), (1, 1)), 128, 128, 1, (128, 128, 3, 3)),
    "1×1, 512": Site(Window((1, 1), (3, 3), (1, 1), (1, 1)), 512, 512, 1, (512, 512, 3, 3)),
}
"""Sites of resnet18 at 32 px that contract or shift."""


def main() -> None:
    """Record every figure."""
    large = device() == "cuda"
    shapes = ((8192, 8192), (10_000, 4096)) if large else ((64, 2048),)
    for way in WAYS:
        for shape in shapes:
            isolated(BENCH, way.name, rate, way, *shape)
    for name, rows in data(large):
        isolated(BENCH, name, errors, name, rows)
    for name, site in SITES.items():
        for n in (2048, 10_000) if large else (8,):
            isolated(BENCH, name, rule_rates, f"{name}, N = {n}", site, n)


def rate(way, n, entries) -> None:
    """TFLOP/s of a full product, with the split and the sum in float64; seconds of a triangle."""
    rows = random_rows(n, entries)
    other, total = rows.clone(), rows.new_zeros(n, n, dtype=torch.float64)
    case, work = f"{way.name}, {n} × {entries}", 2e-12 * n * n * entries
    taken = seconds(lambda: way.multiply(total, rows, other))
    record(BENCH, case, "rate", work / taken, "TFLOP/s")
    taken = seconds(lambda: way.multiply(total, rows, rows))
    record(BENCH, case, "symmetric", 1e3 * taken, "ms")


def random_rows(n, entries):
    return torch.randn(
        n, entries, device=device(), generator=torch.Generator(device()).manual_seed(0)
    )


def data(large):
    """Names and rows of matrices of which the Gram matrix is wanted."""
    normal = random_rows(*((512, 65_536) if large else (48, 8192)))
    yield "normal", normal
    yield "log-normal", normal.exp()
    del normal
    for pixels, n in ((32, 256), (64, 256)) if large else ((64, 24),):
        found = gradients("resnet18", pixels, n)
        if not large:
            found = torch.cat(found.split(2**13, dim=1)[::EMULATED], dim=1)
        yield f"gradients of resnet18, {pixels} px", found


def gradients(name, pixels, n):
    """Per-sample gradients (n, p) of a random network on random images."""
    model = load_backbone(name, init="random", head="random", img_size=pixels).model
    images = torch.randn(n, 3, pixels, pixels, generator=torch.Generator().manual_seed(0))
    passes = Passes(model, images, device=device())
    found = passes(range(n))[0].materialised
    return torch.cat([gradient.flatten(1) for gradient in found.values()], dim=1)


def errors(name, rows) -> None:
    """Errors of the Gram matrix of some rows, each way against float64."""
    exact = sum(part.double() @ part.double().T for part in rows.split(2**16, dim=1))
    for way in WAYS:
        if way.name != "float64":
            isolated(BENCH, name, errors_of, f"{name}, {way.name}", way, rows, exact)


def errors_of(case, way, rows, exact) -> None:
    """Frobenius error, bias of the diagonal, and errors of the tail and of the GCV risk."""
    for figure, value in measures(way.product(rows, rows), exact).items():
        record(BENCH, case, figure, value, "relative")


def measures(found, exact) -> dict[str, float]:
    """Relative errors of a Gram matrix."""
    found, exact = ((gram + gram.T).cpu() / 2 for gram in (found, exact))
    values, moved = torch.linalg.eigvalsh(exact), torch.linalg.eigvalsh(found)
    few = max(1, int(TAIL * len(exact)))
    targets = torch.randn(len(exact), 1, generator=torch.Generator().manual_seed(1)).double()
    ridges = np.multiply(RIDGES, exact.diagonal().mean().item())
    right, risk = (
        ridge_path(gram, targets, sum_ridges=ridges)["gcv"].to_numpy() for gram in (exact, found)
    )
    return {
        "K, Frobenius": ((found - exact).norm() / exact.norm()).item(),
        "diagonal, bias": (found.diagonal() / exact.diagonal() - 1).mean().item(),
        "smallest eigenvalue": abs(moved[0] / values[0] - 1).item(),
        "smallest 5 %, median": (moved / values - 1)[:few].abs().median().item(),
        **{
            f"GCV at ridge {ridge:.0e}": abs(at / true - 1)
            for ridge, at, true in zip(RIDGES, risk, right, strict=True)
        },
    }


def rule_rates(case, site, n) -> None:
    """The fused rule and those of float32 at one site, symmetric: seconds, and errors."""
    rows = (
        random_rows(n, site.t_in * site.c_in).view(n, site.t_in, site.c_in),
        random_rows(n, site.t * site.c_out).view(n, site.t, site.c_out),
    )
    few = tuple(factor[:256] for factor in rows)
    exact = by_rule(Contract(), site, tuple(factor.double() for factor in few))
    for rule in (*RULES, *SPLIT_RULES):
        if rule.applies(site):
            isolated(BENCH, case, measured, case, rule, site, rows, exact)


def measured(case, rule, site, rows, exact) -> None:
    """Seconds of a rule, its FLOPs over them, and its error on the first samples."""
    name, n = type(rule).__name__, len(rows[0])
    found = by_rule(rule, site, tuple(factor[:256] for factor in rows))
    error = (found - exact).norm() / exact.norm()
    taken = seconds(lambda: by_rule(rule, site, rows), repeats=2)
    work = rule.cost(site).flops(n, n * (n + 1) // 2)
    record(BENCH, case, f"{name}, error", error.item(), "relative")
    record(BENCH, case, name, 1e3 * taken, "ms")
    record(BENCH, case, f"{name}, its FLOPs", 1e-12 * work / taken, "TFLOP/s")


def by_rule(rule, site, rows):
    """The lower triangle of the symmetric kernel of a rule of rmtgen."""
    kernel = torch.zeros(len(rows[0]), len(rows[0]), dtype=torch.float64, device=rows[0].device)
    rule.add(kernel, site, rows, rows, 2**31, True)
    return kernel.tril_()


if __name__ == "__main__":
    main()
