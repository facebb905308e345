"""The eNTK beside the algorithm of the paper's public code on its own networks."""

import pytest
import torch

from rmtgen import entk_gram, load_backbone
from tests import paper

PAPER = {"init": "random", "head": "random", "head_seed": None, "img_size": 32}


@pytest.mark.parametrize("name", ["resnet18", "efficientnet_b0"])
def test_every_entry_is_that_of_the_paper(name):
    images = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0)).double()
    with torch.random.fork_rng():
        expected = paper.gram(paper.network(name).double(), images, 2, chunk=3_000_000)
    found = entk_gram(
        load_backbone(f"torchvision/{name}", **PAPER).model.double(), images, images[:2]
    )
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=0)


def test_the_plain_algorithm_does_not_depend_on_its_chunks():
    images = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0)).double()
    with torch.random.fork_rng():
        model = paper.network("resnet18").double()
    whole, parts = (paper.gram(model, images, 2, chunk) for chunk in (20_000_000, 2_345_678))
    torch.testing.assert_close(whole, parts, rtol=1e-12, atol=0)
    (jacobian,) = (chunk.clone() for chunk in paper.jacobians(model, images, 20_000_000))
    torch.testing.assert_close(whole, jacobian @ jacobian[:2].T, rtol=1e-12, atol=0)
