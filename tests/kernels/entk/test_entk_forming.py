"""Every way to form the gradients of single samples against convolutions of autograd."""

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from test_entk_rules import factors, sites, weight_gradients

from rmtgen import entk_gram
from rmtgen.kernels.entk import cpu, forming, layers
from rmtgen.kernels.entk.forming import by_library, by_patches, by_taps, form, quickest
from rmtgen.kernels.entk.sites import Site, Window

WAYS = [by_library, by_patches, by_taps]
needs_onednn = pytest.mark.skipif(
    not torch.backends.mkldnn.is_available(), reason="torch was built without oneDNN"
)


@pytest.fixture(params=[True, False], ids=["oneDNN", "torch"])
def both_libraries(request, monkeypatch):
    """Products by oneDNN or by torch's own; a function that says whether the right one was used."""
    if request.param and not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        pytest.skip("torch was built without oneDNN")
    calls = []

    def counted(*factors):
        calls.append(factors)
        return cpu.linear(*factors)

    for module in (forming, layers):
        monkeypatch.setattr(
            module,
            "by_onednn",
            lambda tensor: request.param and tensor.dtype == torch.float32,
        )
        monkeypatch.setattr(module, "linear", counted)
    return lambda: bool(calls) == request.param


def serves(way, site):
    if way is by_library:
        return site.k == site.window.kernel[0] * site.window.kernel[1]
    return way is by_patches or site.groups == site.c_in == site.c_out


def in_order(tensor, last):
    """The same values with channels last in memory, or with positions last."""
    return tensor if last else tensor.mT.contiguous().mT


@settings(max_examples=150, deadline=None)
@given(sites(groups=True), st.integers(1, 4), st.sampled_from(WAYS), st.booleans())
def test_every_way_writes_the_gradients_of_the_convolution(site, n, way, last):
    assume(serves(way, site))
    a, g = (in_order(tensor, last) for tensor in factors(site, n, 0))
    room = torch.full((n, site.size + 3), torch.nan, dtype=a.dtype)
    found = way(site, a, g, room[:, 1:-2])
    torch.testing.assert_close(site.as_weight(found), weight_gradients(site, a, g))
    assert torch.equal(room[:, 1:-2], found)
    assert room[:, [0, -2, -1]].isnan().all()


@needs_onednn
@pytest.mark.parametrize("last", [True, False])
@pytest.mark.parametrize(
    "site",
    [
        Site(Window((28, 28), (3, 3), (1, 1), (1, 1)), 32, 32, 1, (32, 32, 3, 3)),
        Site(Window((63, 57), (7, 7), (2, 2), (3, 3)), 3, 16, 1, (16, 3, 7, 7)),
        Site(Window((14, 14), (3, 3), (1, 1), (1, 1)), 64, 64, 8, (64, 8, 3, 3)),
        Site(Window((40, 40), (5, 5), (1, 1), (2, 2)), 8, 8, 8, (8, 1, 5, 5)),
        Site(Window((40, 1), (9, 1), (1, 1), (4, 0)), 12, 24, 1, (24, 12, 9)),
    ],
)
def test_float32_has_the_error_of_one_sum(site, last):
    """Convolutions of oneDNN and products of patches alike: a few roundings of the exact sum."""
    a, g = (in_order(tensor.float(), last) for tensor in factors(site, 3, 0))
    exact = form(site, a.double(), g.double())
    bound = form(site, a.double().abs(), g.double().abs())
    for way in (way for way in WAYS if serves(way, site)):
        found = way(site, a, g, torch.empty(3, site.size))
        assert ((found - exact).abs() / bound).max() < 3e-6, way.__name__


@needs_onednn
@pytest.mark.parametrize(
    ("side", "channels", "groups", "way"),
    [
        (56, 64, 1, by_library),
        (28, 128, 1, by_library),
        (7, 512, 1, by_patches),
        (2, 64, 1, by_patches),
        (14, 64, 8, by_library),
        (56, 32, 32, by_library),
        (7, 32, 32, by_taps),
    ],
)
def test_large_maps_and_groups_go_to_the_library(side, channels, groups, way):
    shape = channels, channels // groups, 3, 3
    site = Site(Window((side, side), (3, 3), (1, 1), (1, 1)), channels, channels, groups, shape)
    a = torch.empty(1, site.t_in, channels)
    assert quickest(site, a) is way
    assert quickest(site, a.double()) is (by_taps if groups == channels else by_patches)


@needs_onednn
def test_a_tap_that_meets_padding_only_is_not_seen_by_the_library():
    site = Site(Window((40, 1), (3, 3), (1, 1), (1, 1)), 64, 64, 8, (64, 8, 3, 3))
    assert site.k == 3
    assert quickest(site, torch.empty(1, 40, 64)) is by_patches


def test_products_of_large_sites_are_the_same_by_either_library(both_libraries):
    """Either order of the factors in memory, and either of them the smaller one."""
    for c_in, c_out, side in ((40, 160, 3), (160, 40, 3), (64, 256, 1), (256, 64, 1)):
        window = Window((14, 14), (side, side), (1, 1), (side // 2, side // 2))
        site = Site(window, c_in, c_out, 1, (c_out, c_in, side, side))
        a, g = factors(site, 3, 0)
        exact = form(site, a, g)
        for last in (True, False):
            own = (in_order(tensor.float(), last) for tensor in (a, g))
            room = torch.empty(3, site.size + 1)
            found = by_patches(site, *own, room[:, 1:])
            assert (found - exact).norm() < 1e-6 * exact.norm()
    assert both_libraries()


class Wide(torch.nn.Module):
    """Linear layers that are large enough for oneDNN, one changed in place, and one without bias.

    The bias of the last one is frozen.
    """

    def __init__(self):
        super().__init__()
        self.first, self.second = torch.nn.Linear(96, 160), torch.nn.Linear(160, 96, bias=False)
        self.third, self.head = torch.nn.Linear(96, 160), torch.nn.Linear(160, 3)
        self.third.bias.requires_grad_(False)

    def forward(self, tokens):
        hidden = torch.nn.functional.relu_(self.first(input=tokens))
        hidden = self.second(hidden)
        hidden = torch.tanh(self.third(hidden))
        return self.head(hidden.mean(dim=1))


@pytest.mark.parametrize("split", [{"by": "output"}, {"output": 1}])
def test_linear_layers_pass_by_either_library(both_libraries, split):
    torch.manual_seed(0)
    model = Wide().eval()
    tokens = torch.randn(4, 100, 96)
    exact = entk_gram(model, tokens, device="cpu", dtype=torch.float64, **split)
    found = entk_gram(model, tokens, device="cpu", **split)
    if "output" in split:
        found, exact = {"": found}, {"": exact}
    for name, expected in exact.items():
        assert (found[name] - expected).norm() < 1e-6 * expected.norm()
    assert both_libraries()
