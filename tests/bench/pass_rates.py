"""Passes of rmtgen at 224 px by precision and layout, and whole kernels over their bound.

`make bench BENCH=pass_rates`. The bound is the FLOPs of `entk_plan` over the rate of a large
float32 product in the same run.
"""

import torch

from rmtgen import entk_gram, entk_plan, load_backbone
from rmtgen.device import fp32_precision
from rmtgen.kernels.entk import Entk
from rmtgen.kernels.entk.factors import tile
from tests.bench.figures import device, isolated, record, seconds
from tests.bench.peers import torch_func
from tests.bench.splits import ieee

BENCH = "pass_rates"
MEMORY = "48GiB"


def main() -> None:
    """Record every figure."""
    large = device() == "cuda"
    rate = sgemm(8192 if large else 1024)
    record(BENCH, "sgemm", "rate", 1e-12 * rate, "TFLOP/s")
    wholes = (
        (("resnet18", 32, 10_000), ("resnet18", 224, 4096)) if large else (("resnet18", 32, 8),)
    )
    for case in wholes:
        isolated(BENCH, str(case), whole, *case, rate)
    for name in ("resnet18", "resnet50"):
        pixels, n = (224, 256) if large else (32, 8)
        for precision in ("ieee", "tf32"):
            for layout in (torch.contiguous_format, torch.channels_last):
                arguments = (name, pixels, n, precision, layout)
                isolated(BENCH, name, plain, *arguments)
                isolated(BENCH, name, captured, *arguments)
            isolated(BENCH, name, peer, name, pixels, n, precision)


def sgemm(size):
    """FLOPs per second of a float32 product."""
    square = torch.randn(size, size, device=device())
    return 2 * size**3 / seconds(lambda: ieee(square, square))


def problem(name, pixels, n):
    """A random network and random images."""
    model = load_backbone(name, init="random", head="random", img_size=pixels).model
    return model, torch.randn(n, 3, pixels, pixels, generator=torch.Generator().manual_seed(0))


def titled(name, pixels, n, precision, layout):
    ordered = "channels_last" if layout == torch.channels_last else "contiguous"
    return f"{name}, {pixels} px, N = {n}, {precision}, {ordered}"


def plain(name, pixels, n, precision, layout) -> None:
    """Forward, and backward to the images without weight gradients."""
    model, images = problem(name, pixels, n)
    model = model.to(device(), memory_format=layout).requires_grad_(False)
    images = images.to(device()).contiguous(memory_format=layout).requires_grad_()
    with fp32_precision(precision):
        taken = seconds(lambda: torch.autograd.grad(model(images).sum(), images), repeats=2)
    record(BENCH, titled(name, pixels, n, precision, layout), "plain pass", n / taken, "images/s")


def captured(name, pixels, n, precision, layout) -> None:
    """A pass of rmtgen, with the gradients formed and stored."""
    model, images = problem(name, pixels, n)
    images = images.to(device()).contiguous(memory_format=layout)
    by_name = {"ieee": "ieee", "tf32": "fast"}[precision]
    kernel = Entk(model, images, device=device(), memory=MEMORY, precision=by_name)
    kernel.passes.capture.model.to(memory_format=layout)
    with fp32_precision(precision):
        taken = seconds(lambda: kernel._gradients((0, n)), repeats=2)
    record(BENCH, titled(name, pixels, n, precision, layout), "capture", n / taken, "images/s")


def peer(name, pixels, n, precision) -> None:
    """torch.func, its products included."""
    model, images = problem(name, pixels, n)
    model, images = model.to(device()), images.to(device())
    with fp32_precision(precision):
        taken = seconds(lambda: torch_func(model, images), repeats=1)
    record(BENCH, f"{name}, {pixels} px, N = {n}, {precision}", "torch.func", n / taken, "images/s")


def whole(name, pixels, n, rate) -> None:
    """`entk_gram` in each precision: error on a few samples, seconds, and the parts of them."""
    model, images = problem(name, pixels, n)
    few = images[:64]
    exact = entk_gram(model, few, device=device(), dtype=torch.float64)
    for precision in ("ieee", "split", "fast"):
        case = f"{name}, {pixels} px, N = {n}, {precision}"
        options = {"device": device(), "memory": MEMORY, "precision": precision}
        error = (entk_gram(model, few, **options).double() - exact).norm() / exact.norm()
        record(BENCH, case, "error", error.item(), "relative")
        isolated(BENCH, case, kernel_of, case, model, images, options, rate)


def kernel_of(case, model, images, options, rate) -> None:
    """Seconds of a kernel, and of its passes and products where one block holds all samples."""
    n = len(images)
    plan = entk_plan(model, tuple(images.shape[1:]), n, **options)
    taken = seconds(lambda: entk_gram(model, images, **options), repeats=1, warm=False)
    record(BENCH, case, "time", taken, "s")
    record(BENCH, case, "share of the bound in float32", plan.flops / rate / taken, "")
    kernel = Entk(model, images, **options)
    if kernel.capacity < n:
        return
    with fp32_precision(kernel.passes.precision):
        blocks = []
        spent = seconds(lambda: blocks.append(kernel._gradients((0, n))), repeats=1, warm=False)
        record(BENCH, case, "capture", spent, "s")
        sides, part = (blocks[0], blocks[0]), kernel.layout.whole()
        spent = seconds(lambda: tile(*sides, part, kernel.workspace), repeats=1, warm=False)
        record(BENCH, case, "products", spent, "s")


if __name__ == "__main__":
    main()
