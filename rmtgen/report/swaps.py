"""Swaps between runs: the spectrum of one with the target power of the other."""

from collections.abc import Sequence
from dataclasses import dataclass

from rmtgen.report.run_result import RunResult
from rmtgen.store.durable import canonical_json
from rmtgen.theory.swaps import Swap, swap

SWAP_SHARE = 16
"""The swap is made at n = N/16, where the modes of the pool may stand for the population's."""


@dataclass(frozen=True, eq=False)
class PairSwap:
    """The swap between a random and a pretrained run that differ in nothing else.

    Attributes:
        random: The random run, pool 0 of the swap.
        pretrained: The pretrained run, pool 1 of the swap.
        swap: The four risks at n = N/`SWAP_SHARE`.
    """

    random: RunResult
    pretrained: RunResult
    swap: Swap


def swaps(results: Sequence[RunResult]) -> list[PairSwap]:
    """The swaps of all pairs among the runs that have theory."""
    pairs = swap_pairs([result for result in results if result.theory])
    return [PairSwap(*pair, _swap(*pair)) for pair in pairs]


def swap_pairs(results: Sequence[RunResult]) -> list[tuple[RunResult, RunResult]]:
    """Pairs of a random and a pretrained run that differ in nothing else."""
    alike: dict[str, dict[str, RunResult]] = {}
    for result in results:
        shared = {
            name: value for name, value in result.config.items() if name not in ("init", "weights")
        }
        key = canonical_json(
            [result.model, result.dataset, result.kernel, result.spectrum.n, shared]
        )
        alike.setdefault(key, {})[result.init] = result
    return [
        (pair["random"], pair["pretrained"])
        for pair in alike.values()
        if {"random", "pretrained"} <= set(pair)
    ]


def _swap(random: RunResult, pretrained: RunResult) -> Swap:
    n = max(2, random.spectrum.n // SWAP_SHARE)
    return swap(random.spectrum, pretrained.spectrum, n)
