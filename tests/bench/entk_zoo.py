"""The eNTK of every architecture of the tests beside the two plain peers, which can run them all; seconds, best of two runs in turn.

Small images, where overhead shows. `make bench BENCH=entk_zoo`.
"""

import copy
import warnings

import torch

from rmtgen import entk_gram, load_backbone
from tests.bench.entk import distance, timed
from tests.bench.peers import per_sample_backward, torch_func
from tests.zoo import ZOO

N = 32
PEERS = (torch_func, per_sample_backward)


def main() -> None:
    """Print a line a model."""
    warnings.simplefilter("ignore")
    print(f"N = {N}, {torch.get_num_threads()} threads")
    print(f"{'model':<26}{'px':>4}{'rmtgen':>9}{'torch.func':>12}{'per sample':>12}{'ratio':>7}{'apart':>10}")
    for name, pixels in ZOO.items():
        print(line(name, pixels), flush=True)


def line(name: str, pixels: int) -> str:
    """One model: seconds of each, how many times the better peer's rmtgen's go into it, and how far the kernels lie apart."""
    model = load_backbone(name, init="random", head="random", img_size=pixels).model
    images = torch.randn(N, 3, pixels, pixels, generator=torch.Generator().manual_seed(0))
    entk_gram(model, images[:4])
    own, seconds, apart = [], {peer: [] for peer in PEERS}, "–"
    for _ in range(2):
        taken, kernel = timed(lambda: entk_gram(model, images))
        own.append(taken)
        for peer in PEERS:
            try:
                taken, found = timed(lambda peer=peer: peer(copy.deepcopy(model), images))
            except Exception:  # noqa: BLE001, S112 - a peer that cannot run a model has no time
                continue
            seconds[peer].append(taken)
            apart = f"{distance(found, kernel.double()):.0e}"
    cells = "".join(f"{min(times):>12.2f}" if times else f"{'cannot':>12}" for times in seconds.values())
    best = min((min(times) for times in seconds.values() if times), default=float("nan"))
    return f"{name:<26}{pixels:>4}{min(own):>9.2f}{cells}{best / min(own):>7.1f}{apart:>10}"


if __name__ == "__main__":
    main()
