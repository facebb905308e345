"""Models that only plain autograd can differentiate, and what else goes sample by sample."""

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from rmtgen import entk_features, entk_gram
from rmtgen.errors import RmtgenWarning
from rmtgen.kernels.entk import sketch_error
from tests.kernels.entk.sample_by_sample import WIDTH, Base, Routed, alone, build, draw


class Product(torch.autograd.Function):
    """A product with a backward pass by hand, which torch.func refuses."""

    @staticmethod
    def forward(ctx, x, w):
        ctx.save_for_backward(x, w)
        return x @ w.T

    @staticmethod
    def backward(ctx, grad):
        x, w = ctx.saved_tensors
        return grad @ w, (grad.flatten(0, -2).T @ x.flatten(0, -2))


class ByHand(Base):
    def mix(self, x):
        return Product.apply(self.a(x), self.b.weight)


class Recurrent(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.rnn, self.head = kind(WIDTH, 5, batch_first=True), nn.Linear(5, 1)

    def forward(self, x):
        return self.head(self.rnn(x)[0][:, -1])


class Checkpointed(Base):
    def __init__(self, reentrant):
        super().__init__()
        self.reentrant = reentrant

    def mix(self, x):
        y = checkpoint(lambda x: self.a(x).tanh(), x, use_reentrant=self.reentrant)
        return checkpoint(self.b, y, use_reentrant=self.reentrant)


ONLY_AUTOGRAD = [(ByHand,), (Recurrent, nn.LSTM), (Recurrent, nn.GRU), (Recurrent, nn.RNN)]
ONLY_AUTOGRAD += [(Checkpointed, False), (Checkpointed, True)]


@pytest.mark.filterwarnings("ignore:None of the inputs")
@pytest.mark.parametrize("kind", ONLY_AUTOGRAD, ids=lambda kind: str(kind[-1]))
def test_what_only_autograd_differentiates_goes_sample_by_sample(kind):
    model, images = build(*kind), draw()
    with pytest.warns(RmtgenWarning, match="exact but slower") as said:
        found = entk_gram(model, images)
    assert sum(issubclass(one.category, RmtgenWarning) for one in said) == 1
    if kind[0] is Checkpointed:
        model.mix = lambda x: model.b(model.a(x).tanh())
    expected = alone(model, images, copies=2)
    torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-12)


def test_the_sketch_of_a_model_that_goes_sample_by_sample():
    model, images = build(Routed), draw()
    with pytest.warns(RmtgenWarning, match="one by one"):
        rows = entk_features(model, images, 4096)
    error, bound = sketch_error(alone(model, images), rows)
    assert 0 < error < 3 * bound


def test_parts_of_a_model_that_goes_sample_by_sample_add_up():
    model, images = build(Routed), draw()
    with pytest.warns(RmtgenWarning, match="one by one"):
        parts = entk_gram(model, images, by="layer")
    assert set(parts) == {"a", "b", "head"}
    torch.testing.assert_close(sum(parts.values()), alone(model, images), rtol=1e-11, atol=1e-12)
