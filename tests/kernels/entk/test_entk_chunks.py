"""Parameters in chunks: the same kernel, in fewer passes and with less formed."""

from functools import partial

import pytest
import torch
from counted import Still, flops
from torch import nn

from rmtgen import entk_gram, entk_plan, load_backbone
from rmtgen.errors import NumericalError
from rmtgen.kernels.entk import Entk
from rmtgen.kernels.entk import chunks as module
from rmtgen.kernels.entk.chunks import chunks, summed
from rmtgen.kernels.entk.plan import RandomImages, plan_chunks, schedule
from rmtgen.kernels.entk.schedule import Panel

PIXELS, N = 24, 13
EVERY, ROWS, COLUMNS = range(N), range(5), range(5, N)


@pytest.fixture(scope="module")
def model():
    return load_backbone("test_resnet", init="random", head="random", img_size=PIXELS).model


@pytest.fixture(scope="module")
def images():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(N, 3, PIXELS, PIXELS, generator=generator, dtype=torch.float64)


@pytest.fixture(scope="module")
def jacobian(model, images):
    """∂f/∂θ of every image by autograd, by the name of the parameter."""
    own = {name: value.detach().double() for name, value in model.named_parameters()}
    buffers = {name: value.double() for name, value in model.named_buffers()}
    rows = []
    for image in images:

        def output(values, image=image):
            both = values | buffers
            return torch.func.functional_call(model, both, (image[None].expand(2, -1, -1, -1),))[
                0, 0
            ]

        rows.append(torch.func.grad(output)(own))
    return {name: torch.stack([row[name].flatten() for row in rows]) for name in own}


@pytest.fixture(autouse=True)
def light(monkeypatch):
    """The network takes no memory: it outweighs the gradients of so few images."""
    monkeypatch.setattr(module, "_network_bytes", lambda _: 0)


def tight(entk, samples):
    """A budget in which the gradients of so many samples fit."""
    return samples * 8 * entk.layout.entries + 2 * entk.image_bytes


def divided(entk, most):
    """The kernel in chunks of at most so many entries."""
    order = module._first_calls(entk)
    sizes = {name: entk.layout.restricted([name], 0).entries for name in order}
    groups = list(module._groups(sizes, most))
    assert [name for names in groups for name in names] == list(order)
    return [entk.restricted(names, order[names[0]], entk.budget) for names in groups]


@pytest.fixture
def opened(model, images):
    whole = Entk(model, images, dtype=torch.float64, device="cpu")

    def opened(samples=5, **options):
        options = {
            "dtype": torch.float64,
            "device": "cpu",
            "memory": tight(whole, samples),
        } | options
        return Entk(model, images, **options)

    return opened


def close(found, expected):
    torch.testing.assert_close(
        found, expected, rtol=1e-10, atol=1e-10 * float(expected.abs().max())
    )


@pytest.mark.parametrize("share", [1.0, 0.4, 0.0], ids=["one", "some", "a parameter each"])
@pytest.mark.parametrize("sides", [(EVERY, EVERY), (ROWS, COLUMNS)], ids=["symmetric", "across"])
def test_the_sum_over_chunks_is_the_kernel_of_autograd(opened, jacobian, share, sides):
    entk = opened()
    groups = divided(entk, share * entk.layout.entries)
    assert len(groups) == 1 if share == 1.0 else len(groups) > 1
    found = summed(groups, *sides)["whole"]
    rows, columns = ([*side] for side in sides)
    close(found, sum(own[rows] @ own[columns].T for own in jacobian.values()))


def test_each_chunk_is_the_kernel_of_its_parameters(opened, jacobian):
    groups = divided(opened(), 0.3 * opened().layout.entries)
    for group in groups:
        part = group.opened()
        assert part.passes.capture.parameters.keys() == set(group.names)
        assert (part.capacity, part.batch, part.grain) == (group.capacity, group.batch, group.grain)
        assert part.division(EVERY, EVERY) == group.division(EVERY, EVERY)
        found = part.block(EVERY, EVERY)
        close(found, sum(jacobian[name] @ jacobian[name].T for name in group.names))


def test_parts_by_layer_and_by_output_are_those_of_one_piece(opened, model, images):
    heads = nn.Sequential(model[0], nn.Linear(model[1].in_features, 3)).eval()
    for by, own in (("layer", model), ("output", heads)):
        options = {"by": by, "dtype": torch.float64, "device": "cpu"}
        entk = Entk(own, images, **options)
        found = summed(divided(entk, 0.4 * entk.layout.entries), ROWS, COLUMNS)
        expected = entk.blocks(ROWS, COLUMNS)
        assert found.keys() == expected.keys()
        for name, part in found.items():
            close(part, expected[name])


def test_a_tight_budget_divides_the_parameters_and_the_caller_sees_the_same(
    opened, model, images, monkeypatch
):
    entk, expected = opened(4), opened(100).block(EVERY, EVERY)
    groups = chunks(entk, EVERY, EVERY)
    assert len(groups) > 1
    passed = [part.opened() for part in groups]
    for part in passed:
        part.block(EVERY, EVERY)
    counted = [schedule(group, [Panel(EVERY, EVERY)], 91).images for group in groups]
    assert [part._blocks.computed for part in passed] == counted
    options = {"dtype": torch.float64, "device": "cpu", "memory": entk.budget}
    close(entk_gram(model, images, **options), expected)
    monkeypatch.setattr(module, "WORTH", 0.0)
    assert chunks(entk, EVERY, EVERY) == [entk]


def test_a_spill_holds_one_chunk_at_a_time_and_changes_no_bit(opened, model, images, tmp_path):
    entk = opened(4)
    options = {"dtype": torch.float64, "device": "cpu", "memory": entk.budget}
    groups = chunks(opened(4, spill=tmp_path), EVERY, EVERY)
    assert [group.names for group in groups] == [own.names for own in chunks(entk, EVERY, EVERY)]
    expected = entk_gram(model, images, **options)
    assert torch.equal(entk_gram(model, images, spill=tmp_path, **options), expected)
    assert not any(tmp_path.iterdir())


def test_what_fits_or_needs_other_passes_is_not_divided(opened):
    assert len(chunks(opened(100), EVERY, EVERY)) == 1
    entk = opened(4)
    assert len(chunks(entk, EVERY, EVERY, sums=entk.budget)) == 1
    entk.passes.capture.fallback = ("head",)
    assert len(chunks(entk, EVERY, EVERY)) == 1


def test_a_copy_of_the_network_counts_to_the_budget(opened, monkeypatch):
    entk = opened(4)
    spare = entk.budget // 8
    monkeypatch.setattr(module, "_network_bytes", lambda _: spare)
    groups = chunks(entk, EVERY, EVERY)
    assert {group.budget for group in groups} == {entk.budget - spare}
    monkeypatch.setattr(module, "_network_bytes", lambda _: entk.budget)
    assert chunks(entk, EVERY, EVERY) == [entk]


def test_chunks_are_chosen_by_the_flops_of_passes_and_forming(opened):
    entk = opened(4)
    groups = chunks(entk, EVERY, EVERY)
    cost = sum(group.division(EVERY, EVERY)[0] for group in groups)
    for share in (1.0, 0.7, 0.4, 0.2):
        other = divided(entk, share * entk.layout.entries)
        if len(other) in (1, *module.NUMBERS):
            assert cost <= 1.05 * sum(group.division(EVERY, EVERY)[0] for group in other)


class Chain(nn.Module):
    """Convolutions in a row, so that every backward pass ends where the chunk begins."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            *(nn.Conv2d(2, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 3), nn.ReLU()),
            *(nn.Flatten(), nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 1)),
        )

    def forward(self, images):
        return self.layers(images)


@pytest.mark.parametrize("share", [0.6, 0.2])
def test_the_plan_counts_every_flop_of_every_chunk(share):
    entk = Entk(Chain().eval(), RandomImages(200, (2, 6, 6)))
    entk.grain, entk.capacity = 3, 9
    groups = divided(entk, share * entk.layout.entries)
    sides, pairs = (range(9), range(9, 20)), 99
    found = plan_chunks(entk, [(own, [Panel(*sides)]) for own in groups], "all", pairs, Still())
    parts = [group.opened() for group in groups]
    assert found.chunks == len(groups) > 1
    assert found.flops == sum(flops(partial(part.blocks, *sides)) for part in parts)
    assert found.pass_flops < len(groups) * 20 * entk.cost.passing
    whole = plan_chunks(entk, [(entk, [Panel(*sides)])], "all", pairs, Still())
    assert found.kernel_flops == whole.kernel_flops
    assert found.least_flops == whole.least_flops
    assert found.forming_flops < whole.forming_flops


def test_a_plan_names_its_chunks(opened, model):
    options = {"dtype": torch.float64, "device": "cpu", "memory": opened(4).budget}
    text = str(entk_plan(model, (3, PIXELS, PIXELS), N, **options))
    assert "parameters in" in text
    assert "with all parameters at once" in text


def test_a_sum_over_chunks_beyond_float32_is_named():
    class Sums(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = (nn.Linear(8192, 1, bias=False) for _ in range(2))

        def forward(self, x):
            return self.a(x) + self.b(x)

    rows = torch.tensor([1.5e17, 1.4e17])[:, None].expand(2, 8192)
    entk = Entk(Sums().eval(), rows, device="cpu")
    with pytest.raises(NumericalError, match="overflows torch.float32"):
        summed(divided(entk, 0), range(2), range(2))
