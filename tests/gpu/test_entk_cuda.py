"""The eNTK on CUDA against the CPU: convolutions, tokens, and tiles under a tight budget."""

import pytest
import torch

from rmtgen import entk_gram, load_backbone
from rmtgen.kernels.entk import Entk

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
