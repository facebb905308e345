"""Every rule against convolutions of autograd on random windows; the choice; FLOP counts."""

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from rmtgen.kernels.entk.forming import form
from rmtgen.kernels.entk.rules import (
    BALANCE,
    RULES,
    Contract,
    Instantiate,
    Shift,
    choose,
    multiply,
)
from rmtgen.kernels.entk.sites import Site, Window

ROOM = 2**24
pairs_of = st.tuples


def axis(low, high):
    return st.tuples(st.integers(low, high), st.integers(low, high))


@st.composite
def sites(draw, groups=False):
    window = Window(
        draw(axis(1, 6)), draw(axis(1, 4)), draw(axis(1, 3)), draw(axis(0, 3)), draw(axis(1, 2))
    )
    assume(min(window.out) >= 1)
    q = draw(st.integers(1, 3)) if groups else 1
    c_in, c_out = q * draw(st.integers(1, 4)), q * draw(st.integers(1, 4))
    return Site(window, c_in, c_out, q, (c_out, c_in // q, *window.kernel))


def factors(site, n, seed):
    generator = torch.Generator().manual_seed(seed)
    a = torch.randn(n, site.t_in, site.c_in, dtype=torch.float64, generator=generator)
    g = torch.randn(n, site.t, site.c_out, dtype=torch.float64, generator=generator)
    return a, g


def weight_gradients(site, a, g):
    """Each sample's gradient of ⟨g, conv(a, w)⟩ in w, by torch."""
    window, found = site.window, []
    weight = torch.zeros(site.weight_shape, dtype=torch.float64, requires_grad=True)
    for image, grads in zip(a, g, strict=True):
        image = image.T.reshape(1, site.c_in, *window.grid)
        out = torch.nn.functional.conv2d(
            image, weight, None, window.stride, window.padding, window.dilation, site.groups
        )
        found.append(torch.autograd.grad(out, weight, grads.T.reshape(out.shape))[0])
    return torch.stack(found)


@settings(max_examples=150)
@given(sites(groups=True), st.integers(1, 4))
def test_materialised_gradients_are_those_of_the_convolution(site, n):
    a, g = factors(site, n, 0)
    assert (
        site.window.out
        == torch.nn.functional.conv2d(
            torch.zeros(1, site.c_in, *site.window.grid),
            torch.zeros(site.weight_shape),
            None,
            site.window.stride,
            site.window.padding,
            site.window.dilation,
            site.groups,
        ).shape[2:]
    )
    torch.testing.assert_close(site.as_weight(form(site, a, g)), weight_gradients(site, a, g))


@settings(max_examples=150)
@given(
    sites(),
    st.integers(1, 5),
    st.integers(1, 5),
    st.sampled_from(RULES),
    st.booleans(),
    st.sampled_from([64, 2000, ROOM]),
)
def test_every_rule_gives_the_inner_products_of_the_gradients(
    site, n, m, rule, symmetric, workspace
):
    assume(rule.applies(site))
    rows, columns = factors(site, n, 1), factors(site, m, 2)
    columns = rows if symmetric else columns
    left, right = (weight_gradients(site, *side).flatten(1) for side in (rows, columns))
    kernel = torch.ones(n, len(columns[0]), dtype=torch.float64)
    rule.add(kernel, site, rows, columns, workspace, symmetric)
    expected = left @ right.T + 1
    if symmetric:
        kernel, expected = kernel.tril(), expected.tril()
    torch.testing.assert_close(kernel, expected, rtol=1e-11, atol=1e-11)


def test_a_tap_that_only_meets_padding_is_left_out():
    """A 3×3 window on a single pixel is its centre alone: one tap, not nine."""
    site = Site(Window((1, 1), (3, 3), (1, 1), (1, 1)), 5, 7, 1, (7, 5, 3, 3))
    assert (site.k, site.depth, site.size) == (1, 5, 35)
    taps = site.as_weight(form(site, *factors(site, 2, 0))).flatten(3)
    assert taps.count_nonzero(dim=3).eq(1).all()
    assert taps[..., 4].ne(0).all()


@pytest.mark.parametrize(
    ("site", "rule"),
    [
        (Site(Window((16, 16), (3, 3), (1, 1), (1, 1)), 64, 64, 1, (64, 64, 3, 3)), Instantiate),
        (Site(Window((4, 4), (3, 3), (1, 1), (1, 1)), 256, 256, 1, (256, 256, 3, 3)), Shift),
        (Site(Window((1, 1)), 512, 1, 1, (1, 512)), Contract),
        (Site(Window((2, 2), (3, 3), (2, 2), (1, 1)), 256, 512, 1, (512, 256, 3, 3)), Contract),
    ],
)
def test_the_cheapest_rule_is_chosen(site, rule):
    assert isinstance(choose(site, 512, "cpu"), rule)
    costs = {
        one.name: one.cost(site).equivalent(512, 512 * 513 // 2, BALANCE["cpu"])
        for one in RULES
        if one.applies(site)
    }
    assert min(costs, key=costs.get) == rule.name


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
@pytest.mark.parametrize("n", [3, 5])
def test_the_stated_flops_are_those_that_torch_counts(rule, n):
    """The matrix products of rows with other columns, in one block, are those of the cost."""
    from torch.utils.flop_counter import FlopCounterMode

    site = Site(Window((6, 5), (3, 3), (1, 1), (0, 0)), 8, 7, 1, (7, 8, 3, 3))
    rows, columns = factors(site, n, 0), factors(site, n + 1, 1)
    with FlopCounterMode(display=False) as counter:
        rule.add(torch.zeros(n, n + 1, dtype=torch.float64), site, rows, columns, ROOM, False)
    assert counter.get_total_flops() == rule.cost(site).flops(2 * n + 1, n * (n + 1))


def test_products_of_float32_are_summed_in_float64():
    rows = torch.rand(40, 2**17, generator=torch.Generator().manual_seed(0)) + 0.5
    exact = rows.double() @ rows.double().T
    kernel = torch.zeros(40, 40, dtype=torch.float64)
    multiply(kernel, rows, rows, symmetric=True)
    assert ((kernel - exact).tril().norm() / exact.tril().norm()) < 2e-7
