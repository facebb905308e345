"""Models whose samples meet, branch or are routed by their values, against each sample alone."""

import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from rmtgen import entk_features, entk_gram
from rmtgen.errors import RmtgenWarning, UsageError
from rmtgen.kernels.entk import Entk, sketch_error
from rmtgen.kernels.entk.alone import SoundBatchNorm
from rmtgen.kernels.entk.trust import Watch
from tests.kernels.entk.sample_by_sample import TOKENS, WIDTH, Base, Routed, alone, build, draw


class Scattered(Base):
    """Tokens with the largest scores of the batch go through a layer, by index."""

    def mix(self, x):
        flat = x.reshape(-1, WIDTH)
        best = flat[:, 0].argsort()[: len(flat) // 2]
        return flat.index_copy(0, best, self.a(flat[best])).reshape(x.shape)


class Branch(Base):
    def mix(self, x):
        y = self.a(x)
        return self.b(y) if y.mean() > 0 else y


class SilentBranch(Base):
    """The same without a value in Python."""

    def mix(self, x):
        y = self.a(x)
        return torch.where(y.mean() > -1, y, self.b(y))


class Listed(Base):
    def mix(self, x):
        return self.a(x) * (1 + max(x.flatten().tolist()))


class AsArray(Base):
    def mix(self, x):
        return self.a(x) * float(x.detach().numpy().max())


class Centred(Base):
    """Samples meet before the first parameter, where no gradient is wrong."""

    def mix(self, x):
        return self.a(x - 0.5 * x.mean(0))


class Sorted(Base):
    def mix(self, x):
        return self.b(self.a(x).sort(dim=0)[0])


class Rarely(Base):
    """Samples meet where a running maximum exceeds what the checked samples reach."""

    def mix(self, x):
        return self.a(x) + (functional.relu(x - 2.0)).cummax(dim=0)[0]


class Counted(Base):
    def mix(self, x):
        return self.a(x) if len(x) == 1 else self.b(x)


class Filled(Base):
    def mix(self, x):
        return self.b(x.masked_scatter(x > 0, self.a(x)))


class RarelyFilled(Base):
    """The checked samples fill nothing: no output shows that samples meet."""

    def mix(self, x):
        return self.b(x.masked_scatter(x > 1.9, self.a(x)))


class Unique(Base):
    def mix(self, x):
        return self.a(x) + len(x.round().unique())


MEETING = [Routed, Scattered, Branch, SilentBranch, Listed, AsArray, Centred, Sorted, Rarely]
MEETING += [Counted, Filled, RarelyFilled, Unique]


@pytest.mark.parametrize("kind", MEETING, ids=lambda kind: kind.__name__)
def test_a_model_whose_samples_meet_goes_sample_by_sample(kind):
    model, images = build(kind), draw()
    with pytest.warns(RmtgenWarning, match="one by one, which is exact but slower") as said:
        found = entk_gram(model, images)
    assert len(said) == 1
    torch.testing.assert_close(found, alone(model, images), rtol=1e-11, atol=1e-12)


class Within(Base):
    """Order, choice and masks by value within a sample: nothing that other samples could see."""

    def mix(self, x):
        y = self.a(x)
        y = y.gather(1, x[..., :1].argsort(dim=1).expand_as(y)) + y.sort(dim=1)[0]
        best = x[..., 0].topk(2, dim=1).indices
        chosen = y[torch.arange(len(x))[:, None], best]
        y = torch.cat([y.masked_fill(x > 1, 0.0), chosen], dim=1)
        return self.b(torch.where(y > 0, y, 0.1 * y)) * y.softmax(dim=1)


def test_a_model_that_orders_within_samples_is_trusted():
    model, images = build(Within), draw()
    kernel = Entk(model, images)
    assert not kernel.passes.capture.alone
    torch.testing.assert_close(
        kernel.block(range(7), range(7)), alone(model, images), rtol=1e-11, atol=1e-12
    )


class Rerouted(nn.Module):
    """Layers of any number, each with a step by which tokens are chosen, ordered or branched."""

    STEPS = ("mask", "sort", "branch", "within", "none")

    def __init__(self, steps):
        super().__init__()
        self.steps = steps
        self.layers = nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in steps)
        self.head = nn.Linear(WIDTH, 1)

    def forward(self, x):
        for step, layer in zip(self.steps, self.layers, strict=True):
            x = torch.tanh(getattr(self, step)(x, layer))
        return self.head(x.mean(1))

    def mask(self, x, layer):
        chosen = x[..., 1] > 0
        out = x.clone()
        out[chosen] = layer(x[chosen])
        return out

    def sort(self, x, layer):
        return layer(x.sort(dim=0)[0])

    def branch(self, x, layer):
        return layer(x) if x.sum() > 0 else -layer(x)

    def within(self, x, layer):
        return layer(x.sort(dim=1)[0])

    def none(self, x, layer):
        return layer(x)


@settings(max_examples=20)
@given(st.lists(st.sampled_from(Rerouted.STEPS), min_size=1, max_size=3), st.integers(0, 99))
def test_any_routing_gives_the_kernel_of_each_sample_alone(steps, seed):
    model, images = build(Rerouted, steps), draw(5, seed=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RmtgenWarning)
        kernel = Entk(model, images)
        found = kernel.block(range(5), range(5))
    assert kernel.passes.capture.alone == bool({"mask", "sort", "branch"} & set(steps))
    torch.testing.assert_close(found, alone(model, images), rtol=1e-10, atol=1e-12)


class LargeBatch(Base):
    """More than three samples pass through other operations, rightly or not."""

    def mix(self, x):
        return self.a(x) if len(x) < 4 else self.b(x).cumsum(0)


@pytest.mark.parametrize("n", [4, 7])
def test_a_batch_with_other_operations_than_the_checked_ones_goes_two_by_two(n):
    model, images = build(LargeBatch), draw(n)
    with pytest.warns(RmtgenWarning, match="two by two") as said:
        found = entk_gram(model, images)
    assert len(said) == 1
    torch.testing.assert_close(found, alone(model, images), rtol=1e-11, atol=1e-12)


class SequenceFirst(nn.Module):
    def __init__(self):
        super().__init__()
        layer = nn.TransformerEncoderLayer(WIDTH, 2, 8)
        self.encoder = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
        self.head = nn.Linear(WIDTH, 1)

    def forward(self, x):
        return self.head(self.encoder(x.transpose(0, 1)).mean(0))


@pytest.mark.parametrize("tokens", [2, 3, 4])
@pytest.mark.filterwarnings("ignore::rmtgen.errors.RmtgenWarning")
def test_samples_on_the_second_axis(tokens):
    """Also if the first and the last sample are equal, which would hide an exchange of them."""
    model, images = build(SequenceFirst), draw(5, tokens, WIDTH)
    images[-1] = images[0]
    torch.testing.assert_close(
        entk_gram(model, images), alone(model, images), rtol=1e-10, atol=1e-12
    )


class Random(Base):
    def mix(self, x):
        return functional.dropout(self.a(x), training=True)


def test_a_random_forward_pass_is_refused():
    with pytest.raises(UsageError, match="the same output for the same image"):
        entk_gram(build(Random), draw())


class Scaled(Base):
    """Parameters without an axis: of a logit scale, a residual branch, an exponent."""

    def __init__(self):
        super().__init__()
        self.scale, self.skip, self.power = (
            nn.Parameter(torch.tensor(value)) for value in (1.3, 0.2, 1.5)
        )

    def mix(self, x):
        y = x + self.skip * self.a(x)
        return self.b(y).abs().clamp(min=1e-3) ** self.power * self.scale.exp()


class Spectral(nn.Module):
    """A real parameter that is viewed as complex."""

    def __init__(self):
        super().__init__()
        self.weight, self.head = nn.Parameter(torch.randn(TOKENS, 4, 2)), nn.Linear(WIDTH, 1)

    def forward(self, x):
        spectrum = torch.fft.rfft2(x) * torch.view_as_complex(self.weight)
        return self.head(torch.fft.irfft2(spectrum, s=x.shape[-2:]).relu().mean(1))


@pytest.mark.parametrize("kind", [Scaled, Spectral])
def test_parameters_without_axes_and_complex_ones(kind):
    model, images = build(kind), draw()
    expected = alone(model, images)
    torch.testing.assert_close(entk_gram(model, images), expected, rtol=1e-11, atol=1e-12)
    rows = entk_features(model, images, 4096)
    error, bound = sketch_error(expected, rows)
    assert error < 3 * bound


class LessPrecise(Base):
    def __init__(self, lower):
        super().__init__()
        self.lower = lower

    def mix(self, x):
        if self.lower == "float32":
            return self.b(self.a(x).float().tanh().to(x.dtype))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            y = self.b(self.a(x).tanh())
        return y.to(x.dtype)


@pytest.mark.parametrize(
    ("lower", "dtype", "error"),
    [("float32", torch.float64, 1e-6), ("autocast", torch.float32, 2e-2)],
)
def test_a_pass_that_is_partly_less_precise_than_its_input(lower, dtype, error):
    model, images = build(LessPrecise, lower).to(dtype), draw().to(dtype)
    found, expected = entk_gram(model, images), alone(model, images)
    assert (found - expected).norm() <= error * expected.norm()


class Viewed(nn.Module):
    """A convolution read in the order of memory, in three ways."""

    def __init__(self, how):
        super().__init__()
        self.how, self.conv, self.head = how, nn.Conv2d(3, 4, 3), nn.Linear(64, 1)

    def forward(self, x):
        y = self.conv(x)
        if self.how == "as_strided":
            y = y.as_strided((len(y), 64), (64, 1))
        elif self.how == "view":
            y = y.view(len(y), -1)
        elif self.how == "weight":
            y = functional.conv2d(x, self.conv.weight / self.conv.weight.view(4, -1).std()).flatten(
                1
            )
        else:
            y = y.flatten(1)
        return self.head(y.tanh())


@pytest.mark.parametrize("how", ["as_strided", "view", "weight", "flatten"])
def test_the_order_in_memory_is_that_of_the_model_unless_it_cannot_matter(how):
    model, images = build(Viewed, how), draw(5, 3, 6, 6)
    kernel = Entk(model, images)
    fast = kernel.passes.capture.order == torch.channels_last
    assert fast == (how == "flatten")
    torch.testing.assert_close(
        kernel.block(range(5), range(5)), alone(model, images), rtol=1e-11, atol=1e-12
    )


class Transposed(nn.Module):
    """A batch normalisation whose output gradient comes from transposed tokens."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.head = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Linear(4, 1)
        self.norm.running_mean.normal_()

    def forward(self, x):
        return self.head(self.norm(self.conv(x)).flatten(2).mT.contiguous().tanh()).sum(1)


def test_a_batch_of_one_has_the_gradients_of_a_larger_batch():
    model, images = build(Transposed), draw(1, 3, 4, 4)
    torch.testing.assert_close(
        entk_gram(model, images), alone(model, images, copies=2), rtol=1e-11, atol=1e-12
    )


def test_batch_normalisation_of_one_sample_has_its_closed_form_gradient():
    torch.manual_seed(0)
    x, weight = (
        torch.randn(*s, dtype=torch.float64, requires_grad=True) for s in ((1, 8, 5, 5), (8,))
    )
    mean, variance = torch.randn(8, dtype=torch.float64), torch.rand(8, dtype=torch.float64) + 0.5
    tokens = torch.randn(1, 25, 8, dtype=torch.float64)
    with SoundBatchNorm():
        out = functional.batch_norm(x, mean, variance, weight, eps=0.0)
    loss = (out.flatten(2).mT * tokens).sum()
    found = torch.autograd.grad(loss, (x, weight))
    grad, spread = tokens.mT.reshape(x.shape), variance.sqrt()[:, None, None]
    normalised = (x - mean[:, None, None]) / spread
    torch.testing.assert_close(found[0], grad * weight[:, None, None] / spread)
    torch.testing.assert_close(found[1], (grad * normalised).sum((0, 2, 3)))


def test_a_watch_keeps_no_data_after_its_pass():
    images = torch.randn(2, 3)
    with Watch(images) as watch:
        doubled = images * 2
        assert watch.is_data(doubled)
    assert not watch.is_data(doubled)
    assert watch.bytes == 2 * images.nbytes
