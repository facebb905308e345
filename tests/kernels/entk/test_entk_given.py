"""What a caller hands to a kernel, in any wrapping: the same kernel as plainly given."""

import numpy as np
import pytest
import torch
from reference import tangent_kernel
from torch import nn
from torch.utils.data import Dataset, TensorDataset

import rmtgen
from rmtgen.errors import UsageError
from rmtgen.kernels.entk import Entk

F64 = torch.float64


def network(outputs=1):
    """A small network of two layers, float64, in eval mode."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 5), nn.GELU(), nn.Linear(5, outputs)).to(F64).eval()


@pytest.fixture(scope="module")
def model():
    return network()


@pytest.fixture(scope="module")
def x():
    return torch.randn(5, 6, dtype=F64, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def kernel(model, x):
    return tangent_kernel(model, x).detach()


def same(found, expected):
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


class Nested(nn.Module):
    """A network with a wrapped part."""

    def __init__(self, part, head):
        super().__init__()
        self.part, self.head = part, head

    def forward(self, x):
        return self.head(self.part(x))


def compiled(model):
    return torch.compile(model, backend="eager")


def averaged(model):
    return torch.optim.swa_utils.AveragedModel(model)  # in training mode, as torch makes it


@pytest.mark.parametrize(
    "wrap",
    [
        compiled,
        nn.DataParallel,
        averaged,
        lambda model: nn.DataParallel(compiled(model)),
        lambda model: Nested(compiled(model[0]), nn.DataParallel(model[1:])).eval(),
    ],
    ids=["compile", "DataParallel", "AveragedModel", "twice", "parts"],
)
def test_a_wrapped_model_gives_the_kernel_and_the_names_of_the_plain_one(wrap, model, x, kernel):
    wrapped = wrap(model)
    same(rmtgen.entk_gram(wrapped, x), kernel)
    names = rmtgen.entk_gram(wrapped, x, by="layer")
    assert not any("_orig_mod" in name or "module" in name for name in names)
    same(sum(names.values()), kernel)
    sketches = [rmtgen.entk_features(one, x, 8) for one in (wrapped, model)]
    if not isinstance(wrapped, Nested):  # other names, so other signs
        assert torch.equal(*sketches)
    same(Entk(wrapped, x).block(range(5), range(5)), kernel)
    assert rmtgen.entk_plan(wrapped, (6,), 5).flops == rmtgen.entk_plan(model, (6,), 5).flops


def test_a_distributed_model_is_unwrapped(model, x, kernel, tmp_path):
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path}/meeting", rank=0, world_size=1
    )
    try:
        same(rmtgen.entk_gram(nn.parallel.DistributedDataParallel(model), x), kernel)
    finally:
        torch.distributed.destroy_process_group()


def test_a_tied_weight_counts_once_when_one_of_its_owners_is_wrapped(x):
    layer = nn.Linear(6, 6).to(F64)
    tied = nn.Sequential(nn.DataParallel(layer), nn.Tanh(), layer, nn.Linear(6, 1).to(F64)).eval()
    plain = nn.Sequential(layer, *list(tied)[1:])
    same(rmtgen.entk_gram(tied, x), tangent_kernel(plain, x).detach())


def test_half_precision_is_computed_in_the_dtype_that_is_given(model, x):
    half = network().to(torch.bfloat16)
    with pytest.raises(UsageError, match=r"got torch\.bfloat16.*Give dtype=torch\.float32"):
        rmtgen.entk_gram(half, x)
    same(
        rmtgen.entk_gram(half, x, dtype=F64),
        tangent_kernel(network().to(torch.bfloat16).to(F64), x).detach(),
    )


def test_parameters_of_several_types_need_a_dtype(x):
    mixed = network()
    mixed[0].float()
    with pytest.raises(UsageError, match=r"float32 \(0\.bias\), torch\.float64 \(2\.bias\)"):
        rmtgen.entk_gram(mixed, x)
    same(rmtgen.entk_gram(mixed, x, dtype=F64), tangent_kernel(mixed.to(F64), x).detach())


class Rotation(nn.Module):
    """A linear layer whose features are turned by a complex buffer, as rotary positions are."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(6, 6)
        self.register_buffer("turn", torch.polar(torch.ones(3), torch.arange(3.0)))

    def forward(self, x):
        pairs = torch.view_as_complex(self.linear(x).unflatten(1, (3, 2))) * self.turn
        return torch.view_as_real(pairs).flatten(1).tanh().sum(1, keepdim=True)


def test_a_complex_buffer_keeps_its_imaginary_part(x):
    torch.manual_seed(0)
    model = Rotation().eval()
    wide = Rotation()
    wide.load_state_dict(model.state_dict())
    wide.linear.to(F64)
    wide.turn = wide.turn.to(torch.complex128)
    expected = tangent_kernel(wide.eval(), x).detach()
    same(rmtgen.entk_gram(model, x, dtype=F64), expected)


class Tokens(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding, self.head = nn.Embedding(11, 4), nn.Linear(4, 1)

    def forward(self, tokens):
        return self.head(torch.tanh(self.embedding(tokens)).mean(1))


@pytest.mark.parametrize("kind", [torch.int64, torch.int32])
def test_tokens_reach_an_embedding_as_integers(kind):
    torch.manual_seed(0)
    model = Tokens().to(F64).eval()
    tokens = torch.randint(11, (4, 7), generator=torch.Generator().manual_seed(2)).to(kind)
    expected = tangent_kernel(model, tokens).detach()
    same(rmtgen.entk_gram(model, tokens), expected)
    same(rmtgen.entk_gram(model, tokens[:3], list(tokens)), expected[:3])
    same(rmtgen.entk_gram(model, tokens.numpy()), expected)


class Pairs(Dataset):
    """A data set of pairs (sample, label)."""

    def __init__(self, samples, transform=None):
        self.samples, self.transform = samples, transform

    def __len__(self):
        return len(self.samples)

    def __getitem__(self, position):
        sample = self.samples[position]
        return (self.transform(sample) if self.transform else sample), position % 2


@pytest.mark.parametrize(
    "kind",
    [
        lambda x: x.numpy(),
        lambda x: x.numpy().astype(">f8"),
        lambda x: x.numpy().astype(np.longdouble),
        lambda x: np.ma.masked_array(x.numpy(), mask=False),
        lambda x: x.clone().requires_grad_(),
        lambda x: x.T.contiguous().T,
        lambda x: torch.cat([x, x])[::2].index_select(0, torch.tensor([0, 3, 1, 4, 2])),
        list,
        tuple,
        lambda x: list(x.numpy()),
        lambda x: [row if i % 2 else row.numpy() for i, row in enumerate(x)],
        Pairs,
        TensorDataset,
        lambda x: [(row, 3) for row in x],
    ],
)
def test_samples_of_these_kinds_give_the_same_kernel(kind, model, x, kernel):
    given = kind(x)
    same(rmtgen.entk_gram(model, given), kernel)
    same(rmtgen.entk_gram(model, given, given), kernel)
    assert rmtgen.entk_features(model, given, 4).equal(rmtgen.entk_features(model, x, 4))


class Squeezed(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return self.inner(x).squeeze()


def test_the_squeezed_output_of_one_sample_is_its_output(model, x, kernel):
    same(rmtgen.entk_gram(Squeezed(model).eval(), x[:1]), kernel[:1, :1])
    three = network(3)
    expected = tangent_kernel(nn.Sequential(three, Pick(1)).eval(), x[:1]).detach()
    same(rmtgen.entk_gram(Squeezed(three).eval(), x[:1], output=1), expected)
    same(rmtgen.entk_gram(three, x[:1], output=np.int64(1)), expected)


class Pick(nn.Module):
    def __init__(self, column):
        super().__init__()
        self.column = column

    def forward(self, x):
        return x[:, self.column, None]
