"""The eNTK on CUDA against the CPU: convolutions, tokens, and tiles under a tight budget."""

import pytest
import torch

from rmtgen import entk_gram, load_backbone
from rmtgen.kernels.entk import Entk, splits
from rmtgen.kernels.entk.rules import Contract, multiply
from rmtgen.kernels.entk.sites import Site, Window
from rmtgen.kernels.entk.split_rules import Fused, refusal, split_multiply

pytestmark = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="needs a CUDA device: torch.cuda.is_available() is False"
)


@pytest.mark.parametrize("name", ["resnet18", "vit_tiny_patch16_224", "convnext_atto", "nfnet_l0"])
def test_equal_to_the_cpu(name):
    model = load_backbone(name, init="random", head="random", img_size=32).model.double()
    images = torch.randn(
        9, 3, 32, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(0)
    )
    expected = entk_gram(model, images, device="cpu")
    torch.testing.assert_close(
        entk_gram(model, images, device="cuda"), expected, rtol=1e-10, atol=0
    )
    single = entk_gram(model, images, device="cuda", dtype=torch.float32)
    assert (single - expected).norm() <= 1e-4 * expected.norm()


def test_tiles_and_the_budget_hold_on_the_device():
    model = load_backbone("resnet18", init="random", head="random", img_size=64).model
    images = torch.randn(200, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    whole = entk_gram(model, images, device="cuda")
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    kernel = Entk(model, images, device="cuda", memory="256MiB")
    assert kernel.capacity < 200
    torch.testing.assert_close(kernel.block(range(200), range(200)), whole, rtol=1e-4, atol=0)
    assert torch.cuda.max_memory_allocated() <= 1.125 * 2**28 + 2 * 4 * sum(
        p.numel() for p in model.parameters()
    )


def relative(found, exact):
    return ((found - exact).norm() / exact.norm()).item()


def gradients(n, p):
    """Positive sums, on which tensor cores are biased, and a wide range of rows."""
    rows = torch.randn(n, p, generator=torch.Generator().manual_seed(0)).exp()
    return (rows * torch.logspace(-3, 3, n)[:, None]).cuda()


@pytest.fixture(scope="module")
def tensor_cores():
    reason = refusal(torch.device("cuda", torch.cuda.current_device()))
    if reason:
        pytest.skip(reason)
    from rmtgen.kernels.entk import tensor_cores

    return tensor_cores


def test_halves_are_those_of_torch(tensor_cores):
    rows = torch.randn(50, 3, 700, generator=torch.Generator().manual_seed(0))
    rows *= torch.logspace(-37, 37, 50)[:, None, None]
    here = splits.split(rows, 512)
    there = tensor_cores.split(rows.cuda(), 512)
    assert torch.equal(there.parts.cpu(), here.parts)
    assert torch.equal(there.scales.cpu(), here.scales)


@pytest.mark.usefixtures("tensor_cores")
@pytest.mark.parametrize(("n", "m", "p"), [(300, 170, 70_000), (1000, 1000, 5000), (7, 5, 40)])
def test_split_products_have_the_error_of_float32(n, m, p):
    left, right = gradients(n, p), gradients(m, p).flip(1)
    kernel, symmetric = (torch.zeros(n, k, dtype=torch.float64, device="cuda") for k in (m, n))
    split_multiply(kernel, left, right, symmetric=False)
    split_multiply(symmetric, left, left, symmetric=True)
    assert ((kernel / (left.double() @ right.double().T) - 1).abs() < 1e-6).all()
    exact = left.double().square().sum(dim=1)
    assert abs((symmetric.diagonal() / exact - 1).mean()) < 5e-7
    single = torch.zeros_like(symmetric)
    multiply(single, left, left, symmetric=True)
    torch.testing.assert_close(symmetric.tril(), single.tril(), rtol=2e-6, atol=0)


@pytest.mark.usefixtures("tensor_cores")
@pytest.mark.parametrize("symmetric", [False, True])
def test_the_fused_rule_has_the_error_of_float32(symmetric):
    site = Site(Window((4, 4), (3, 3), (2, 2), (1, 1)), 70, 90, 1, (90, 70, 3, 3))
    random = torch.Generator().manual_seed(0)
    rows, columns = (
        tuple(
            torch.randn(n, t, c, generator=random).cuda()
            for t, c in ((site.t_in, site.c_in), (site.t, site.c_out))
        )
        for n in (300, 170)
    )
    columns = rows if symmetric else columns
    kernel, exact = torch.zeros(2, 300, len(columns[0]), dtype=torch.float64, device="cuda")
    Fused().add(kernel, site, rows, columns, 2**28, symmetric)
    sides = [tuple(factor.double() for factor in side) for side in (rows, columns)]
    Contract().add(exact, site, *sides, 2**28, False)
    kernel, exact = (part.tril() if symmetric else part for part in (kernel, exact))
    assert relative(kernel, exact) < 1e-6


@pytest.mark.usefixtures("tensor_cores")
@pytest.mark.parametrize("pixels", [32, 64])
def test_a_kernel_is_as_accurate_in_split_as_in_ieee_products(pixels):
    model = load_backbone("resnet18", init="random", head="random", img_size=pixels).model
    images = torch.randn(96, 3, pixels, pixels, generator=torch.Generator().manual_seed(0))
    exact = entk_gram(model, images, dtype=torch.float64)
    errors = {
        name: relative(entk_gram(model, images, precision=name).double(), exact)
        for name in ("ieee", "split", "fast", None)
    }
    assert errors["split"] <= 1.2 * errors["ieee"] + 3e-7, errors
    assert errors[None] <= 1.2 * errors["ieee"] + 3e-7, errors
    assert errors["split"] < errors["fast"] < 1e-2, errors
    assert Entk(model, images).layout.products == "split"
    assert Entk(model, images, dtype=torch.float64).layout.products == "ieee"
