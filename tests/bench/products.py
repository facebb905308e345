"""Products with the accuracy of float32: rates, errors, and the fused rule of the eNTK.

`make bench BENCH=products`. A machine without a CUDA device multiplies small matrices with emulated
rounding, and leaves out the fused rule.
"""

import numpy as np
import torch

from rmtgen import load_backbone, ridge_path
from rmtgen.kernels.entk.passes import Passes
from rmtgen.kernels.entk.rules import Contract, Shift
from rmtgen.kernels.entk.sites import Site, Window
from tests.bench.figures import device, isolated, record, seconds
from tests.bench.splits import WAYS

BENCH = "products"
TAIL = 0.05
"""Share of the eigenvalues that count as the smallest."""

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
    ways = every_way(large)
    shapes = ((8192, 8192), (10_000, 4096)) if large else ((512, 4096),)
    for way in ways:
        for shape in shapes:
            isolated(BENCH, way.name, rate, way, *shape)
    for name, rows in data(large):
        isolated(BENCH, name, errors, name, rows, ways)
    if large:
        for name, site in SITES.items():
            for n in (2048, 10_000):
                isolated(BENCH, name, rule_rates, f"{name}, N = {n}", site, n)


def every_way(triton):
    """All ways, those in Triton only where it compiles."""
    if not triton:
        return WAYS
    from tests.bench.promoted import WAYS as compiled

    return (*WAYS, *compiled)


def rate(way, n, entries) -> None:
    """TFLOP/s of a full product, with the sum in float64, and seconds of the split."""
    rows = random_rows(n, entries)
    prepared = way.prepared(rows)
    case, work = f"{way.name}, {n} × {entries}", 2e-12 * n * n * entries
    record(BENCH, case, "rate", work / seconds(lambda: way.product(prepared, prepared)), "TFLOP/s")
    record(BENCH, case, "split", 1e3 * seconds(lambda: way.prepared(rows)), "ms")


def random_rows(n, entries):
    return torch.randn(
        n, entries, device=device(), generator=torch.Generator(device()).manual_seed(0)
    )


def data(large):
    """Names and rows of matrices of which the Gram matrix is wanted."""
    normal = random_rows(*((512, 65_536) if large else (64, 8192)))
    yield "normal", normal
    yield "log-normal", normal.exp()
    del normal
    for pixels, n in ((32, 256), (64, 256)) if large else ((32, 16),):
        yield f"gradients of resnet18, {pixels} px", gradients("resnet18", pixels, n)


def gradients(name, pixels, n):
    """Per-sample gradients (n, p) of a random network on random images."""
    model = load_backbone(name, init="random", head="random", img_size=pixels).model
    images = torch.randn(n, 3, pixels, pixels, generator=torch.Generator().manual_seed(0))
    passes = Passes(model, images, device=device())
    found = passes(range(n))[0].materialised
    return torch.cat([gradient.flatten(1) for gradient in found.values()], dim=1)


def errors(name, rows, ways) -> None:
    """Errors of the Gram matrix of some rows, each way against float64."""
    exact = sum(part.double() @ part.double().T for part in rows.split(2**16, dim=1))
    for way in ways:
        if way.name != "float64":
            isolated(BENCH, name, errors_of, f"{name}, {way.name}", way, rows, exact)


def errors_of(case, way, rows, exact) -> None:
    """Frobenius error, bias of the diagonal, and errors of the tail and of the GCV risk."""
    found = torch.zeros_like(exact)
    for part in rows.split(2**16, dim=1):
        prepared = way.prepared(part)
        found += way.product(prepared, prepared)
    for figure, value in measures(found, exact).items():
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
    """The fused rule and those of rmtgen on one site, symmetric: FLOPs of `Shift` over seconds."""
    from tests.bench.fused import fused

    rows = (
        random_rows(n, site.t_in * site.c_in).view(n, site.t_in, site.c_in),
        random_rows(n, site.t * site.c_out).view(n, site.t, site.c_out),
    )
    least = 2 * (site.t_in**2 * site.c_in + site.t**2 * site.c_out) * n * (n + 1) / 2
    few = tuple(factor[:256] for factor in rows)
    exact = by_rule(Contract(), site, tuple(factor.double() for factor in few)).tril()

    def measure(figure, work, part):
        error = (work(few).double().tril() - exact).norm() / exact.norm()
        taken = seconds(lambda: work(part), repeats=2)
        record(BENCH, case, f"{figure}, error", error.item(), "relative")
        record(BENCH, case, figure, 1e3 * taken, "ms")
        record(BENCH, case, f"{figure}, shift's FLOPs", 1e-12 * least / taken, "TFLOP/s")

    rule = Shift() if Shift().applies(site) else Contract()
    isolated(BENCH, case, measure, rule.name, lambda some: by_rule(rule, site, some), rows)
    for precision, shape, warps in (
        ("tf32x3", (64, 64, 32), 4),
        ("fp16x3", (64, 64, 64), 4),
        ("fp16x3", (128, 64, 64), 8),
        ("fp16x3", (128, 64, 32), 4),
    ):
        isolated(
            BENCH,
            case,
            measure,
            f"fused {precision} {shape}",
            lambda some, p=precision, s=shape, w=warps: fused(site, some, some, p, True, s, w),
            rows,
        )


def by_rule(rule, site, rows):
    """The symmetric kernel of a rule of rmtgen."""
    kernel = torch.zeros(len(rows[0]), len(rows[0]), dtype=torch.float64, device=rows[0].device)
    rule.add(kernel, site, rows, rows, 2**31, True)
    return kernel


if __name__ == "__main__":
    main()
