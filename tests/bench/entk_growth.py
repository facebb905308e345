"""Growth of the time of the eNTK in N and P; its rate, memory and precision.

`make bench BENCH=entk_growth`.
"""

import subprocess
import sys
from pathlib import Path

import numpy as np
import torch

from rmtgen import entk_gram, entk_plan, ridge_path
from rmtgen.kernels.entk import Entk
from rmtgen.kernels.entk.factors import tile
from tests.bench.entk import problem
from tests.bench.machine import Peak, timed

MEASURE = Path(__file__).parents[1] / "kernels" / "entk" / "peak_memory.py"


def main() -> None:
    """Print each in turn."""
    rate()
    growth_in_samples()
    growth_in_parameters()
    precision()
    memory()


def rate(name="resnet18", pixels=64, n=1024):
    """FLOPs per second of the products between samples and of the whole, for one triangle."""
    model, images = problem(name, pixels, n)
    plan, entk = (
        entk_plan(model, (3, pixels, pixels), n, memory="8GiB"),
        Entk(model, images, memory="8GiB"),
    )
    with Peak() as measured:
        capture, block = timed(lambda: entk._gradients((0, n)))
        products = min(
            timed(lambda: tile(block, block, entk.layout.whole(), entk.workspace))[0]
            for _ in range(3)
        )
    peak = measured.rate
    print(f"{name}, {pixels} px, N = {n}: sgemm {peak / 1e9:.0f} GFLOP/s")
    for what, flops, seconds in (
        ("products between samples", plan.flops - plan.capture_flops, products),
        ("passes", plan.capture_flops, capture),
        ("whole", plan.flops, products + capture),
    ):
        print(
            f"  {what:<26}{flops:9.2e} FLOPs {seconds:7.2f} s {flops / seconds / 1e9:6.0f} GFLOP/s "
            f" {100 * flops / seconds / peak:4.0f} %"
        )


def growth_in_samples(name="resnet18", pixels=32, sizes=(128, 256, 512, 1024, 2048)):
    """Seconds against N and the exponent of their growth."""
    model, images = problem(name, pixels, max(sizes))
    entk_gram(model, images[:16])
    times = [
        min(timed(lambda n=n: entk_gram(model, images[:n]))[0] for _ in range(2)) for n in sizes
    ]
    slope = np.polyfit(np.log(sizes), np.log(times), 1)[0]
    print(
        f"\n{name}, {pixels} px: "
        + ", ".join(f"N = {n} {seconds:.2f} s" for n, seconds in zip(sizes, times, strict=True))
    )
    print(
        f"  exponent {slope:.2f} over all, {np.log2(times[-1] / times[-2]):.2f} in the last"
        " doubling"
    )


def growth_in_parameters(pixels=32, n=256):
    """Seconds against P within one family of networks of equal width."""
    print()
    for name in ("resnet18", "resnet34", "resnet50", "resnet101"):
        model, images = problem(name, pixels, n)
        entk_gram(model, images[:16])
        seconds = min(
            timed(lambda model=model, images=images: entk_gram(model, images))[0] for _ in range(2)
        )
        million = sum(parameter.numel() for parameter in model.parameters()) / 1e6
        print(
            f"{name}, {pixels} px, N = {n}: {million:6.1f} M parameters {seconds:6.2f} s"
            f" {1e3 * seconds / million:6.0f} ms per million"
        )


def precision(name="resnet18", pixels=32, n=512, ridges=(1e-5, 1e-3, 1e-1)):
    """float32 against float64: K, its smallest eigenvalues, and the GCV that follows."""
    model, images = problem(name, pixels, n)
    double, single = (
        entk_gram(model, images, dtype=dtype).double() for dtype in (torch.float64, torch.float32)
    )
    values, rounded = torch.linalg.eigvalsh(double), torch.linalg.eigvalsh(single)
    targets = torch.randn(n, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    scale = double.trace().item() / n
    gcv = [
        ridge_path(gram, targets, ridges=np.multiply(ridges, scale))["gcv"].to_numpy()
        for gram in (double, single)
    ]
    print(
        f"\n{name}, {pixels} px, N = {n}, float32 against float64: K"
        f" {(single - double).norm() / double.norm():.1e} (Frobenius)"
    )
    tail = n // 10
    print(
        "  smallest tenth of the eigenvalues"
        f" {((rounded - values)[:tail].abs() / values[:tail]).median():.1e} (median), the smallest"
        f" {values[0]:.2e} read as {rounded[0]:.2e}"
    )
    for ridge, exact, found in zip(ridges, *gcv, strict=True):
        print(f"  GCV at ridge {ridge:.0e}: {abs(found / exact - 1):.1e}")


def memory():
    """Peak resident set above the model, the images and the result."""
    print()
    for budget, name, pixels, n in (("4GiB", "resnet50", 224, 96), ("1GiB", "resnet18", 64, 1500)):
        command = [sys.executable, MEASURE, budget, name, str(pixels), str(n)]
        seconds, done = timed(
            lambda command=command: subprocess.run(
                command, capture_output=True, text=True, check=True
            )
        )
        print(
            f"{name}, {pixels} px, N = {n}, memory={budget}: peak {float(done.stdout) / 1024:.2f}"
            f" GiB, {seconds:.0f} s"
        )


if __name__ == "__main__":
    main()
