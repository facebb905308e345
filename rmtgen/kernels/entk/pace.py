"""The seconds of a kernel before it is computed: counted work at rates measured with its own code.

The passes are timed on one batch, the products of stored gradients on one piece of them, and the
rules on a few samples at the sites that cost most. At any other site a rule is as fast as at the
costliest one, in the FLOPs and bytes of its cost.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt

import torch
from torch import Tensor

from rmtgen.device import fp32_precision
from rmtgen.kernels.entk.kernel import Entk
from rmtgen.kernels.entk.rules import BALANCE, Instantiate, Rule
from rmtgen.kernels.entk.sites import Site
from rmtgen.kernels.entk.work import Repeats
from rmtgen.rates import Rates

COVERED = 0.9
"""Share of the cost of all rules that is measured at its own site."""

MOST_SITES = 6
"""Sites that are measured at most, beside one of each rule."""

ROWS = {"cpu": 1024, "cuda": 8192}
"""Largest number of samples of a product that is timed."""

FLOPS = {"cpu": 2e9, "cuda": 5e11}
"""FLOPs of a rule that is timed."""

MOST_SAMPLES = 512
"""Samples of a rule that is timed, at most."""

ENTRIES = 2**23
"""Entries of the stored gradients that are multiplied: more than a CPU caches."""

Task = tuple[Rule, Site]
"""What is measured once, for however many weights."""


@dataclass(frozen=True)
class Seconds:
    """Predicted seconds of a kernel on a device with nothing else to do.

    Attributes:
        check: The check of the model on two images.
        passes: All passes, with the gradients that are stored.
        products: Products between samples, with the gradients that are formed for them.
    """

    check: float
    passes: float
    products: float

    @property
    def total(self) -> float:
        """Their sum."""
        return self.check + self.passes + self.products

    def __add__(self, other: "Seconds") -> "Seconds":
        """The seconds of both, part by part."""
        return Seconds(
            self.check + other.check, self.passes + other.passes, self.products + other.products
        )


@dataclass(frozen=True)
class Pace:
    """Measured seconds of the parts of a kernel.

    Attributes:
        check: Seconds of the check of the model.
        image: Seconds of a pass per image.
        product: FLOPs per second of a product of stored gradients.
        formed: Seconds per sample whose gradient is formed from factors, by rule and site.
        pair: Seconds per pair of samples, by rule and site.
    """

    check: float
    image: float
    product: float
    formed: Mapping[Task, float]
    pair: Mapping[Task, float]

    def seconds(self, entk: Entk, repeats: Repeats) -> Seconds:
        """The prediction for a kernel, or a chunk of it, whose parts are repeated so often."""
        layout = entk.layout
        products = 2 * repeats.pairs * layout.width / self.product
        for one in layout.factored.values():
            task = one.rule, one.site
            products += repeats.formed * self.formed[task] + repeats.pairs * self.pair[task]
        passes = repeats.images * entk.share * self.image
        return Seconds(self.check, passes, layout.outputs * products)

    @classmethod
    def measured(cls, entk: Entk, repeats: Repeats, rates: Rates) -> "Pace":
        """Measure the parts of a kernel, in a second or a few.

        Args:
            entk: The kernel.
            repeats: How often each part is repeated, which tells what is worth measuring.
            rates: The speed of its device.
        """
        with fp32_precision(entk.passes.precision):
            count = min(entk.batch, len(entk.passes.images))
            image = rates.seconds(lambda: entk._gradients((0, count))) / count
            # it is not repeated: other work stretches either, threads that wait the second
            check = min(entk.passes.checking[0] / rates.stretch, entk.passes.checking[1])
            product = _product_rate(entk, rates)
            formed, pair = _of_rules(entk, repeats, rates, product)
        return cls(check, image, product, formed, pair)


def _product_rate(entk: Entk, rates: Rates) -> float:
    """FLOPs per second of the symmetric product of as many rows as a tile has."""
    rows = min(_edge(entk), ROWS[entk.passes.device.type])
    gradients = _noise(entk, rows, max(1, ENTRIES // rows))
    kernel = torch.zeros(rows, rows, dtype=torch.float64, device=gradients.device)
    multiply = entk.layout.arithmetic.multiply
    seconds = rates.seconds(lambda: multiply(kernel, gradients, gradients, symmetric=True))
    return rows * (rows + 1) * gradients.shape[1] / seconds


def _edge(entk: Entk) -> int:
    """Samples of the smaller of two blocks that are multiplied."""
    every = range(len(entk.passes.images))
    return entk.division(every, every)[1].streamed


def _of_rules(
    entk: Entk, repeats: Repeats, rates: Rates, product: float
) -> tuple[dict[Task, float], dict[Task, float]]:
    """Seconds per sample formed and per pair, of each rule at each of its sites."""
    balance = BALANCE[entk.passes.device.type]
    costs: Counter[Task] = Counter()
    for one in entk.layout.factored.values():
        cost = one.rule.cost(one.site)
        costs[one.rule, one.site] += cost.equivalent(repeats.formed, repeats.pairs, balance)
    formed: dict[Task, float] = {}
    pair: dict[Task, float] = {}
    for task in _worth_measuring(costs):
        formed[task], pair[task] = _of_rule(entk, *task, rates, product)
    for rule, site in costs:
        if (rule, site) not in pair:
            like = max((task for task in pair if task[0] is rule), key=costs.__getitem__)
            own, measured = rule.cost(site), rule.cost(like[1])
            for part, counts in ((formed, (1, 0)), (pair, (0, 1))):
                scale = measured.equivalent(*counts, balance)
                share = own.equivalent(*counts, balance) / scale if scale else 0.0
                part[rule, site] = share * part[like]
    return formed, pair


def _worth_measuring(costs: Mapping[Task, float]) -> list[Task]:
    """The costliest site of each rule, and further ones until most of the cost is covered."""
    ordered = sorted(costs, key=costs.__getitem__, reverse=True)
    chosen = [task for at, task in enumerate(ordered) if task[0] not in _rules(ordered[:at])]
    for task in ordered[:MOST_SITES]:
        if sum(costs[one] for one in chosen) >= COVERED * sum(costs.values()):
            break
        if task not in chosen:
            chosen.append(task)
    return chosen


def _rules(tasks: Sequence[Task]) -> list[Rule]:
    return [rule for rule, _ in tasks]


def _of_rule(
    entk: Entk, rule: Rule, site: Site, rates: Rates, product: float
) -> tuple[float, float]:
    """Seconds of a rule at a site, per sample formed and per pair."""
    cost, flops = rule.cost(site), FLOPS[entk.passes.device.type]
    most, formed = min(_edge(entk), MOST_SAMPLES), 0.0
    if cost.sample_flops:
        n = _within(flops / cost.sample_flops, most)
        formed = rates.seconds(_use(entk, rule, site, n, 1)) / (n + 1)
    if isinstance(rule, Instantiate):
        return formed, cost.pair_flops / product
    n = _within(sqrt(flops / cost.pair_flops), most)
    return formed, rates.seconds(_use(entk, rule, site, n, n)) / n**2


def _within(count: float, most: int) -> int:
    return max(1, min(int(count), most))


def _use(entk: Entk, rule: Rule, site: Site, n: int, m: int) -> Callable[[], None]:
    """The use of a rule between n and m other samples."""
    rows, columns = (
        (
            _noise(entk, size, site.t_in, site.c_in),
            _noise(entk, size, site.t, site.c_out),
        )
        for size in (n, m)
    )
    kernel = torch.zeros(n, m, dtype=torch.float64, device=rows[0].device)
    return lambda: rule.add(kernel, site, rows, columns, entk.workspace, symmetric=False)


def _noise(entk: Entk, *shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(shape, dtype=entk.passes.dtype, generator=generator)
    return noise.to(entk.passes.device)
