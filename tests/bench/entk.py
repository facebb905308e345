"""The eNTK beside its peers and beside the bound of the machine.

One table per case: seconds, the median of three runs or one run if it takes over 20 s; their ratio
to rmtgen's; the relative Frobenius distance from rmtgen in float64; and the fraction of the bound,
the FLOPs that `entk_plan` counts over the seconds and the rate of a float32 product, which is
measured before and after each case. All methods are set against the same FLOPs, those of rmtgen.

`make bench BENCH=entk`. CASES="resnet18:32:2048 resnet18:224:64" chooses models, pixels and N;
PEERS="torch_func" chooses peers, and PEERS=none leaves them out.
"""

import copy
import os
import statistics
import warnings
from collections.abc import Callable

import torch

from rmtgen import entk_gram, entk_plan, load_backbone
from rmtgen.kernels.entk.cpu import multiplied
from tests.bench.machine import Peak, describe, gemm, timed
from tests.bench.peers import PEERS

CASES = (
    *("resnet18:32:256", "resnet50:64:128", "resnet18:224:128", "vit_tiny_patch16_224:224:64"),
    *("resnet18:32:1024", "resnet18:32:2048", "resnet18:32:4096", "resnet50:32:1024"),
    *("resnet18:64:1024", "resnet18:224:64", "maxvit_rmlp_pico_rw_256:256:64"),
)
LONG = 20.0
MOST = 3 * 10**9
"""Entries of the Jacobian up to which peers run; torch.func holds two of this size, 24 GB."""


def main() -> None:
    """Print one table per case."""
    warnings.simplefilter("ignore")
    print(describe())
    print(
        f"sgemm {gemm() / 1e9:.0f}, dgemm {gemm(torch.float64) / 1e9:.0f}, products of the eNTK"
        f" {gemm(product=multiplied) / 1e9:.0f} GFLOP/s"
    )
    peers = chosen_peers()
    for case in os.environ.get("CASES", " ".join(CASES)).split():
        name, pixels, n = case.split(":")
        compare(name, int(pixels), int(n), peers)


def chosen_peers() -> list[Callable]:
    """The peers that PEERS names, or all."""
    known = {peer.__name__: peer for peer in PEERS}
    wanted = os.environ.get("PEERS", " ".join(known))
    return [] if wanted == "none" else [known[name] for name in wanted.split()]


def repeated(work):
    """Median seconds, number of runs, and the last result."""
    seconds, found = timed(work)
    times = [seconds]
    while len(times) < 3 and times[0] < LONG:
        seconds, found = timed(work)
        times.append(seconds)
    return statistics.median(times), len(times), found


def problem(name: str, pixels: int, n: int) -> tuple[torch.nn.Module, torch.Tensor]:
    """A random network and random images."""
    model = load_backbone(name, init="random", head="random", img_size=pixels).model
    return model, torch.randn(n, 3, pixels, pixels, generator=torch.Generator().manual_seed(0))


def compare(name: str, pixels: int, n: int, peers: list[Callable]) -> None:
    """rmtgen and every peer on one model."""
    model, images = problem(name, pixels, n)
    plan = entk_plan(model, (3, pixels, pixels), n)
    entk_gram(model, images[:8])  # libraries choose their kernels once
    with Peak() as peak:
        own, runs, kernel = repeated(lambda: entk_gram(model, images))
    few = min(n, 16)
    exact = entk_gram(model, images[:few], dtype=torch.float64)
    bound = plan.flops / peak.rate
    print(
        f"\n{name}, {pixels} px, N = {n}: {plan.flops:.2e} FLOPs, of which passes"
        f" {plan.pass_flops / plan.flops:.0%}, forming {plan.forming_flops / plan.flops:.0%},"
        f" products {plan.kernel_flops / plan.flops:.0%} (least {plan.least_flops:.2e}); bound"
        f" {bound:.2f} s at {peak.rate / 1e9:.0f} GFLOP/s"
    )
    print(f"{'':<22}{'seconds':>9}{'runs':>6}{'ratio':>8}{'of the bound':>14}{'error':>10}")
    show("rmtgen", own, runs, own, bound, distance(kernel, exact))
    for peer in peers:
        if n * sum(parameter.numel() for parameter in model.parameters()) > MOST:
            print(f"{peer.__name__:<22}  too large")
            continue
        try:
            seconds, runs, found = repeated(lambda peer=peer: peer(copy.deepcopy(model), images))
        except Exception as failure:  # noqa: BLE001 - why a peer cannot run a model is its result
            print(
                f"{peer.__name__:<22}  cannot: {type(failure).__name__}:"
                f" {str(failure).splitlines()[0][:80] if str(failure) else ''}"
            )
            continue
        show(peer.__name__, seconds, runs, own, bound, distance(found, exact))


def show(name: str, seconds: float, runs: int, own: float, bound: float, error: float) -> None:
    """One row of a table."""
    print(
        f"{name:<22}{seconds:>9.2f}{runs:>6}{seconds / own:>8.1f}{bound / seconds:>14.0%}"
        f"{error:>10.1e}",
        flush=True,
    )


def distance(found: torch.Tensor, exact: torch.Tensor) -> float:
    """Relative Frobenius distance of the first samples' block."""
    few = len(exact)
    return ((found.detach()[:few, :few].double() - exact).norm() / exact.norm()).item()


if __name__ == "__main__":
    main()
