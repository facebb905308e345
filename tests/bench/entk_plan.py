"""The seconds that `entk_plan` predicts beside those that `entk_gram` takes, part by part.

`make bench BENCH=entk_plan`. CASES chooses models, pixels and N as for `entk`, with a memory budget
as a fourth word where it matters: CASES="resnet18:32:2048 resnet18:32:512:192MiB".
"""

import os
import statistics
import warnings

from rmtgen import entk_plan
from rmtgen.kernels.entk import Entk
from tests.bench.entk import problem
from tests.bench.machine import describe, timed

CASES = (
    *("resnet18:32:256", "resnet18:32:1024", "resnet18:32:2048", "resnet18:32:1024:192MiB"),
    *("resnet18:64:512", "resnet18:224:64", "resnet50:32:512", "resnet50:64:128"),
    *("vit_tiny_patch16_224:224:64", "maxvit_rmlp_pico_rw_256:128:64", "densenet121:32:256"),
    *("tf_efficientnet_lite0:64:256", "convnext_atto:64:128"),
)


def main() -> None:
    """Print one row per case; the median and the largest ratio."""
    warnings.simplefilter("ignore")
    print(describe())
    print(f"{'':<40}{'predicted: check, passes, products':>38}{'measured':>32}{'ratio':>8}")
    ratios = [row(*case.split(":")) for case in os.environ.get("CASES", " ".join(CASES)).split()]
    away = sorted(max(ratio, 1 / ratio) for ratio in ratios)
    print(
        f"{len(away)} cases: off by {statistics.median(away) - 1:.0%}, at most {away[-1] - 1:.0%}"
    )


def row(name: str, pixels: str, n: str, memory: str = "4GiB") -> float:
    """One case: predicted over measured seconds."""
    model, images = problem(name, int(pixels), int(n))
    planning, plan = timed(lambda: entk_plan(model, images.shape[1:], len(images), memory=memory))
    taken = measured(model, images, memory)
    guess = plan.seconds
    ratio = guess.total / sum(taken)
    print(
        f"{name}, {pixels} px, N = {n}, {memory}".ljust(42)
        + f"{guess.total:>8.2f}: {guess.check:>6.2f} {guess.passes:>8.2f} {guess.products:>8.2f}"
        + f"{sum(taken):>10.2f}: {taken[0]:>6.2f} {taken[1]:>8.2f} {taken[2]:>8.2f}{ratio:>8.2f}"
        + f"  (planned in {planning:.1f} s)",
        flush=True,
    )
    return ratio


def measured(model, images, memory) -> tuple[float, float, float]:
    """Seconds of the check, of the passes, and of the rest of `entk_gram`."""
    check, kernel = timed(lambda: Entk(model, images, memory=memory))
    passes, inner = [], kernel._gradients

    def gradients(span):
        seconds, block = timed(lambda: inner(span))
        passes.append(seconds)
        return block

    kernel._gradients = gradients
    spans = range(len(images)), range(len(images))
    whole, _ = timed(lambda: kernel.block(*spans))
    return check, sum(passes), whole - sum(passes)


if __name__ == "__main__":
    main()
