"""Which values of several fields do not go together.

What a single field takes is its parser's to say; what is refused here are fields that exclude each
other, or of which one needs another.
"""

from collections.abc import Iterable
from itertools import pairwise
from typing import TYPE_CHECKING

from rmtgen.errors import UsageError
from rmtgen.ridge.columns import ESTIMATING
from rmtgen.runs.concatenation import check_concatenation

if TYPE_CHECKING:
    from rmtgen.runs.config import Config


def check_choices(config: "Config") -> None:
    """Refuse choices that do not go together; the data set is not looked at.

    Raises:
        UsageError: Two fields exclude each other, or one lacks another that it needs.
    """
    if config.stratify and not config.shuffle:
        raise UsageError(
            "stratify draws the subsets, got shuffle=false with it. Leave one of them out."
        )
    if config.shard and config.cluster:
        raise UsageError(
            f"shard divides the work among processes of your own, and cluster among workers:"
            f" got shard={config.shard} with cluster={config.cluster}. Leave one of them out."
        )
    if config.split is not None and config.test == 0:
        raise UsageError(
            f"split divides off test images, got split={config.split} with test=0. Leave one of"
            " them out."
        )
    check_concatenation(config)
    _check_labels(config)
    if config.balanced:
        from rmtgen.tasks import require_balance  # it imports NumPy, which the help does without

        require_balance(config.task, config.targets == "intercept")
    _check_kernel(config)
    _check_solver(config)


def check_sizes(config: "Config") -> None:
    """Refuse sample sizes that the pool of training images cannot give, or the targets.

    Raises:
        UsageError: A size exceeds the pool, or is too small for an intercept.
    """
    if config.targets == "intercept" and min(config.sizes) < 2:
        raise UsageError(
            f"targets=intercept needs sizes ≥ 2, got {min(config.sizes)}: one sample is its own"
            " intercept."
        )
    if max(config.sizes) > config.train:
        raise UsageError(
            f"sizes must be ≤ train: expected at most {config.train}, got {max(config.sizes)}."
            " Raise train or lower sizes."
        )


def check_draws(seeds: Iterable[int | None], heads: int | None) -> None:
    """Refuse seeds whose runs would share a head, as draws of one kernel must not.

    Args:
        seeds: First seed of each run; None for a head that has none of its own.
        heads: Heads that each run averages over, of consecutive seeds; None for one.

    Raises:
        UsageError: Two seeds are the same, or less than `heads` apart.
    """
    for first, second in pairwise(sorted(seed for seed in seeds if seed is not None)):
        if second - first < (heads or 1):
            named = f" with heads={heads}" if heads else ""
            raise UsageError(
                f"runs must share no head: expected seeds at least {heads or 1} apart in head_seed,"
                f" got {first} and {second}{named}. Leave one out, or set head_seed="
                f"{first},{first + (heads or 1)}."
            )


def _check_labels(config: "Config") -> None:
    """Refuse what is of classes alone for other labels, and columns where there are none."""
    if config.task == "classes" and not config.columns:
        return
    from rmtgen.datasets.catalogue import check_labelling  # it imports NumPy

    check_labelling(config.dataset, config.labelling)
    if config.task == "classes":
        return
    if config.targets == "onehot":
        raise UsageError(
            f"targets=onehot is a coding of classes, got it with task={config.task}, whose"
            " regression has an intercept. Leave it out."
        )
    if config.stratify:
        raise UsageError(
            f"stratify balances classes, got task={config.task} with it. Leave it out."
        )


def _check_kernel(config: "Config") -> None:
    """Refuse what the kernel cannot be: averaged without seeds, sketched twice, or rows."""
    if config.kernel == "entk" and not config.has_network:
        raise UsageError(
            f"kernel=entk is of a network, and none runs on {config.dataset}. Leave kernel out."
        )
    if config.heads and config.head_seed is None:
        raise UsageError(
            f"several heads need a seed each: expected head_seed ≥ 0, got none with"
            f" heads={config.heads}. Give the first seed."
        )
    if config.layer is not None and config.kernel == "entk":
        raise UsageError(
            f"layer is for kernel=features, got layer={config.layer} with kernel=entk. Leave one of"
            " them out."
        )
    if config.projection and config.heads:
        raise UsageError(
            f"projection sketches the gradients of one head, got heads={config.heads}. Leave one"
            " of them out."
        )
    if config.tangent and config.solve_from == "features":
        raise UsageError(
            "solve_from=features is for kernel=features, got kernel=entk. Leave solve_from out,"
            " or sketch: projection=4096."
        )


def _check_solver(config: "Config") -> None:
    """Refuse what a solver cannot do, before any stage runs."""
    if config.solver == ESTIMATING and not all(config.ridges):
        raise UsageError(
            f"solver={ESTIMATING} estimates at ridges > 0: got a ridge of 0. Set"
            " ridges=1e-4:1e2:13."
        )
    if config.solver == "streamed" and not config.spill:
        raise UsageError(
            "solver=streamed needs a folder for half of an n×n matrix: got none. Set spill=DIR."
        )
