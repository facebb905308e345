"""Modules in which parameters enter in unusual ways, against the Jacobian; refused modules."""

import pytest
import torch
from reference import tangent_kernel
from torch import nn
from torch.nn import functional

from rmtgen import entk_gram
from rmtgen.errors import RmtgenWarning, UsageError
from rmtgen.kernels.entk import Entk

SIZE = 6


class Head(nn.Module):
    """A body and a pooled linear head."""

    def __init__(self, body, channels):
        super().__init__()
        self.body, self.head = body, nn.Linear(channels, 1)

    def forward(self, images):
        return self.head(self.body(images).flatten(2).mean(dim=2))


class UsedTwice(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.down = nn.Conv2d(3, 3, 3, padding=1), nn.MaxPool2d(2)

    def forward(self, x):
        return self.conv(self.down(torch.tanh(self.conv(x))))


class SharedWeights(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 4, 1)
        self.two.weight = self.one.weight

    def forward(self, x):
        return self.one(x) * torch.sigmoid(self.two(x))


class Transposed(nn.Module):
    """One matrix as a linear layer and, transposed, as another."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(5, 3))

    def forward(self, x):
        tokens = functional.linear(x.flatten(2).mT, self.weight).tanh()
        return functional.linear(tokens, self.weight.T).mT


class Tokens(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.mix, self.norm = (
            nn.Linear(3, 8),
            nn.Linear(SIZE * SIZE + 1, 4),
            nn.LayerNorm(8),
        )
        self.token, self.position = (
            nn.Parameter(torch.randn(1, 1, 8)),
            nn.Parameter(torch.randn(1, SIZE * SIZE + 1, 8)),
        )
        self.gain = nn.Parameter(torch.rand(8))

    def forward(self, x):
        tokens = self.embed(x.flatten(2).mT)
        tokens = torch.cat([self.token.expand(len(x), -1, -1), tokens], dim=1) + self.position
        tokens = tokens + (2 * self.norm(tokens)).mul_(self.gain)
        return self.mix(tokens.mT)


class Repeated(nn.Module):
    """A token repeated by a copy; parameters that enter by einsum, matmul, addcmul and prelu."""

    def __init__(self):
        super().__init__()
        self.token, self.pair = nn.Parameter(torch.randn(1, 3, 1)), nn.Parameter(torch.randn(4, 3))
        self.square, self.shift, self.slope = (
            nn.Parameter(torch.randn(*s)) for s in ((4, 4), (4, 1), (4,))
        )

    def forward(self, x):
        x = torch.cat([self.token.repeat(len(x), 1, 1), x.flatten(2)], dim=2)
        x = torch.einsum("oc,bct->bot", self.pair, x)
        x = torch.addcmul(self.shift, self.shift.exp(), self.square @ x)
        return functional.prelu(x, self.slope)


class Reparametrised(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 4, 3, stride=2))

    def forward(self, x):
        return self.conv(x)


class Windows(nn.Module):
    """Four windows per image, so that a sample has four rows; a convolution among them."""

    def __init__(self):
        super().__init__()
        self.conv, self.lin, self.bias = (
            nn.Conv2d(3, 4, 2),
            nn.Linear(4, 4),
            nn.Parameter(torch.randn(1, 4, 1, 4)),
        )

    def forward(self, x):
        half = SIZE // 2
        x = x.reshape(-1, 3, 2, half, 2, half).permute(0, 2, 4, 1, 3, 5).reshape(-1, 3, half, half)
        x = self.lin(self.conv(x).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return (
            (x.flatten(2)[..., None] + self.bias)
            .tanh()
            .reshape(-1, 4, 4, 4 * 4)
            .permute(0, 2, 1, 3)
        )


class Norms(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.GELU(), nn.GroupNorm(2, 4), nn.Conv2d(4, 4, 2)
        )
        self.line = nn.Conv1d(4, 4, 3, padding=2, dilation=2, groups=2)
        self.instance = nn.InstanceNorm1d(4, affine=True)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.add_(torch.rand_like(parameter))
            self.layers[1].weight[0] = 0  # x̂ may not be had by dividing by the weight
            self.layers[1].running_mean.uniform_()
            self.layers[1].running_var.uniform_(0.5, 2)

    def forward(self, x):
        return self.instance(self.line(self.layers(x).flatten(2)))


class Overwritten(nn.Module):
    """The input of a layer is changed in place after the layer has seen it."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 3, padding="same")

    def forward(self, x):
        x = self.first(x)
        seen = self.second(x)
        x.add_(1.0)
        return seen + x


class Embedded(nn.Module):
    def __init__(self):
        super().__init__()
        self.table, self.out = nn.Embedding(9, 4, padding_idx=0), nn.Linear(4, 4)

    def forward(self, x):
        return self.out(self.table((x.flatten(1).abs() * 4).long().clamp(max=8))).mT


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)
        self.lift = nn.Linear(3, 4)

    def forward(self, x):
        tokens = self.lift(x.flatten(2).mT)
        return self.attention(tokens, tokens, tokens, need_weights=False)[0].mT


class Frozen(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
        self.conv.weight.requires_grad_(False)
        self.norm.bias.requires_grad_(False)

    def forward(self, x):
        return self.norm(self.conv(x)).tanh()


class Unused(nn.Module):
    """A layer that is never called, and two whose output is unused.

    The gradient of one would be materialised, that of the other left in factors.
    """

    def __init__(self):
        super().__init__()
        self.conv, self.idle = nn.Conv2d(3, 4, 3), nn.Linear(3, 3)
        self.wasted, self.also_wasted = nn.Conv2d(3, 2, 1), nn.Linear(3 * SIZE * SIZE, 50)

    def forward(self, x):
        self.wasted(x)
        self.also_wasted(x.flatten(1))
        return self.conv(x)


class UnusedTwin(nn.Module):
    """Two layers in factors share an input, and the output of the first is unused."""

    def __init__(self):
        super().__init__()
        self.stem, self.wasted, self.used = (
            nn.Conv2d(3, 6, 1),
            nn.Conv2d(6, 40, 3),
            nn.Conv2d(6, 40, 3),
        )

    def forward(self, x):
        x = self.stem(x)
        self.wasted(x)
        return self.used(x)


BODIES = {
    UsedTwice: 3,
    SharedWeights: 4,
    Transposed: 3,
    Tokens: 8,
    Repeated: 4,
    Reparametrised: 4,
    Windows: 4,
    Norms: 4,
    Embedded: 4,
    Frozen: 4,
    Unused: 4,
    UnusedTwin: 40,
}


def build(body, channels):
    torch.manual_seed(0)
    return Head(body(), channels).double().eval()


def draw(n=5, seed=1):
    return torch.randn(
        n, 3, SIZE, SIZE, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)
    )


@pytest.mark.parametrize("body", BODIES, ids=lambda body: body.__name__)
def test_every_way_in_is_exact(body):
    model, images = build(body, BODIES[body]), draw()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    expected = tangent_kernel(model, images).detach()
    torch.testing.assert_close(entk_gram(model, images), expected, rtol=1e-11, atol=1e-12)
    torch.testing.assert_close(
        entk_gram(model, images[:2], images[1:]), expected[:2, 1:], rtol=1e-11, atol=1e-12
    )
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_an_overwritten_input_is_refused_by_name():
    """Autograd refuses such a model too."""
    with pytest.raises(
        UsageError, match=r"must last until the backward pass: the model overwrites"
    ):
        entk_gram(build(Overwritten, 4), draw())


def test_a_shared_input_is_stored_once():
    class Branches(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.left, self.right = (
                nn.Conv2d(3, 6, 1),
                nn.Conv2d(6, 40, 3),
                nn.Conv2d(6, 40, 3),
            )

        def forward(self, x):
            x = self.stem(x)
            return self.left(x) * self.right(x)

    kernel = Entk(build(Branches, 40), draw())
    factored = {one.name: one.input_call for one in kernel.layout.factored.values()}
    assert factored["body.left.weight"] == factored["body.right.weight"]


def test_outputs_are_chosen():
    torch.manual_seed(0)
    model, images = (
        nn.Sequential(nn.Flatten(), nn.Linear(3 * SIZE * SIZE, 4), nn.Tanh(), nn.Linear(4, 3))
        .double()
        .eval(),
        draw(),
    )
    with pytest.raises(
        UsageError,
        match=(
            r"one output, got 3\. Choose one: output=i; their sum: output='sum'; one kernel each:"
            r" by='output'; or .*head='random'"
        ),
    ):
        entk_gram(model, images)
    with pytest.raises(UsageError, match="a number below 3, got 3"):
        entk_gram(model, images, output=3)
    expected = tangent_kernel(model, images, lambda out: out[:, 2]).detach()
    torch.testing.assert_close(entk_gram(model, images, output=2), expected)
    expected = tangent_kernel(model, images, lambda out: out.sum(dim=1)).detach()
    torch.testing.assert_close(entk_gram(model, images, output="sum"), expected)


class SamplesSecond(nn.Module):
    """Tokens first, samples second: a layer's rows are not those of the samples."""

    def __init__(self):
        super().__init__()
        self.lin = nn.Linear(3, 4)

    def forward(self, x):
        return self.lin(x.flatten(2).permute(2, 0, 1)).tanh().permute(1, 2, 0)


class Mixed(nn.Module):
    """A parameter inside an operation that returns several tensors."""

    def __init__(self):
        super().__init__()
        self.rnn = nn.LSTM(3, 4, batch_first=True)

    def forward(self, x):
        return self.rnn(x.flatten(2).mT)[0].mT


class Written(nn.Module):
    """A parameter written into the data by assignment."""

    def __init__(self):
        super().__init__()
        self.token = nn.Parameter(torch.randn(3))

    def forward(self, x):
        x = x.flatten(2).clone()
        x[:, :, 0] = self.token
        return x


def test_what_torch_func_cannot_batch_either_goes_sample_by_sample():
    model, images = build(Mixed, 4), draw()
    with pytest.warns(RmtgenWarning, match=r"body\.rnn\.weight_ih_l0 and 3 more .* exact"):
        kernel = Entk(model, images)
    assert kernel.layout.factored or kernel.layout.in_place  # the head stays with its rule
    expected = tangent_kernel(model, images).detach()
    torch.testing.assert_close(kernel.block(range(5), range(5)), expected, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize(("body", "channels"), [(SamplesSecond, 4), (Written, 3), (Attention, 4)])
def test_what_no_operation_separates_by_sample_goes_through_torch_func(body, channels):
    model, images = build(body, channels), draw()
    kernel = Entk(model, images)
    assert kernel.passes.capture.fallback
    expected = tangent_kernel(model, images).detach()
    torch.testing.assert_close(kernel.block(range(5), range(5)), expected, rtol=1e-11, atol=1e-12)


def test_training_mode_is_refused():
    model = build(Norms, 4)
    model.body.layers[1].train()
    with pytest.raises(UsageError, match=r"eval mode.*1 modules are training \(body\.layers\.1"):
        entk_gram(model, draw())
    model.eval()
    model.body.layers[1].track_running_stats = False
    model.body.layers[1].running_mean = model.body.layers[1].running_var = None
    with pytest.raises(UsageError, match="running statistics, or samples depend on each other"):
        entk_gram(model, draw())


def test_no_parameters_with_gradient_is_refused():
    with pytest.raises(UsageError, match="parameters that require a gradient: got none"):
        entk_gram(build(Norms, 4).requires_grad_(False), draw())


def test_the_audit_catches_a_wrong_rule_and_does_without_it(monkeypatch):
    from rmtgen.kernels.entk.layers import Linear

    honest = Linear.per_sample
    monkeypatch.setattr(
        Linear,
        "per_sample",
        lambda self, grad: ((static, 1.001 * g) for static, g in honest(self, grad)),
    )
    model, images = build(Tokens, 8), draw(seed=2)
    kernel = Entk(model, images)
    assert set(kernel.passes.capture.fallback) == {"body.embed.bias", "body.mix.bias", "head.bias"}
    torch.testing.assert_close(
        kernel.block(range(5), range(5)), tangent_kernel(model, images).detach()
    )
