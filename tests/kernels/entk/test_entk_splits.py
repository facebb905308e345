"""Split products: their error for every range of numbers, their rounding, whole kernels."""

import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from rmtgen import entk_gram, entk_plan, load_backbone
from rmtgen.errors import NumericalError, UsageError
from rmtgen.kernels.entk import Entk, precision, split_rules, splits
from rmtgen.kernels.entk.rules import RULES, Contract, Instantiate
from rmtgen.kernels.entk.sites import Site, Window
from rmtgen.kernels.entk.split_rules import Fused, split_multiply
from tests.kernels.entk.test_entk_rules import factors, sites, weight_gradients

NUMBERS = st.floats(-(2.0**127), 2.0**127, width=32)


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def product(left, right, chunk=64, cut=True):
    kernel = torch.zeros(len(left), len(right), dtype=torch.float64)
    sides = (splits.split(side[:, None], chunk) for side in (left, right))
    splits.multiply(kernel, *sides, False, cut=cut)
    return kernel


def over_norms(found, left, right):
    norms = [side.double().norm(dim=1).clamp(min=1e-300) for side in (left, right)]
    return found / norms[0][:, None] / norms[1]


@given(st.lists(st.lists(NUMBERS, min_size=7, max_size=7), min_size=2, max_size=5))
def test_halves_hold_rows_of_any_range(rows):
    """Zeros, denormal numbers and the largest among them: within 2⁻²¹ of the norm of the row."""
    rows = torch.tensor(rows)
    halves = splits.split(rows[:, None], 32)
    off = (halves.joined()[:, :7] - rows.double()).norm(dim=1)
    assert (off <= 2**-21 * rows.double().norm(dim=1)).all()


@settings(max_examples=40)
@given(
    st.integers(1, 4), st.integers(1, 3), st.integers(1, 140),
    st.lists(st.integers(-120, 120), min_size=140, max_size=140), st.booleans(),
)  # fmt: skip
def test_products_have_the_error_of_float32_in_any_range(n, m, p, exponents, cut):
    spread = 2.0 ** torch.tensor(exponents[:p], dtype=torch.float64)
    left, right = ((random(rows, p, seed=rows) * spread).float() for rows in (n, m))
    exact = left.double() @ right.double().T
    off = over_norms(product(left, right, cut=cut) - exact, left, right)
    assert off.abs().max() < 2**-20


def test_rows_of_zeros_have_products_of_zero_and_change_no_other():
    rows = random(5, 300)
    kernel, without = torch.zeros(2, 5, 5, dtype=torch.float64)
    split_multiply(without, rows, rows, symmetric=True)
    rows[2] = 0
    split_multiply(kernel, rows, rows, symmetric=True)
    assert not kernel[2].any()
    assert not kernel[:, 2].any()
    kept = torch.tensor([0, 1, 3, 4])
    assert torch.equal(kernel[kept][:, kept], without[kept][:, kept])


@pytest.mark.parametrize("value", [torch.inf, -torch.inf, torch.nan])
def test_what_is_not_finite_stays_with_its_row(value):
    rows = random(5, 300)
    kernel, finite = torch.zeros(2, 5, 5, dtype=torch.float64)
    split_multiply(finite, rows, rows, symmetric=False)
    rows[3, 70] = value
    split_multiply(kernel, rows, rows, symmetric=False)
    assert not kernel[3].isfinite().any()
    assert not kernel[:, 3].isfinite().any()
    kept = torch.tensor([0, 1, 2, 4])
    assert torch.equal(kernel[kept][:, kept], finite[kept][:, kept])


def test_the_fused_rule_keeps_what_is_not_finite_with_its_row_and_zeros_at_zero():
    site = Site(Window((2, 2), (3, 3), (1, 1), (1, 1)), 5, 4, 1, (4, 5, 3, 3))
    a, g = random(4, 4, 5), random(4, 4, 4, seed=1)
    a[1], g[2, 3, 0] = 0, torch.inf
    kernel = torch.zeros(4, 4, dtype=torch.float64)
    Fused().add(kernel, site, (a, g), (a, g), 2**20, False)
    assert not kernel[2, [0, 2, 3]].isfinite().any()
    assert not kernel[[0, 2, 3], 2].isfinite().any()
    assert not kernel[1, [0, 1, 3]].any()
    assert kernel[[0, 3]][:, [0, 3]].isfinite().all()


def test_numbers_beyond_float16_beside_larger_ones_need_no_other_parts():
    """Three numbers of a row span 60 powers of two, float16 holds 40: within 2⁻²¹ of the norms."""
    rows = random(6, 3) * torch.tensor([2.0**30, 1.0, 2.0**-30])
    kernel = torch.zeros(6, 6, dtype=torch.float64)
    split_multiply(kernel, rows, rows, symmetric=False)
    assert over_norms(kernel - rows.double() @ rows.double().T, rows, rows).abs().max() < 2**-21
    apart = rows.T.contiguous()  # each range in a row of its own: every entry is exact to rounding
    kernel = torch.zeros(3, 3, dtype=torch.float64)
    split_multiply(kernel, apart, apart, symmetric=False)
    assert over_norms(kernel - apart.double() @ apart.double().T, apart, apart).abs().max() < 2**-21


def test_cut_sums_of_positive_numbers_are_too_small_unless_they_are_short(monkeypatch):
    rows = random(6, 4096).abs() + 0.5
    exact = rows.double() @ rows.double().T

    def bias(**options):
        return (product(rows, rows, 2048, **options) / exact - 1).mean().item()

    assert abs(bias(cut=False)) < 2e-8
    assert -4e-7 < bias() < -5e-8
    monkeypatch.setattr(splits, "STEP", 2048)
    assert bias() < -2e-6


def test_the_diagonal_gets_what_is_dropped():
    """Without low·low the diagonal is too small by 4e-8; cut sums aside, nothing else is."""
    rows = random(20, 2048)
    halves = splits.split(rows[:, None], 2048)
    exact = rows.double().square().sum(dim=1)
    kept = halves.joined().square().sum(dim=1) - halves.dropped()
    assert ((kept / exact - 1) < -2e-8).all()
    torch.testing.assert_close(kept + halves.dropped(), exact, rtol=2e-8, atol=0)
    kernel = torch.zeros(20, 20, dtype=torch.float64)
    split_multiply(kernel, rows, rows, symmetric=True)
    torch.testing.assert_close(
        kernel.diagonal(),
        product(rows, rows, 2048).diagonal() + halves.dropped(),
        rtol=1e-15,
        atol=0,
    )


@settings(max_examples=60)
@given(sites(), st.integers(1, 5), st.integers(1, 4), st.booleans(), st.sampled_from([64, 2**24]))
def test_the_fused_rule_gives_the_inner_products_of_the_gradients(site, n, m, symmetric, workspace):
    if not Fused().applies(site):
        return
    rows, columns = factors(site, n, 1), factors(site, m, 2)
    rows = tuple(factor * torch.logspace(-9, 9, n)[:, None, None] for factor in rows)
    columns = rows if symmetric else columns
    left, right = (weight_gradients(site, *side).flatten(1) for side in (rows, columns))
    kernel = torch.zeros(n, len(right), dtype=torch.float64)
    single = [tuple(factor.float() for factor in side) for side in (rows, columns)]
    Fused().add(kernel, site, *single, workspace, symmetric)
    # Sums of both signs are as exact as float32 sums are: relative to those of absolute values.
    absolute = [
        weight_gradients(site, *(factor.abs() for factor in side)).flatten(1)
        for side in (rows, columns)
    ]
    off = over_norms(kernel - left @ right.T, *absolute)
    assert (off.tril() if symmetric else off).abs().max() < 2**-19


def test_positions_of_very_different_size_are_as_exact_as_others():
    """The large input meets a zero gradient, so that all of the gradient comes from the small."""
    site = Site(Window((2, 1)), 5, 4, 1, (4, 5))
    a = random(3, 2, 5) * torch.tensor([1.0, 1e-15])[:, None]
    g = random(3, 2, 4, seed=1) * torch.tensor([0.0, 1.0])[:, None]
    kernel, exact = torch.zeros(2, 3, 3, dtype=torch.float64)
    Fused().add(kernel, site, (a, g), (a, g), 2**20, True)
    Contract().add(exact, site, *[(a.double(), g.double())] * 2, 2**20, False)
    torch.testing.assert_close(kernel, exact, rtol=1e-6, atol=0)


def test_the_stated_flops_of_the_fused_rule_are_its_products():
    site = Site(Window((3, 2), (3, 3), (2, 1), (1, 1)), 6, 5, 1, (5, 6, 3, 3))
    terms = splits.Terms.of(site.window, torch.device("cpu"))
    assert Fused().cost(site).pair_flops == 2 * (len(terms.pairs) * 6 + (len(terms.ends) - 1) * 5)


@pytest.fixture(scope="module")
def network():
    model = load_backbone("resnet18", init="random", head="random", img_size=32).model
    images = random(6, 3, 32, 32)
    return model, images, entk_gram(model, images, dtype=torch.float64)


def test_a_split_kernel_is_that_of_float32(network):
    model, images, exact = network
    by_name = {
        name: entk_gram(model, images, precision=name, device="cpu") for name in ("ieee", "split")
    }
    errors = {
        name: ((kernel - exact).norm() / exact.norm()).item() for name, kernel in by_name.items()
    }
    assert not torch.equal(*by_name.values())
    assert errors["split"] < 1.5 * errors["ieee"] + 1e-7, errors
    assert torch.equal(by_name["split"], by_name["split"].T)
    plan = entk_plan(model, (3, 32, 32), 6, precision="split", device="cpu")
    assert "fused" in {weight.rule for weight in plan.weights}


def test_a_kernel_that_overflows_is_named_as_in_ieee():
    """Gradients of 1e20 and more: their products exceed float32, where the kernel is kept."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 5), nn.Linear(5, 1)).eval()
    images = 1e20 * random(4, 6)
    for name in ("ieee", "split"):
        with pytest.raises(NumericalError, match="float32"):
            entk_gram(model, images, precision=name, device="cpu")


def test_on_a_cpu_products_are_ieee_and_float64_is_never_split(network):
    model, images, _ = network
    assert precision.chosen("ieee", "cpu", torch.device("cpu"), torch.float32).rules is RULES
    assert precision.chosen("fast", "cpu", torch.device("cpu"), torch.float32).rules is RULES
    assert precision.chosen("split", "cpu", torch.device("cpu"), torch.float64).rules is RULES
    assert precision.chosen(None, "cpu", torch.device("cpu"), torch.float32) is precision.IEEE
    for name in ("tf32", "", 3):
        with pytest.raises(UsageError, match="precision must be one of ieee, split, fast"):
            entk_gram(model, images, precision=name)


@pytest.mark.parametrize("name", ["split", "fast"])
def test_a_device_without_tensor_cores_multiplies_in_ieee_with_one_warning(name, monkeypatch):
    device = torch.device("cuda")
    monkeypatch.setattr(precision, "refusal", lambda _: "The card has none.")
    with pytest.warns(UserWarning, match="The card has none") as told:
        found = precision.chosen(name, "cuda", device, torch.float32)
    assert found is precision.IEEE
    assert len(told) == 1
    assert precision.chosen("ieee", "cuda", device, torch.float32) is precision.IEEE
    monkeypatch.setattr(precision, "refusal", lambda _: "")
    rules = precision.chosen(name, "cuda", device, torch.float32).rules
    assert [one.name for one in rules] == ["instantiate", "fused"]
    assert isinstance(rules[0], Instantiate)


def test_without_a_name_products_are_split_where_the_device_can(monkeypatch):
    device = torch.device("cuda")
    monkeypatch.setattr(precision, "refusal", lambda _: "")
    assert precision.chosen(None, "cuda", device, torch.float32).name == "split"
    assert precision.chosen(None, "cuda", device, torch.float64) is precision.IEEE
    monkeypatch.setattr(precision, "refusal", lambda _: "The card has none.")
    assert precision.chosen(None, "cuda", device, torch.float32) is precision.IEEE
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 5), nn.Linear(5, 1)).eval()
    images = random(4, 3, 2, 2)
    for name, products in ((None, "ieee"), ("split", "split"), ("fast", "ieee")):
        assert Entk(model, images, device="cpu", precision=name).layout.products == products
    plan = entk_plan(model, (3, 2, 2), 6, device="cpu")
    assert plan.products == "ieee"
    assert "(ieee)" in str(plan)


def fails(*_, **__):
    raise RuntimeError("out of resource: shared memory")


@pytest.mark.parametrize(
    ("device", "capability", "replaced", "reason"),
    [
        ("cuda", (7, 5), {}, "no tensor cores"),
        ("cuda", (9, 0), {}, "Triton is missing"),
        ("cpu", (9, 0), {}, ""),
        ("cpu", (9, 0), {"multiply": fails}, "fails with RuntimeError: out of resource"),
        ("cpu", (9, 0), {"contract": lambda *_: None}, "a relative error of 1e+00"),
    ],
)
def test_what_is_refused(device, capability, replaced, reason, monkeypatch):
    """A device of the CPU stands for one of CUDA, with its emulated tensor cores."""
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "A card")
    monkeypatch.setitem(sys.modules, "rmtgen.kernels.entk.tensor_cores", None)
    monkeypatch.delattr("rmtgen.kernels.entk.tensor_cores", raising=False)
    for name, function in replaced.items():
        monkeypatch.setattr(splits, name, function)
    said = split_rules.refusal.__wrapped__(torch.device(device))
    assert reason in said
    assert bool(said) == bool(reason)
