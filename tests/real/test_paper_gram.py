"""Gram matrices of the paper's networks on real CIFAR-100, entry by entry, and a published rank."""

from pathlib import Path

import pytest
import torch

from rmtgen import entk_gram, load_backbone, load_dataset
from tests import paper
from tests.small_resnets import SmallResNet, effective_rank

ARCHIVE = Path(__file__).parents[2] / "../shared/data/cifar100.tar"
SIDE = 64

pytestmark = pytest.mark.skipif(not ARCHIVE.exists(), reason=f"needs real CIFAR-100 at {ARCHIVE}")


@pytest.fixture(scope="module")
def pictures():
    images = load_dataset(f"folder:{ARCHIVE}", size=2000).images
    return [images[position] for position in range(240)]


@pytest.fixture(scope="module", params=[("resnet18", 40, 24), ("resnet50", 16, 10)], ids=str)
def case(request, pictures):
    """The plain network of the paper, ours, its images in float32, and the number of columns."""
    name, rows, columns = request.param
    images = torch.stack(
        [paper.transform("cifar100", SIDE)(picture) for picture in pictures[:rows]]
    )
    with torch.random.fork_rng():
        network = paper.network(name)
    options = {"init": "random", "head": "random", "head_seed": None, "img_size": SIDE}
    backbone = load_backbone(f"torchvision/{name}", transform="cifar100", **options)
    own = torch.stack([backbone.transform(picture) for picture in pictures[:rows]])
    assert torch.equal(own, images)
    return network, backbone.model, images, columns


@pytest.fixture(scope="module")
def exact(case):
    """The Gram matrix of the paper in float64."""
    network, _, images, columns = case
    chunk = 120_000_000 // len(images)
    found = paper.gram(network.double(), images.double(), columns, chunk)
    network.float()
    return found


def test_every_float64_entry_is_that_of_the_paper(case, exact):
    _, model, images, columns = case
    wide = images.double()
    found = entk_gram(model, wide, wide[:columns], dtype=torch.float64)
    torch.testing.assert_close(found, exact, rtol=1e-10, atol=0)


def test_float32_entries_are_those_of_the_paper_where_no_unit_is_at_its_kink(case, exact):
    network, model, images, columns = case
    plain = paper.gram(network, images, columns, 120_000_000 // len(images))
    found = entk_gram(model, images, images[:columns])
    steady = ~(paper.disturbed(plain, exact) | paper.disturbed(found, exact))
    assert steady.float().mean() > 0.6
    ours, theirs = (kernel[steady][:, steady[:columns]] for kernel in (found.double(), plain))
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=0)


def test_a_sample_that_is_disturbed_has_a_unit_on_the_other_side(case, exact):
    network, _, images, columns = case
    plain = paper.gram(network, images, columns, 120_000_000 // len(images))
    narrow = paper.decisions(network, images)
    wide = paper.decisions(network.double(), images.double())
    network.float()
    moved = (narrow != wide).any(dim=1)
    assert not (paper.disturbed(plain, exact) & ~moved).any()
    assert not moved.all()


@pytest.mark.parametrize(("depth", "n"), [(20, 240), (56, 120)])
def test_the_effective_rank_of_random_small_resnets_is_the_published_one(pictures, depth, n):
    """1.0 to 1.3, flat in n: arXiv 2512.00860."""
    images = torch.stack([paper.transform("cifar100", 32)(picture) for picture in pictures[:n]])
    with torch.random.fork_rng():
        torch.manual_seed(paper.SEED)
        model = SmallResNet(depth).eval()
    kernel = entk_gram(model, images)
    ranks = [effective_rank(kernel[:size, :size]) for size in (n // 4, n // 2, n)]
    assert min(ranks) > 1.0
    assert max(ranks) < 1.3
    assert max(ranks) / min(ranks) < 1.05
