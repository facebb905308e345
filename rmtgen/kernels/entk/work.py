"""The work of a kernel, counted weight by weight: passes, gradients formed, and products.

A FLOP is a multiplication or an addition in a product of matrices or in a convolution, also where
it meets padding, as `torch.utils.flop_counter` counts. Normalisations, activations, the additions
between products and recurrent layers are left out: they take time, and no bound counts them.
"""

from dataclasses import dataclass
from math import prod

from rmtgen.kernels.entk.factors import FactoredWeight, Layout
from rmtgen.kernels.entk.passes import Passes
from rmtgen.kernels.entk.rules import RULES, Instantiate
from rmtgen.kernels.entk.schedule import SampleCost
from rmtgen.kernels.entk.sites import Site

MATERIALISED = "materialised"
"""Rule of a weight whose gradient is stored."""


@dataclass(frozen=True)
class Repeats:
    """How often a schedule does each part of the work.

    Attributes:
        samples: Different images.
        images: Images that pass through the network, with repetitions.
        formed: Samples whose gradients are formed from their factors, with repetitions.
        pairs: Entries of the kernel that are computed.
    """

    samples: int
    images: int
    formed: int
    pairs: int


@dataclass(frozen=True)
class WeightPlan:
    """The cost of one weight, or of all that has none.

    Attributes:
        name: Name of the parameter.
        rule: How its part of the kernel is computed; "materialised" if its gradient is stored.
        parameters: Entries of the weight.
        entries: Entries stored per sample.
        pass_flops: FLOPs of its forward and backward passes for all images.
        forming_flops: FLOPs of forming its gradients.
        kernel_flops: FLOPs of the products between samples.
        least_flops: FLOPs in total with every image passed once and the rule of the fewest.
    """

    name: str
    rule: str
    parameters: int
    entries: int
    pass_flops: float
    forming_flops: float
    kernel_flops: float
    least_flops: float

    @property
    def flops(self) -> float:
        """FLOPs in total."""
        return self.pass_flops + self.forming_flops + self.kernel_flops


def count(passes: Passes, layout: Layout, repeats: Repeats) -> list[WeightPlan]:
    """One entry per weight, in the order of use, and one for all other parameters and products."""
    return [*_weights(passes, layout, repeats), _rest(passes, layout, repeats)]


def sample_cost(passes: Passes, layout: Layout) -> SampleCost:
    """FLOPs of a sample: of its pass, of forming its gradients in a tile, and of a pair."""
    passed, formed, met = (
        sum(
            weight.pass_flops + weight.forming_flops + weight.kernel_flops
            for weight in _weights(passes, layout, repeats)
        )
        for repeats in (Repeats(0, 1, 0, 0), Repeats(0, 0, 1, 0), Repeats(0, 0, 0, 1))
    )
    return SampleCost(passed, formed, max(1.0, met))


def _weights(passes: Passes, layout: Layout, repeats: Repeats) -> list[WeightPlan]:
    found, sited = [], set()
    for number, (name, site) in layout.sites.items():
        entry = _Entry(passes, layout, number, site, repeats)
        if factored := layout.factored.get(number):
            found.append(entry.factored(factored))
        else:
            found.append(entry.materialised(name, repeated=name in sited))
        sited.add(name)
    return found


@dataclass(frozen=True)
class _Entry:
    """The counts of the weight of one call."""

    passes: Passes
    layout: Layout
    number: int
    site: Site
    repeats: Repeats

    def factored(self, one: FactoredWeight) -> WeightPlan:
        """The counts of a weight that is left in factors."""
        outputs, site, repeats = self.layout.outputs, self.site, self.repeats
        cost = one.rule.cost(site)
        shared = 0 if one.input_call != self.number else site.t_in * site.c_in
        return WeightPlan(
            one.name,
            one.rule.name,
            prod(site.weight_shape),
            shared + outputs * site.t * site.c_out,
            repeats.images * self._pass_flops,
            float(outputs * repeats.formed * cost.sample_flops),
            float(outputs * repeats.pairs * cost.pair_flops),
            self._fewest(),
        )

    def materialised(self, name: str, *, repeated: bool) -> WeightPlan:
        """The counts of a weight whose gradient is stored.

        Args:
            name: Name of the weight.
            repeated: Whether an earlier call has the same weight, which is stored once.
        """
        layout, repeats = self.layout, self.repeats
        stored = 0 if repeated else layout.outputs * layout.materialised.get(name, 0)
        kept = name in layout.materialised
        forming = float(kept * layout.outputs * Instantiate().cost(self.site).sample_flops)
        products = 2.0 * repeats.pairs * stored
        return WeightPlan(
            name,
            MATERIALISED,
            0 if repeated else prod(self.site.weight_shape),
            stored,
            repeats.images * self._pass_flops,
            repeats.images * forming,
            products,
            self._fewest()
            if name in layout.in_place
            else repeats.samples * (self._pass_flops + forming) + products,
        )

    @property
    def _pass_flops(self) -> float:
        """FLOPs of a pass of one image; the backward pass ends at the first weights."""
        first = self.passes.probe[0].calls[self.number].first
        backward = 0 if first or self.number <= self.layout.first else self.layout.outputs
        return 2.0 * (1 + backward) * self.site.t * prod(self.site.weight_shape)

    def _fewest(self) -> float:
        """The fewest FLOPs by any rule."""
        rules = [rule for rule in RULES if rule.applies(self.site)] or [Instantiate()]
        samples, pairs = self.repeats.samples, self.repeats.pairs
        kernel = min(rule.cost(self.site).flops(samples, pairs) for rule in rules)
        return samples * self._pass_flops + self.layout.outputs * kernel


def _backward(layout: Layout) -> float:
    """Share of the calls that the backward pass goes through, in FLOPs."""
    sizes = {number: site.t * prod(site.weight_shape) for number, (_, site) in layout.sites.items()}
    after = sum(size for number, size in sizes.items() if number >= layout.first)
    return after / sum(sizes.values()) if sizes else 1.0


def _rest(passes: Passes, layout: Layout, repeats: Repeats) -> WeightPlan:
    """All other parameters, and the products that have no weight, such as those of attention.

    Each product has a gradient in both of its factors.
    """
    sited = {name for name, _ in layout.sites.values()}
    parameters = sum(size for name, size in layout.materialised.items() if name not in sited)
    stored = layout.outputs * parameters
    weights = sum(2 * site.t * prod(site.weight_shape) for _, site in layout.sites.values())
    capture, image = passes.capture, passes.fetch([0])
    forward = capture.forward_flops(image)
    passing = (1 + 2 * layout.outputs * _backward(layout)) * max(0, forward - weights)
    if capture.fallback and len(capture.fallback) < len(capture.parameters):
        passing += 2 * layout.outputs * forward
    kernel = 2.0 * repeats.pairs * stored
    return WeightPlan(
        "biases, norms and all others",
        MATERIALISED,
        parameters,
        stored,
        float(repeats.images * passing),
        0.0,
        kernel,
        repeats.samples * passing + kernel,
    )
