"""Models, samples and options that no kernel can be made of, each refused in one line."""

import functools

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

import rmtgen
from rmtgen.errors import UsageError
from tests.kernels.entk.test_entk_given import F64, Pairs, network


@pytest.fixture(scope="module")
def model():
    return network()


class Returns(nn.Module):
    """A network with a function on its output."""

    def __init__(self, then):
        super().__init__()
        self.inner, self.then = network(), then

    def forward(self, x):
        return self.then(self.inner(x))


class Endless(IterableDataset):
    def __iter__(self):
        yield torch.zeros(6)


class NoLength(Dataset):
    def __getitem__(self, position):
        return torch.zeros(6)


def replaced():
    """A model whose forward is a closure, which a copy shares with the original."""
    model, other = network(), network()
    model.forward = lambda x: other(x)
    return model


def holding(what):
    model = network()
    model.held = what
    return model


def quantised():
    kind = torch.ao.nn.quantized.dynamic.Linear
    return nn.Sequential(nn.Linear(6, 6), kind(6, 1)).eval()


def complex_weights():
    model = network()
    model.extra = nn.Parameter(torch.ones(2, dtype=torch.complex64))
    return model


MODELS = {
    "script": (lambda: torch.jit.script(network()), "TorchScript RecursiveScriptModule. Give the"),
    "trace": (lambda: torch.jit.trace(network(), torch.zeros(2, 6, dtype=F64)), "TorchScript"),
    "a scripted part": (
        lambda: nn.Sequential(torch.jit.script(network()), nn.Linear(1, 1)).eval(),
        "0 is a RecursiveScriptModule of TorchScript",
    ),
    "exported": (
        lambda: torch.export.export(network(), (torch.zeros(2, 6, dtype=F64),)),
        "got ExportedProgram of torch.export. Give the module that it was exported from",
    ),
    "exported module": (
        lambda: torch.export.export(network(), (torch.zeros(2, 6, dtype=F64),)).module(),
        "of torch.export. Give the module",
    ),
    "quantised": (quantised, "got the quantised Linear as 1. Give the float module"),
    "function": (lambda: torch.sin, "must be a torch.nn.Module, got builtin.*forward method"),
    "class": (lambda: nn.Linear, r"Give an instance: Linear\(…\)"),
    "None": (lambda: None, "must be a torch.nn.Module, got NoneType"),
    "backbone": (
        lambda: rmtgen.load_backbone("test_vit", init="random", img_size=32),
        "got Backbone. Give its attribute model",
    ),
    "ModuleList": (lambda: nn.ModuleList([nn.Linear(6, 1)]).eval().to(F64), "NotImplementedError"),
    "meta": (lambda: network().to("meta"), "0.weight is on the meta device. Load the weights"),
    "lazy": (lambda: nn.Sequential(nn.LazyLinear(1)).eval(), "UninitializedParameter as 0.weight"),
    "no parameters": (
        lambda: nn.Flatten().eval(),
        "require a gradient: got none. Set requires_grad",
    ),
    "frozen": (lambda: network().requires_grad_(False), "require a gradient: got none"),
    "training": (lambda: network().train(), r"4 modules are training.*Call model\.eval\(\)"),
    "complex": (complex_weights, "must be real: got torch.complex64 as extra.*view_as_complex"),
    "replaced forward": (replaced, r"depends on one of shape \(1, 5\) that is not. Register it"),
    "trainable tensor": (
        lambda: Returns(functools.partial(torch.mul, torch.ones(1, requires_grad=True))).eval(),
        r"depends on one of shape \(1,\) that is not",
    ),
    "not copied": (
        lambda: holding(iter(i for i in "a")),
        "copy.deepcopy.*cannot pickle 'generator'",
    ),
    "other width": (
        lambda: nn.Linear(7, 1).to(F64).eval(),
        r"accept a batch of the samples, \(2, 6\) of torch.float64: it raises RuntimeError: mat1",
    ),
    "keyword": (lambda: nn.Bilinear(6, 6, 1).to(F64).eval(), "TypeError.*missing 1 required"),
    "tuple": (lambda: Returns(lambda y: (y, y)).eval(), r"got tuple of \(2, 1\), \(2, 1\). Give a"),
    "dict": (lambda: Returns(lambda y: {"logits": y}).eval(), r"got dict with logits \(2, 1\)"),
    "mean": (lambda: Returns(torch.mean).eval(), r"expected \(2, 1\), got \(\). Keep the samples"),
    "transposed": (lambda: Returns(torch.t).eval(), r"expected \(2, 1\), got \(1, 2\)"),
    "labels": (lambda: Returns(lambda y: y.argmax(1)).eval(), "real numbers.*got torch.int64"),
    "spectrum": (lambda: Returns(lambda y: y + 1j).eval(), "real numbers.*got torch.complex128"),
}

X = torch.randn(4, 6, dtype=F64, generator=torch.Generator().manual_seed(3))
PICTURE = Image.new("RGB", (8, 8))

SAMPLES = {
    "None": (lambda: None, "must be read by number.*got NoneType"),
    "number": (lambda: 3, "must be read by number.*got int"),
    "path": (lambda: "images/", "must be a sequence of samples, got str"),
    "dict": (lambda: {"x": X}, "must be a sequence of samples, got dict"),
    "generator": (lambda: (row for row in X), r"got generator. Give list\("),
    "set": (lambda: {1.0}, "must be read by number.*got set"),
    "loader": (lambda: DataLoader(TensorDataset(X)), r"got a DataLoader.*loader\.dataset"),
    "stream": (Endless, "got Endless"),
    "no length": (NoLength, "must have a length.*got NoLength"),
    "a scalar": (lambda: torch.tensor(1.0), r"must have a length.*sample\[None\]"),
    "empty": (lambda: X[:0], "must hold at least one image, got 0"),
    "no samples": (list, "must hold at least one image, got 0"),
    "dicts": (
        lambda: [{"image": row} for row in X],
        r"\[0\] must be a tensor.*the keys image.*Give",
    ),
    "pictures": (lambda: [PICTURE], r"\[0\] must be .* got Image. Transform the pictures"),
    "pairs of pictures": (lambda: Pairs([PICTURE]), r"got Image. Transform the pictures"),
    "paths": (lambda: ["a.png"], r"\[0\] must be a tensor or an array, got str"),
    "unequal": (
        lambda: [X[0], X[1], X[2], X[3, :4]],
        r"one shape: expected \(6,\), that of number 0, got \(4,\) at number 3. Resize",
    ),
    "integer and float": (lambda: [X[0], X[0].long()], "one type.*int64 at number 1. Convert"),
    "masked": (
        lambda: np.ma.masked_greater(X.numpy(), 0),
        r"must have no masked entries: got \d+ of 6",
    ),
    "objects": (lambda: np.array([[None] * 6]), r"array of numbers: got numpy.ndarray of object"),
    "text": (lambda: np.array([["a"] * 6]), r"array of numbers: got numpy.ndarray of <U1"),
    "sparse": (
        lambda: [row.to_sparse() for row in X],
        r"dense tensor, got sparse_coo. Give to_dense",
    ),
    "nested": (lambda: [torch.nested.nested_tensor([X[0]])], "dense tensor, got a nested tensor"),
    "meta": (lambda: X.to("meta"), "must have values, got a meta tensor"),
    "bytes": (
        lambda: torch.zeros(2, 6, dtype=torch.uint8),
        r"\(2, 6\) of torch.uint8: it raises RuntimeError.*pictures as floats.*divided by 255",
    ),
    "a single sample": (lambda: X[0], r"accept a batch of the samples, \(2,\) of torch.float64"),
    "short": (lambda: Pairs({0: X[0], 2: X[1], 3: X[2]}), "numbers 0 to 2.*KeyError: 1|number 2"),
}


def refused(message, *args, **options):
    with pytest.raises(UsageError, match=message) as caught:
        rmtgen.entk_gram(*args, **options)
    assert str(caught.value).count("\n") == 0


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.filterwarnings("ignore:.*:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:.*:FutureWarning")
@pytest.mark.filterwarnings("ignore:.*:UserWarning")
def test_models_that_hide_their_gradients_are_refused_in_one_line(kind):
    make, message = MODELS[kind]
    refused(message, make(), X)


@pytest.mark.parametrize("kind", SAMPLES)
@pytest.mark.filterwarnings("ignore:.*:UserWarning")
def test_samples_of_other_kinds_are_refused_in_one_line(kind, model):
    make, message = SAMPLES[kind]
    refused(message, model, make())
    if kind not in ("None", "bytes", "short", "a single sample"):
        refused("columns", model, X, make())


@pytest.mark.parametrize("output", [True, 1.0, "logits", "each", [0], X])
def test_an_output_that_is_no_number_is_refused(output, model):
    refused("output must be None, 'sum' or the number of an output, got", model, X, output=output)
    with pytest.raises(UsageError, match="output must be None, 'sum' or the number"):
        rmtgen.entk_features(model, X, output=output)


@pytest.mark.parametrize("dtype", ["float32", torch.bfloat16, torch.int64, np.float64, 3])
def test_a_dtype_that_is_no_float_is_refused(dtype, model):
    refused("dtype must be torch.float32 or torch.float64, got", model, X, dtype=dtype)
