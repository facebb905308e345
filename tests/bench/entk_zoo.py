"""The eNTK of every architecture of the tests beside torch.func, in seconds.

torch.func is the faster of the two plain peers that run all of them. The images are small and few,
so that overhead shows. Each method runs after a warm-up on four images; the seconds are the median
of three runs. `make bench BENCH=entk_zoo`. ALL=1 checks every architecture of timm instead: see
`zoo_sweep`.
"""

import copy
import os
import warnings
from collections.abc import Callable

import torch
from torch import Tensor, nn

from rmtgen import entk_gram, load_backbone
from tests.bench import zoo_sweep
from tests.bench.entk import MOST, distance, repeated
from tests.bench.peers import torch_func
from tests.zoo import ZOO

N = 32


def main() -> None:
    """Print one line per model, or check all of timm."""
    if os.environ.get("ALL"):
        zoo_sweep.main()
        return
    warnings.simplefilter("ignore")
    print(f"N = {N}, {torch.get_num_threads()} threads")
    print(f"{'model':<30}{'px':>4}{'rmtgen':>9}{'torch.func':>12}{'ratio':>7}{'apart':>10}")
    for name, pixels in ZOO.items():
        print(line(name, pixels), flush=True)


def line(name: str, pixels: int) -> str:
    """One model: seconds of each method, their ratio, and the distance of the kernels."""
    model = load_backbone(name, init="random", head="random", img_size=pixels).model
    images = torch.randn(N, 3, pixels, pixels, generator=torch.Generator().manual_seed(0))
    own, kernel = warm(entk_gram, model, images)
    if sum(parameter.numel() for parameter in model.parameters()) * N > MOST:
        return f"{name:<30}{pixels:>4}{own:>9.2f}{'no memory':>12}"
    seconds, found = warm(torch_func, copy.deepcopy(model), images)
    apart = distance(found, kernel.double())
    return f"{name:<30}{pixels:>4}{own:>9.2f}{seconds:>12.2f}{seconds / own:>7.1f}{apart:>10.0e}"


def warm(method: Callable, model: nn.Module, images: Tensor) -> tuple[float, Tensor]:
    """Median seconds and result of a method once libraries have chosen their kernels."""
    method(model, images[:4])
    seconds, _, found = repeated(lambda: method(model, images))
    return seconds, found


if __name__ == "__main__":
    main()
