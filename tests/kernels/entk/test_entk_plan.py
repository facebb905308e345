"""The FLOPs of a plan against torch's counter, whatever the schedule; and its seconds."""

from collections import defaultdict

import pytest
import torch
from counted import Still, flops
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from rmtgen import entk_plan, load_backbone
from rmtgen.kernels.entk import Entk, pace
from rmtgen.kernels.entk.pace import MOST_SITES, Pace, _worth_measuring
from rmtgen.kernels.entk.plan import RandomImages, plan_panels, schedule
from rmtgen.kernels.entk.rules import BALANCE, Contract, Instantiate, Shift
from rmtgen.kernels.entk.schedule import Panel
from rmtgen.kernels.entk.sites import Site, Window

SHAPE = (2, 6, 6)


class Valid(nn.Module):
    """Convolutions without padding: the first gradient is stored, the second left in factors."""

    def __init__(self, outputs=1):
        super().__init__()
        self.first, self.second = nn.Conv2d(2, 16, 3), nn.Conv2d(16, 16, 3)
        self.head = nn.Linear(64, outputs)

    def forward(self, images):
        hidden = torch.relu(self.first(images))
        return self.head(torch.relu(self.second(hidden)).flatten(1))


def done(entk, *spans):
    """FLOPs of what the kernel does."""
    return flops(lambda: entk.blocks(*spans))


@pytest.mark.parametrize(
    ("grain", "capacity"), [(20, 20), (4, 8), (4, 12), (1, 7), (3, 100)], ids=lambda size: f"{size}"
)
@pytest.mark.parametrize(("outputs", "by"), [(1, None), (3, "output")])
def test_the_plan_counts_every_flop_of_every_schedule(grain, capacity, outputs, by):
    entk = Entk(Valid(outputs).eval(), RandomImages(200, SHAPE), by=by)
    assert {one.rule.name for one in entk.layout.factored.values()} >= {"instantiate"}
    entk.grain = grain
    entk.capacity = entk._blocks.capacity = capacity
    spans = range(9), range(9, 20)
    plan = plan_panels(entk, [Panel(*spans)], "all", 99, Still())
    assert done(entk, *spans) == plan.flops
    assert plan.images == entk._blocks.computed


def test_the_least_passes_every_image_once_by_the_rule_of_the_fewest():
    entk = Entk(Valid().eval(), RandomImages(200, SHAPE))
    spans, pairs = (range(90), range(90, 200)), 90 * 110
    whole = plan_panels(entk, [Panel(*spans)], "all", pairs, Still())
    second = whole.weights[1]
    assert second.least_flops == second.pass_flops + second.forming_flops + second.kernel_flops
    few = plan_panels(entk, [Panel(range(1), range(1, 2))], "all", 1, Still()).weights[1]
    # of so few, it is cheaper to contract
    contracted = 2 * 4**2 * (16 + 9 * 16)
    assert few.least_flops == few.pass_flops + contracted < few.pass_flops + few.forming_flops
    entk.grain, entk.capacity = 30, 60
    tiled = plan_panels(entk, [Panel(*spans)], "all", pairs, Still())
    assert (tiled.least_flops, tiled.kernel_flops) == (whole.least_flops, whole.kernel_flops)
    assert tiled.pass_flops > whole.pass_flops
    assert tiled.forming_flops > whole.forming_flops


def test_passes_and_stored_gradients_agree_with_the_counter():
    model = load_backbone("test_resnet", init="random", head="random", img_size=24).model
    entk, plan = Entk(model, RandomImages(5, (3, 24, 24))), entk_plan(model, (3, 24, 24), 5)
    with FlopCounterMode(display=False) as counter:
        entk._gradients((0, 5))
    assert counter.get_total_flops() == plan.capture_flops
    assert plan.flops == plan.pass_flops + plan.forming_flops + plan.kernel_flops


def test_products_without_weights_count_too():
    """Attention: two products a layer of every pair of tokens, forward, and twice that backward."""
    backbone = load_backbone("test_vit", init="random", head="random", img_size=32)
    plan, blocks = entk_plan(backbone.model, (3, 32, 32), 7), backbone.model[0].blocks
    tokens, width = 1 + (32 // 16) ** 2, backbone.feature_dim
    attention = 3 * len(blocks) * 2 * 2 * tokens**2 * width
    assert plan.weights[-1].pass_flops == 7 * attention


def test_the_first_layer_has_no_backward_pass():
    plan = entk_plan(Valid().eval(), SHAPE, 5)
    first, second, head, _ = plan.weights
    assert first.pass_flops == 5 * 2 * 16 * (16 * 2 * 9)
    assert second.pass_flops == 5 * 2 * 2 * 4 * (16 * 16 * 9)
    assert head.pass_flops == 5 * 2 * 2 * 64


def test_a_weight_of_two_uses_passes_twice_and_is_stored_once():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.head = nn.Linear(6, 6, bias=False), nn.Linear(6, 1, bias=False)

        def forward(self, rows):
            return self.head(torch.tanh(self.inner(torch.tanh(self.inner(rows)))))

    entk = Entk(Twice().eval(), torch.randn(4, 6))
    plan = plan_panels(entk, [Panel(range(2), range(2, 4))], "all", 4, Still())
    assert done(entk, range(2), range(2, 4)) == plan.flops == plan.least_flops
    assert sum(weight.parameters for weight in plan.weights) == 42


def test_seconds_are_counts_times_measured_paces():
    entk = Entk(Valid(3).eval(), RandomImages(200, SHAPE), by="output")
    entk.grain, entk.capacity = 30, 60
    repeats = schedule(entk, [Panel(range(90), range(90, 200))], 9900)
    tasks = [(one.rule, one.site) for one in entk.layout.factored.values()]
    formed, pair = ({task: unit * (1 + at) for at, task in enumerate(tasks)} for unit in (5.0, 7.0))
    found = Pace(1.0, 2.0, 3.0, formed, pair).seconds(entk, repeats)
    assert len(tasks) == 2
    assert found.check == 1
    assert found.passes == 2 * repeats.images
    products = 2 * 9900 * entk.layout.width / 3 + repeats.formed * (5 + 10) + 9900 * (7 + 14)
    assert found.products == pytest.approx(3 * products)
    assert found.total == found.check + found.passes + found.products


def test_every_part_is_measured_by_the_code_that_does_it():
    """Two seconds each: per image of a batch, per FLOP, per sample formed, and per pair."""
    entk, rates = Entk(Valid(3).eval(), RandomImages(200, SHAPE), output="sum"), Still()
    repeats = schedule(entk, [Panel(range(200), range(200))], 20100)
    entk.passes.checking, rates.stretch = (9.0, 4.0), 3.0
    found = Pace.measured(entk, repeats, rates)
    assert found.check == 3
    assert found.image == 2 / entk.batch
    rows, entries = 200, 2**23 // 200
    assert found.product == pytest.approx(2 * rows * (rows + 1) / 2 * entries / 2)
    for (rule, site), seconds in found.pair.items():
        if isinstance(rule, Instantiate):
            assert found.formed[rule, site] == 2 / 201
            assert seconds == 2 * site.size / found.product
        else:
            assert (found.formed[rule, site], seconds) == (0, 2 / 200**2)
    assert rates.timed == 4


def test_a_site_that_is_not_measured_is_as_fast_as_the_costliest_of_its_rule(monkeypatch):
    monkeypatch.setattr(pace, "MOST_SITES", 0)
    model = load_backbone("test_resnet", init="random", head="random", img_size=24).model
    entk, rates = Entk(model, RandomImages(40, (3, 24, 24))), Still()
    found = Pace.measured(entk, schedule(entk, [Panel(range(40), range(40))], 820), rates)
    paces, balance = defaultdict(list), BALANCE["cpu"]
    for (rule, site), seconds in found.pair.items():
        paces[rule].append(seconds / rule.cost(site).equivalent(0, 1, balance))
    assert max(map(len, paces.values())) > 1
    for own in paces.values():
        assert own == pytest.approx([own[0]] * len(own))


def test_what_is_measured_covers_every_rule_and_most_of_the_cost():
    sites = [Site(Window((1, size)), 1, 1, 1, (1, 1)) for size in range(1, 30)]
    instantiate, contract, shift = Instantiate(), Contract(), Shift()
    costs = {(contract, site): 100.0 for site in sites} | {(shift, sites[0]): 1e-3}
    chosen = _worth_measuring(costs)
    assert (shift, sites[0]) in chosen
    assert len(chosen) <= MOST_SITES + 1
    steep = {(instantiate, sites[0]): 91.0, (instantiate, sites[1]): 9.0}
    assert _worth_measuring(steep) == [(instantiate, sites[0])]
    level = {(instantiate, sites[0]): 55.0, (instantiate, sites[1]): 45.0}
    assert len(_worth_measuring(level)) == 2
    assert _worth_measuring({}) == []
